"""MQTT with a real broker: what Home Assistant is told, who is there, and what is not confirmed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from receivers import Broker, free_port, until

from oddwatch.notify.base import Message
from oddwatch.notify.mqtt import Mqtt

pytestmark = pytest.mark.service
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
JPEG = b"\xff\xd8 a picture"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path, user="oddwatch", password="p@:%/ss")
    made.up()
    yield made
    made.down()


def sink(broker: Broker, **options: Any) -> Mqtt:
    given = {"site": "home", "cameras": ["yard"], "port": broker.port, "user": "oddwatch", "password": "p@:%/ss"}
    return Mqtt("house", "127.0.0.1", **{**given, "timeout_seconds": 3.0, **options})


def event(key: str = "k1.house") -> Message:
    return Message(key, "event", "home", "yard", "yard: something unusual", "left.", NOW, {"event": {"id": 7}}, JPEG)


def test_home_assistant_is_told_of_cameras_and_events(broker: Broker) -> None:
    house = sink(broker)
    with broker.heard() as heard:
        assert house.deliver(event(), now=NOW).how == "delivered"
        digest = Message("k2", "digest", "home", "", "home: 3 alerts", "yard 3.", NOW, {"count": 3})
        assert house.deliver(digest, now=NOW).how == "delivered"
        until(lambda: "oddwatch/home/digest" in heard)
        sent = json.loads(heard["oddwatch/home/yard/event"][0][0])
        assert (sent["key"], sent["event"], sent["title"]) == ("k1.house", {"id": 7}, "yard: something unusual")
        assert heard["oddwatch/home/yard/unusual"] == [(b"ON", False)]
        assert heard["oddwatch/home/status"] == [(b"online", False)]
        found = json.loads(heard["homeassistant/binary_sensor/oddwatch_home_yard/unusual/config"][0][0])
        assert (found["state_topic"], found["json_attributes_topic"], found["availability_topic"]) == (
            "oddwatch/home/yard/unusual",
            "oddwatch/home/yard/event",
            "oddwatch/home/status",
        )
        assert found["off_delay"] == 30
        image = json.loads(heard["homeassistant/image/oddwatch_home_yard/thumbnail/config"][0][0])
        assert image["image_topic"] == "oddwatch/home/yard/thumbnail"
        assert image["unique_id"] != found["unique_id"]
        house.close()
        until(lambda: (b"offline", False) in heard["oddwatch/home/status"])
    with broker.heard() as kept:  # who comes later is told, too
        until(lambda: len(kept) == 4)
        assert kept["oddwatch/home/yard/thumbnail"] == [(JPEG, True)]
        assert kept["oddwatch/home/status"] == [(b"offline", True)]


def test_nothing_is_announced_unasked(broker: Broker) -> None:
    quiet = sink(broker, discovery=None, topic="a/b")
    with broker.heard() as heard:
        assert quiet.deliver(event(), now=NOW).how == "delivered"
        until(lambda: "a/b/home/yard/event" in heard)
        assert all(topic.startswith("a/b/home/") for topic in heard)
        quiet.close()


def test_a_process_that_dies_is_offline(broker: Broker) -> None:
    house = sink(broker)
    with broker.heard() as heard:
        house.start()
        until(lambda: (b"online", False) in heard.get("oddwatch/home/status", []))
        connection = house._client.socket()
        assert connection is not None
        house._client.loop_stop()
        connection.close()  # without a word, as when it is killed
        until(lambda: heard["oddwatch/home/status"][-1] == (b"offline", False))


def test_a_broker_that_is_down_delays_and_is_found_again(broker: Broker) -> None:
    house = sink(broker, timeout_seconds=0.5)
    assert house.deliver(event(), now=NOW).how == "delivered"
    broker.down()
    until(lambda: house.deliver(event("k2"), now=NOW).how == "later")
    none = f"mqtt://127.0.0.1:{broker.port}: no connection"
    until(lambda: house.deliver(event("k2"), now=NOW).reason == none)  # at first it may still think that it has one
    broker.up()
    assert until(lambda: house.deliver(event("k2"), now=NOW).how == "delivered") < 10
    house.close()


def test_a_wrong_password_is_said_and_not_shown(broker: Broker) -> None:
    wrong = sink(broker, password="hunter22", timeout_seconds=1.0)
    outcome = wrong.deliver(event(), now=NOW)
    wrong.close()
    assert outcome.how == "later"
    assert "Not authorized" in outcome.reason
    assert "hunter22" not in outcome.reason
    nobody = sink(broker, port=free_port(), timeout_seconds=0.3)
    assert "no connection" in nobody.deliver(event(), now=NOW).reason
    nobody.close()
