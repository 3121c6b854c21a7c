"""Delivers the alerts of a store: at least once, each with the key that it always has.

One thread for each sink, so that one that hangs delays no other. What waits is in the store and nowhere else; when it
is due is in memory and by the monotonic clock, so that a clock that is set does not delay anything, and after a start
everything is due at once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from oddwatch.errors import LockLostError, StoreError
from oddwatch.notify.base import Outcome, Sink
from oddwatch.outbox.messages import message_of
from oddwatch.store import Store
from oddwatch.store.locks import Lock
from oddwatch.store.records import Alert

_log = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
"""Other processes commit alerts too."""
_SHORTEST_CAP_SECONDS = 4.0
_LONGEST_CAP_SECONDS = 600.0
_SHARE_OF_AGE = 0.1
_LONGEST_ASKED_SECONDS = 3600.0
_FEWEST_ATTEMPTS = 50
"""Before an alert is given up for its age: a clock that is set forward has not made it old."""
_RENEW_SECONDS = 10.0
QUIET = "quiet hours"
LIMIT = "rate limit"


@dataclass(frozen=True)
class Clock:
    """What time it is: `now` aware, `monotonic` in seconds from anywhere."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Route:
    """A sink and what it is spared. quiet: whether it is a time (aware) at which nothing is sent. alerts, in
    window_seconds: what is more comes as one digest. give_up_seconds: how old an alert gets before it is dead.
    """

    sink: Sink
    quiet: Callable[[datetime], bool] = lambda now: False
    alerts: int = 5
    window_seconds: float = 600.0
    give_up_seconds: float = 72 * 3600.0


def backoff(attempts: int, age_seconds: float, jitter: float) -> float:
    """Seconds until an alert is tried again: 1, 2, 4... after each attempt, never more than a tenth of how long it has
    waited (but 4 s in any case, and 10 minutes at most), so that what was down is noticed soon after it is up. jitter:
    from 0 to 1, takes off up to half.

    >>> [backoff(n, 0, 0) for n in (1, 2, 3, 9)], backoff(9, 600, 0), backoff(20, 1e6, 0), backoff(9, 0, 1)
    ([1.0, 2.0, 4.0, 4.0], 60.0, 600.0, 2.0)
    """
    cap = min(max(_SHORTEST_CAP_SECONDS, _SHARE_OF_AGE * age_seconds), _LONGEST_CAP_SECONDS)
    return min(2.0 ** min(attempts - 1, 16), cap) * (1 - jitter / 2)


