"""The delivery loop: with a clock that is moved by hand, then with threads and sinks that hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from receivers import until

from oddwatch.errors import LockedError
from oddwatch.notify.base import DELIVERED, Message, Outcome, Sink
from oddwatch.outbox import Clock, Outbox, Route, Worker, backoff
from oddwatch.store import Store
from oddwatch.store.locks import Lock
from oddwatch.store.records import NewEvent

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = Outcome("later", "500 Internal Server Error")


class HandClock:
    """Stands still until it is moved; `set_back` moves what people see and not what runs."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.wall = NOON

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += timedelta(seconds=seconds)

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.seconds)


class Scripted(Sink):
    """Ends its attempts as it is told, the last way for ever."""

    def __init__(self, *outcomes: Outcome | Exception, name: str = "hook") -> None:
        super().__init__(name)
        self.outcomes = list(outcomes) or [DELIVERED]
        self.tried: list[Message] = []
        self.arrived: list[Message] = []

    def deliver(self, message: Message, *, now: datetime) -> Outcome:
        self.tried.append(message)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is DELIVERED:
            self.arrived.append(message)
        return outcome


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "kept") as made:
        yield made


@pytest.fixture
def lock(store: Store) -> Iterator[Lock]:
    with store.lock("camera:yard", at=NOON) as made:
        yield made


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


def happen(store: Store, lock: Lock, at: datetime = NOON, alert: Sequence[str] = ("hook",)) -> int:
    why = {"attribute": "speed", "level": 2.0, "says": "2.0x the usual speed here"}
    event = NewEvent("yard", at, at + timedelta(seconds=2), at, 4.0, 0.01, why=why, place="left")
    return store.events.record(event, guard=lock, alert=alert, at=at)


def worker(store: Store, sink: Sink, hand: HandClock, *, jitter: float = 0.0, **route: object) -> Worker:
    made = Route(sink, **route)  # type: ignore[arg-type]
    return Worker(store, made, "home", UTC, hand.clock(), lambda: jitter)


def run(one: Worker, hand: HandClock, seconds: float) -> None:
    """Let the loop run for so long."""
    end = hand.seconds + seconds
    while True:
        wait = one.step()
        if hand.seconds + wait > end:
            hand.pass_(end - hand.seconds)
            return
        hand.pass_(wait)


def states(store: Store) -> list[str]:
    return [alert.state for alert in reversed(store.alerts.find())]


def test_an_alert_arrives_with_what_happened(store: Store, lock: Lock, hand: HandClock) -> None:
    uid = store.events.get(happen(store, lock)).uid
    sink = Scripted()
    run(worker(store, sink, hand), hand, 5)
    (message,) = sink.arrived
    assert (message.key, message.kind, message.camera, message.title) == (
        f"{uid}.hook",
        "event",
        "yard",
        "yard: something unusual",
    )
    assert message.text == "2026-11-23 12:00:00, left, 2.0x the usual speed here, p-value 0.01."
    assert message.data["event"]["score"] == 4.0
    (alert,) = store.alerts.find()
    assert (alert.state, alert.attempts, alert.sent_at) == ("sent", 1, NOON)


def test_the_picture_goes_with_it_and_its_loss_stops_nothing(store: Store, lock: Lock, hand: HandClock) -> None:
    for number in range(2):
        event = NewEvent("yard", NOON, NOON, NOON, 1.0)
        kept = store.evidence.write("yard", event.uid, "thumbnail", ".jpg", b"jpeg")
        store.events.record(event, guard=lock, alert=["hook"], at=NOON, evidence=[kept])
        if number:
            store.evidence.path(kept.path).unlink()
    sink = Scripted()
    run(worker(store, sink, hand), hand, 5)
    assert [message.thumbnail for message in sink.arrived] == [b"jpeg", None]


def test_what_fails_is_tried_again_with_the_same_key(store: Store, lock: Lock, hand: HandClock) -> None:
    happen(store, lock)
    sink = Scripted(LATER, LATER, ValueError("a bug"), DELIVERED)
    one = worker(store, sink, hand)
    one.step()
    (alert,) = store.alerts.find()
    assert (alert.state, alert.attempts, alert.last_error) == ("waiting", 1, "500 Internal Server Error")
    assert alert.next_try_at == NOON + timedelta(seconds=1)
    run(one, hand, 10)
    assert len({message.key for message in sink.tried}) == 1
    assert (len(sink.tried), len(sink.arrived)) == (4, 1)
    assert store.alerts.find()[0].last_error == ""


