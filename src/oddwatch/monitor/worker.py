"""A process that watches cameras for another one (`crew`): what it is told to do, and what it tells."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any, Literal

import cv2

from oddwatch.errors import OddwatchError
from oddwatch.monitor.batching import Networks
from oddwatch.monitor.camera import CameraMonitor
from oddwatch.monitor.records import CameraStatistics, Plan, Record, Sinks

CODE = "from oddwatch.monitor.worker import main; main()"
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 30.0
_log = logging.getLogger(__name__)
SinkName = Literal["event", "finding", "gap", "readiness"]


@dataclass(frozen=True)
class Tools:
    """What it begins with: those of `Sinks` that give something back, and the least level that is logged."""

    evidence_path: Callable[..., Any]
    heat: Callable[..., Any] | None
    box: Callable[..., Any] | None
    why: Callable[..., Any] | None
    log_level: int


@dataclass(frozen=True)
class Begin:
    """Watch one more camera. heavy: its network computes for several cameras at once. began: wall and monotonic time
    from which on it was to be watched.
    """

    plan: Plan
    heavy: bool
    began: tuple[float, float]


@dataclass(frozen=True)
class Stop:
    """Watch a camera no longer: `Ended` comes when all that it told has."""

    camera: str


@dataclass(frozen=True)
class AcceptView:
    """See `CameraMonitor.accept_view`."""

    camera: str


Order = Begin | Stop | AcceptView | None
"""None: end."""


@dataclass(frozen=True)
class Told:
    """For a sink."""

    sink: SinkName
    record: Record


@dataclass(frozen=True)
class Looked:
    """How all of its cameras are."""

    statistics: tuple[CameraStatistics, ...]


@dataclass(frozen=True)
class Ended:
    """A camera is watched no longer. problem: why it failed, empty when it did not."""

    statistics: CameraStatistics
    problem: str


Answer = Told | Looked | Ended | logging.LogRecord


def main() -> None:
    """Of the child: its connection is a descriptor as argument, everything else comes through that."""
    connection = Connection(int(sys.argv[1]))
    cv2.setNumThreads(1)
    try:
        _Worker(connection).run()
    except (EOFError, OSError):
        os._exit(0)  # whom it worked for is gone


class _Worker:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        tools: Tools = connection.recv()
        logging.getLogger().addHandler(_Sender(self._send))
        logging.getLogger("oddwatch").setLevel(tools.log_level)
        self._sinks = Sinks(
            event=partial(self._tell, "event"),
            finding=partial(self._tell, "finding"),
            gap=partial(self._tell, "gap"),
            readiness=partial(self._tell, "readiness"),
            evidence_path=tools.evidence_path,
            heat=tools.heat,
            box=tools.box,
            why=tools.why,
        )
        self._networks = Networks()
        self._turn = threading.Lock()
        self._monitors: dict[str, CameraMonitor] = {}
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """Until it is told to end. Raises EOFError, OSError when the other process has ended."""
        threading.Thread(target=self._look, name="oddwatch-look", daemon=True).start()
        while (order := self._next()) is not None:
            if isinstance(order, Begin):
                self._begin(order)
            elif (monitor := self._monitors.get(order.camera)) is not None:
                monitor.stop() if isinstance(order, Stop) else monitor.accept_view()
        for monitor in list(self._monitors.values()):
            monitor.stop()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def _next(self) -> Order:
        order: Order = self._connection.recv()
        return order

    def _begin(self, order: Begin) -> None:
        name, turn = order.plan.name, nullcontext() if order.heavy else self._turn
        monitor = CameraMonitor(
            order.plan, self._sinks, _Outgoing(), networks=self._networks, turn=turn, began=order.began
        )
        self._monitors[name] = monitor
        self._threads = [one for one in self._threads if one.is_alive()]
        thread = threading.Thread(target=self._watch, args=(monitor,), name=f"oddwatch-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _watch(self, monitor: CameraMonitor) -> None:
        problem = ""
        try:
            monitor.run()
        except OddwatchError as error:
            problem = str(error)
        except Exception as error:
            _log.exception("%s: it failed", monitor.plan.name)
            problem = f"it failed: {error!r}"
        self._monitors.pop(monitor.plan.name, None)
        self._send(Ended(monitor.statistics, problem))

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            self._send(Looked(tuple(one.statistics for one in list(self._monitors.values()))))
            pause.wait(_LOOK_SECONDS)

    def _tell(self, sink: SinkName, record: Any) -> None:
        self._send(Told(sink, record))

    def _send(self, answer: Answer) -> None:
        try:
            with self._sending:
                self._connection.send(answer)
        except OSError:
            os._exit(0)  # whom it worked for is gone


class _Outgoing:
    """Hands records on at once: what may have to wait for a sink waits in the other process."""

    def put(self, sink: Callable[[Any], None], record: Any) -> None:
        sink(record)


class _Sender(QueueHandler):
    """Sends what is logged, with its message and traceback as text."""

    def __init__(self, send: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # there is no queue
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        self._send(record)
