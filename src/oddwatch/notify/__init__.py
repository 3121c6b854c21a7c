"""One attempt to deliver one message: by webhook, MQTT or Apprise. Knows no store, no schedule and no clock."""