class Outbox:
    """The delivery of a store's alerts to some sinks. site: its name in messages. zone: for times in messages, None is
    that of the machine. jitter: random numbers from 0 to 1.

    `start` takes the store's lock `outbox`; `stop` ends it, and waits for attempts that are on their way.
    """

    def __init__(
        self,
        store: Store,
        routes: Sequence[Route],
        *,
        site: str,
        zone: tzinfo | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._clock = store, clock or Clock()
        self.workers = [Worker(store, route, site, zone, self._clock, jitter) for route in routes]
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._lock: Lock | None = None

    def start(self) -> None:
        """Begin to deliver, in threads of its own. Raises LockedError when another process does, StoreError."""
        self._lock = self._store.lock("outbox", at=self._clock.now())
        known = {worker.sink.name for worker in self.workers}
        for sink, states in self._store.alerts.counts().items():
            if sink not in known and states.get("waiting"):
                _log.warning("%d alerts wait for the sink %r, which the site does not have", states["waiting"], sink)
        for worker in self.workers:
            worker.sink.start()
            thread = threading.Thread(target=worker.run, args=(self._stopping,), name=f"outbox-{worker.sink.name}")
            thread.daemon = True  # an attempt that hangs does not keep the process
            self._threads.append(thread)
            thread.start()
        keeper = threading.Thread(target=self._keep, name="outbox-lock", daemon=True)
        self._threads.append(keeper)
        keeper.start()

    def _keep(self) -> None:
        """Keep the lock through restarts of the database; stop when another process has it."""
        assert self._lock is not None
        while not self._stopping.wait(_RENEW_SECONDS):
            try:
                self._lock.renew()
            except LockLostError as error:
                _log.warning("alerts are not delivered any more: %s", error)
                self._stopping.set()
                self.wake()

    @property
    def running(self) -> bool:
        """Whether alerts are being delivered."""
        return bool(self._threads) and not self._stopping.is_set()

    def wake(self) -> None:
        """There is something new: look at once instead of within a second."""
        for worker in self.workers:
            worker.awake.set()

    def stop(self, *, wait_seconds: float = 10.0) -> None:
        """End. May be called twice."""
        self._stopping.set()
        self.wake()
        until = time.monotonic() + wait_seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._threads = []
        for worker in self.workers:
            worker.sink.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class Worker:
    """One sink's part of the outbox."""

    def __init__(
        self,
        store: Store,
        route: Route,
        site: str,
        zone: tzinfo | None,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._store, self._route, self.sink = store, route, route.sink
        self._site, self._zone, self._clock, self._jitter = site, zone, clock, jitter
        self.awake = threading.Event()
        self._due: dict[int, float] = {}
        self._paused_until = 0.0
        self._sent: deque[float] | None = None

    def run(self, stopping: threading.Event) -> None:
        """Deliver until it is stopped."""
        while not stopping.is_set():
            self.awake.clear()
            try:
                seconds = self.step()
            except StoreError as error:
                _log.warning("alerts to %s wait: %s", self.sink.name, error)
                seconds = _POLL_SECONDS
            if seconds > 0:
                self.awake.wait(seconds)

    def step(self) -> float:
        """Send one message if one is due. Returns for how many seconds nothing has to be done. Raises StoreError."""
        waiting = self._store.alerts.waiting(self.sink.name)
        self._due = {alert.id: self._due[alert.id] for alert in waiting if alert.id in self._due}
        if not waiting:
            return _POLL_SECONDS
        now, moment = self._clock.now(), self._clock.monotonic()
        if self._route.quiet(now):
            self._hold(waiting, QUIET)
            return _POLL_SECONDS
        if (full_seconds := self._full_for(now, moment)) > 0:
            self._hold(waiting, LIMIT)
            return min(full_seconds, _POLL_SECONDS)
        held = [alert.id for alert in waiting if alert.held]
        if len(held) == 1:
            self._store.alerts.hold(held, reason="")
        elif held:
            self._store.alerts.digest(self.sink.name, held, at=now)
            return 0.0
        if moment < self._paused_until:
            return min(self._paused_until - moment, _POLL_SECONDS)
        due = [alert for alert in waiting if self._due.get(alert.id, 0.0) <= moment]
        if not due:
            return min(min(self._due.values()) - moment, _POLL_SECONDS)
        self._send(due[0])
        return 0.0

    def _hold(self, waiting: Sequence[Alert], reason: str) -> None:
        """What was not held yet waits for a digest; a digest itself just waits."""
        new = [alert.id for alert in waiting if not alert.held and alert.kind != "digest"]
        if new:
            self._store.alerts.hold(new, reason=reason)

    def _full_for(self, now: datetime, moment: float) -> float:
        """Seconds until one more may be sent; 0 when it may be now."""
        window = self._route.window_seconds
        if self._sent is None:  # just started: what was sent before counts
            before = self._store.alerts.sent_since(self.sink.name, now - timedelta(seconds=window))
            self._sent = deque(moment - (now - at).total_seconds() for at in before if at <= now)
        while self._sent and self._sent[0] <= moment - window:
            self._sent.popleft()
        if len(self._sent) < self._route.alerts:
            return 0.0
        return self._sent[-self._route.alerts] + window - moment

    def _send(self, alert: Alert) -> None:
        message = message_of(self._store, alert, self._site, self._zone)
        try:
            outcome = self.sink.deliver(message, now=self._clock.now())
        except Exception as error:  # of a library: it must not end the delivery of all others
            outcome = Outcome("later", f"{type(error).__name__} in the sink")
            _log.warning("sink %s: %s while sending", self.sink.name, type(error).__name__)
        now, moment = self._clock.now(), self._clock.monotonic()
        if outcome.how == "delivered":
            self._store.alerts.sent(alert.id, at=now)
            assert self._sent is not None
            self._sent.append(moment)
            self._due.clear()  # it is there again: what else waits need not
            return
        attempts, age = alert.attempts + 1, (now - alert.made_at).total_seconds()
        old = age >= self._route.give_up_seconds and attempts >= _FEWEST_ATTEMPTS
        if outcome.how == "never" or old:
            self._store.alerts.died(alert.id, error=outcome.reason)
            _log.warning("alert %d to %s is dead: %s", alert.id, self.sink.name, outcome.reason)
            return
        seconds = backoff(attempts, max(age, 0.0), self._jitter())
        if outcome.wait_seconds is not None:
            seconds = max(seconds, min(outcome.wait_seconds, _LONGEST_ASKED_SECONDS))
            self._paused_until = moment + seconds
        self._due[alert.id] = moment + seconds
        self._store.alerts.failed(alert.id, next_try_at=now + timedelta(seconds=seconds), error=outcome.reason)
        if alert.attempts == 0:
            _log.warning("alert %d to %s is tried again: %s", alert.id, self.sink.name, outcome.reason)