def test_backing_off_keeps_step_with_the_fault() -> None:
    assert [backoff(n, 0, 0.0) for n in range(1, 6)] == [1, 2, 4, 4, 4]
    assert backoff(30, 100, 0.0) == 10
    assert backoff(30, 1e9, 0.0) == 600
    assert backoff(30, 1e9, 1.0) == 300


@pytest.mark.parametrize("down_seconds", [10, 100])
def test_a_receiver_that_is_back_is_found_soon(down_seconds: float, store: Store, lock: Lock, hand: HandClock) -> None:
    for _ in range(3):
        happen(store, lock)
    sink = Scripted(LATER)
    one = worker(store, sink, hand)
    run(one, hand, down_seconds)
    tried = len(sink.tried)
    assert tried < 6 * 3 + down_seconds  # it is not hammered
    sink.outcomes = [DELIVERED]
    run(one, hand, max(4.0, 0.11 * down_seconds))
    assert len(sink.arrived) == 3


def test_what_will_never_arrive_is_dead_until_somebody_says_so(store: Store, lock: Lock, hand: HandClock) -> None:
    happen(store, lock)
    sink = Scripted(Outcome("never", "410 Gone"))
    one = worker(store, sink, hand)
    run(one, hand, 100)
    (alert,) = store.alerts.find(states=["dead"])
    assert (len(sink.tried), alert.last_error) == (1, "410 Gone")
    sink.outcomes = [DELIVERED]
    assert store.alerts.retry([alert.id], at=hand.wall) == 1
    assert store.alerts.retry(at=hand.wall) == 0
    run(one, hand, 2)
    assert states(store) == ["sent"]


def test_an_alert_is_given_up_for_its_age_but_not_by_a_clock(store: Store, lock: Lock, hand: HandClock) -> None:
    happen(store, lock)
    one = worker(store, Scripted(LATER), hand, give_up_seconds=3600)
    hand.wall += timedelta(days=300)  # a small computer has learned what day it is
    run(one, hand, 60)
    assert states(store) == ["waiting"]
    for _ in range(60):
        hand.pass_(600)
        one.step()
    assert states(store) == ["dead"]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_delays_nothing(hours: int, store: Store, lock: Lock, hand: HandClock) -> None:
    happen(store, lock)
    sink = Scripted(LATER, LATER, DELIVERED)
    one = worker(store, sink, hand)
    one.step()
    hand.wall += timedelta(hours=hours)
    run(one, hand, 10)
    assert len(sink.arrived) == 1


def test_retry_after_holds_the_sink(store: Store, lock: Lock, hand: HandClock) -> None:
    happen(store, lock)
    happen(store, lock)
    sink = Scripted(Outcome("later", "429", 30.0), DELIVERED)
    one = worker(store, sink, hand)
    run(one, hand, 29)
    assert len(sink.tried) == 1
    run(one, hand, 3)
    assert len(sink.arrived) == 2


def test_one_that_arrives_brings_the_others_along(store: Store, lock: Lock, hand: HandClock) -> None:
    for _ in range(3):
        happen(store, lock)
    sink = Scripted(LATER)
    one = worker(store, sink, hand)
    for _ in range(10):
        hand.pass_(100)
        run(one, hand, 1)
    sink.outcomes = [DELIVERED]
    happen(store, lock, hand.wall)
    run(one, hand, 0.5)
    assert len(sink.arrived) == 4


def test_what_keeps_a_camera_from_seeing_is_told(store: Store, lock: Lock, hand: HandClock) -> None:
    says = {"says": "no picture arrives: Connection refused"}
    store.events.find_blind("yard", "offline", guard=lock, start=NOON, alert=["hook"], detail=says)
    sink = Scripted(DELIVERED)
    run(worker(store, sink, hand), hand, 2)
    (told,) = sink.arrived
    assert told.text == "yard is offline since 2026-11-23 12:00:00: no picture arrives: Connection refused."


def test_quiet_hours_end_with_one_digest(store: Store, lock: Lock, hand: HandClock) -> None:
    sink = Scripted()
    one = worker(store, sink, hand, quiet=lambda now: now.hour < 13)
    for minute in (1, 2, 3):
        happen(store, lock, NOON + timedelta(minutes=minute))
    finding = store.events.find_blind("yard", "dark", guard=lock, start=NOON, alert=["hook"], detail={})
    run(one, hand, 5)
    hand.pass_(3590)
    run(one, hand, 2)
    assert sink.tried == []
    assert {alert.held for alert in store.alerts.find()} == {"quiet hours"}
    run(one, hand, 10)
    (digest,) = sink.arrived
    assert (digest.kind, digest.camera, digest.data["count"]) == ("digest", "yard", 4)
    assert digest.text == "yard 4; from 2026-11-23 12:00:00 to 2026-11-23 12:03:00."
    assert [event["start"][11:16] for event in digest.data["events"]] == ["12:01", "12:02", "12:03"]
    assert [found["id"] for found in digest.data["health"]] == [finding]
    assert states(store) == ["digested"] * 4 + ["sent"]


