"""Records on their way to sinks: in order, and again when a sink fails. What watches never waits for what is told."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

_log = logging.getLogger(__name__)
Record = TypeVar("Record")
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


class Outgoing(Protocol):
    """Where a monitor puts what it tells."""

    def put(self, sink: Callable[[Record], None], record: Record) -> None:
        """Call sink(record), now or soon."""


class Delivery:
    """A thread that calls sinks. most: records that may wait; beyond that the oldest is dropped and an error logged."""

    def __init__(self, *, most: int = 10_000) -> None:
        self._most = most
        self._waiting: deque[tuple[str, Callable[[], None]]] = deque()
        self._changed = threading.Condition()
        self._closing = self._given_up = False
        self._thread = threading.Thread(target=self._run, name="oddwatch-delivery", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, sink: Callable[[Record], None], record: Record) -> None:
        """Call sink(record) soon, from the thread."""
        with self._changed:
            self._waiting.append((type(record).__name__, partial(sink, record)))
            if len(self._waiting) > self._most:
                name, _ = self._waiting.popleft()
                _log.error("a %s is lost: more than %d records wait for a sink that fails", name, self._most)
            self._changed.notify()

    def close(self, *, seconds: float = 5.0) -> int:
        """Deliver what waits, for so long at most. Returns how many records could not be delivered."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        self._given_up = True
        left = len(self._waiting)
        if left:
            _log.error("%d records were not delivered before the end", left)
        return left

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._given_up:
            with self._changed:
                while not self._waiting:
                    if self._closing:
                        return
                    self._changed.wait()
                name, call = self._waiting[0]
            try:
                call()
            except Exception as error:  # a sink may be anything
                _log.warning("a %s was not delivered, trying again in %.1f s: %s", name, pause, error)
                if self._closing:
                    time.sleep(0.1)
                else:
                    self._wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            pause = _FIRST_PAUSE_SECONDS
            with self._changed:
                if self._waiting and self._waiting[0][1] is call:
                    self._waiting.popleft()

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)
