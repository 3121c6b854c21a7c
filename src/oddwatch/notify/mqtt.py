"""A broker of MQTT, and Home Assistant behind it.

    TOPIC/SITE/status            online, or offline (also by the broker when this process ends), retained
    TOPIC/SITE/CAMERA/event      an event as JSON
    TOPIC/SITE/CAMERA/unusual    ON, for a binary sensor that goes off by itself
    TOPIC/SITE/CAMERA/thumbnail  a JPEG, retained
    TOPIC/SITE/CAMERA/health     a camera that sees nothing, as JSON
    TOPIC/SITE/digest, TOPIC/SITE/test

Everything is sent with quality of service 1: it arrives once or more often, with the key in it.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from oddwatch import __version__
from oddwatch.errors import MissingExtraError
from oddwatch.notify.base import DELIVERED, Message, Outcome, Sink

_KEEPALIVE_SECONDS = 15
_LONGEST_RECONNECT_SECONDS = 5
_OFF_SECONDS = 30


class Mqtt(Sink):
    """cameras: those to announce. discovery: the topic that Home Assistant listens to, None announces nothing. Raises
    MissingExtraError.
    """

    def __init__(
        self,
        name: str,
        host: str,
        *,
        site: str,
        cameras: Sequence[str],
        port: int = 1883,
        user: str | None = None,
        password: str | None = None,
        tls: bool = False,
        topic: str = "oddwatch",
        discovery: str | None = "homeassistant",
        timeout_seconds: float = 5.0,
    ) -> None:
        super().__init__(name)
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MissingExtraError("an MQTT sink", "paho-mqtt", "watch") from error
        self.shown = f"mqtt://{host}:{port}"
        self._site, self._cameras, self._base = site, tuple(cameras), f"{topic}/{site}"
        self._discovery, self._seconds = discovery, timeout_seconds
        self._host, self._port = host, port
        self._ready = threading.Event()
        self._refused = ""
        self._started = False
        # A name of its own each time: a broker ends the older of two connections of one name.
        self._client = Client(CallbackAPIVersion.VERSION2, f"oddwatch-{site}-{secrets.token_hex(4)}")
        self._client.connect_timeout = timeout_seconds
        self._client.reconnect_delay_set(1, _LONGEST_RECONNECT_SECONDS)
        if user is not None:
            self._client.username_pw_set(user, password)
        if tls:
            self._client.tls_set()
        self._client.will_set(f"{self._base}/status", "offline", qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected

    def start(self) -> None:
        """Connect, and from then on again and again, in a thread of its own."""
        if not self._started:
            self._started = True
            self._client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_SECONDS)
            self._client.loop_start()

    def _connected(self, client: Any, data: object, flags: object, reason: Any, properties: object) -> None:
        if reason.is_failure:
            self._refused = f" ({reason})"
            return
        self._refused = ""
        for topic, config in self._announcements():
            client.publish(topic, json.dumps(config), qos=1, retain=True)
        client.publish(f"{self._base}/status", "online", qos=1, retain=True)
        self._ready.set()

    def _disconnected(self, client: Any, data: object, flags: object, reason: Any, properties: object) -> None:
        self._ready.clear()

    def _announcements(self) -> list[tuple[str, dict[str, Any]]]:
        """What Home Assistant is told of each camera: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery"""
        if self._discovery is None:
            return []
        found = []
        for camera in self._cameras:
            base, identity = f"{self._base}/{camera}", f"oddwatch_{self._site}_{camera}"
            common: dict[str, Any] = {
                "availability_topic": f"{self._base}/status",
                "device": {
                    "identifiers": [identity],
                    "name": camera,
                    "manufacturer": "oddwatch",
                    "sw_version": __version__,
                },
                "origin": {"name": "oddwatch", "sw_version": __version__},
            }
            sensor: dict[str, Any] = {
                "name": "Unusual",
                "unique_id": f"{identity}_unusual",
                "state_topic": f"{base}/unusual",
                "json_attributes_topic": f"{base}/event",
                "off_delay": _OFF_SECONDS,
                **common,
            }
            image = {
                "name": "Last unusual",
                "unique_id": f"{identity}_thumbnail",
                "image_topic": f"{base}/thumbnail",
                "content_type": "image/jpeg",
                **common,
            }
            found.append((f"{self._discovery}/binary_sensor/{identity}/unusual/config", sensor))
            found.append((f"{self._discovery}/image/{identity}/thumbnail/config", image))
        return found

    def deliver(self, message: Message, *, now: datetime) -> Outcome:
        self.start()
        if not self._ready.wait(self._seconds):
            return Outcome("later", f"{self.shown}: no connection{self._refused}")
        base = f"{self._base}/{message.camera}" if message.camera else self._base
        sent = []
        if message.kind == "event":
            if message.thumbnail is not None:
                sent.append(self._client.publish(f"{base}/thumbnail", message.thumbnail, qos=1, retain=True))
            sent.append(self._client.publish(f"{base}/unusual", "ON", qos=1))
        sent.append(self._client.publish(f"{base}/{message.kind}", json.dumps(message.as_json()), qos=1))
        try:
            for one in sent:
                one.wait_for_publish(self._seconds)
            if all(one.is_published() for one in sent):
                return DELIVERED
        except (RuntimeError, ValueError) as error:  # the connection went, or paho's queue is full
            why = str(error) if self._client.is_connected() else "no connection"
            return Outcome("later", f"{self.shown}: {why}")
        return Outcome("later", f"{self.shown}: not confirmed within {self._seconds:g} s")

    def close(self) -> None:
        """Say that it is off, and disconnect."""
        if not self._started:
            return
        if self._ready.is_set():
            # The broker says it only of connections that break.
            self._client.publish(f"{self._base}/status", "offline", qos=1, retain=True).wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()
        self._started = False