def test_a_single_alert_of_quiet_hours_arrives_as_itself(store: Store, lock: Lock, hand: HandClock) -> None:
    sink = Scripted()
    one = worker(store, sink, hand, quiet=lambda now: now.hour < 13)
    happen(store, lock)
    run(one, hand, 5)
    hand.pass_(3600)
    run(one, hand, 5)
    assert [message.kind for message in sink.arrived] == ["event"]


def test_what_is_above_the_limit_comes_as_a_digest(store: Store, lock: Lock, hand: HandClock) -> None:
    sink = Scripted()
    one = worker(store, sink, hand, alerts=3, window_seconds=60)
    for _ in range(10):
        happen(store, lock, hand.wall)
    run(one, hand, 59)
    assert [message.kind for message in sink.arrived] == ["event"] * 3
    again = worker(store, sink, hand, alerts=3, window_seconds=60)  # after a restart the limit still holds
    again.step()
    assert len(sink.arrived) == 3
    run(again, hand, 10)
    assert [message.kind for message in sink.arrived] == ["event"] * 3 + ["digest"]
    assert sink.arrived[-1].data["count"] == 7
    assert states(store).count("digested") == 7


def test_a_digest_that_fails_is_not_digested_again(store: Store, lock: Lock, hand: HandClock) -> None:
    sink = Scripted(LATER)
    quiet_until = NOON + timedelta(minutes=1)
    one = worker(store, sink, hand, quiet=lambda now: now < quiet_until)
    for _ in range(3):
        happen(store, lock)
    run(one, hand, 100)
    assert {message.key for message in sink.tried} == {sink.tried[0].key}
    quiet_until = hand.wall + timedelta(minutes=1)
    happen(store, lock, hand.wall)
    run(one, hand, 30)
    sink.outcomes = [DELIVERED]
    run(one, hand, 60)
    assert sorted((message.kind, message.data.get("count")) for message in sink.arrived) == [
        ("digest", 3),
        ("event", None),
    ]
    assert sink.tried[0].key in {message.key for message in sink.arrived}


def test_each_sink_gets_its_own(store: Store, lock: Lock, hand: HandClock) -> None:
    happen(store, lock, alert=["hook"])
    happen(store, lock, alert=["hook", "phone"])
    hook, phone = Scripted(), Scripted(name="phone")
    for sink in (hook, phone):
        run(worker(store, sink, hand), hand, 5)
    assert (len(hook.arrived), len(phone.arrived)) == (2, 1)


class Hanging(Sink):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__("hanging")
        self.freed = threading.Event()

    def deliver(self, message: Message, *, now: datetime) -> Outcome:
        self.freed.wait(30)
        return DELIVERED


def test_a_sink_that_hangs_delays_no_other(store: Store, lock: Lock) -> None:
    hanging, hook = Hanging(), Scripted()
    outbox = Outbox(store, [Route(hanging), Route(hook)], site="home")
    outbox.start()
    try:
        assert outbox.running
        with Store(store.folder) as other, pytest.raises(LockedError, match="alerts of this store are delivered"):
            Outbox(other, [], site="home").start()
        for count in (1, 2, 3):
            happen(store, lock, alert=["hanging", "hook"])
            start = time.monotonic()
            outbox.wake()
            until(lambda count=count: len(hook.arrived) == count)  # type: ignore[misc]
            assert time.monotonic() - start < 5  # the other hangs for half a minute
    finally:
        hanging.freed.set()
        outbox.stop()
    assert not outbox.running
    outbox.stop()
    store.lock("outbox", at=NOON).release()


def test_the_store_of_another_process_is_looked_at(store: Store, lock: Lock) -> None:
    hook = Scripted()
    outbox = Outbox(store, [Route(hook)], site="home")
    outbox.start()
    try:
        with Store(store.folder) as other, other.lock("camera:door", at=NOON) as door:
            other.events.record(NewEvent("door", NOON, NOON, NOON, 1.0), guard=door, alert=["hook"], at=NOON)
        until(lambda: hook.arrived, 3)
    finally:
        outbox.stop()


def test_alerts_of_a_sink_that_is_gone_are_told_of(store: Store, lock: Lock, caplog: pytest.LogCaptureFixture) -> None:
    happen(store, lock, alert=["old-phone"])
    outbox = Outbox(store, [], site="home")
    outbox.start()
    outbox.stop()
    assert "1 alerts wait for the sink 'old-phone', which the site does not have" in caplog.text
