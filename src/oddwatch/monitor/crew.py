"""Cameras that are watched by processes of their own: Python computes in one thread at a time, so one uses one core.

Each process watches its share. One that crashes or hangs is begun anew, and what it had told of is closed.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import pickle
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import replace

from oddwatch.backbones import backbone_class
from oddwatch.errors import OddwatchError, UsageError
from oddwatch.monitor.batching import is_heavy
from oddwatch.monitor.delivery import Delivery
from oddwatch.monitor.records import CameraStatistics, EventRecord, Plan, Sinks
from oddwatch.monitor.worker import CODE, AcceptView, Answer, Begin, Ended, Looked, Order, Stop, Told, Tools
from oddwatch.processes import ended_how, start_python
from oddwatch.video import CameraCounts

_log = logging.getLogger(__name__)
_SILENT_SECONDS = 30.0
"""One that says nothing for so long hangs; it takes that long to start at most."""
_STOP_SECONDS = 30.0


class Crew:
    """At most so many processes, begun when there are cameras for them. Cameras with a heavy backbone share one, and so
    their network; others go where there are fewest.

    Raises UsageError for `sinks` whose callables, but for those that take records, cannot be pickled.
    """

    def __init__(self, processes: int, sinks: Sinks, delivery: Delivery) -> None:
        self._sinks, self._delivery = sinks, delivery
        level = logging.getLogger("oddwatch").getEffectiveLevel()
        self._tools = Tools(sinks.evidence_path, sinks.heat, sinks.box, sinks.why, level)
        try:
            pickle.dumps(self._tools)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(f"processes need sinks that can be sent to them: {error}") from None
        self._workers: list[_Worker | None] = [None] * processes
        self._cameras = [0] * processes
        self._changing = threading.Lock()

    def monitor(self, plan: Plan) -> FarMonitor:
        """One that runs in one of the processes."""
        return FarMonitor(plan, self)

    def close(self) -> None:
        """End the processes; their cameras have ended before."""
        with self._changing:
            begun = [worker for worker in self._workers if worker is not None]
            self._workers = [None] * len(self._workers)
        for worker in begun:
            worker.send(None)
        until = time.monotonic() + _STOP_SECONDS
        for worker in begun:
            worker.close(until)

    def join(self, monitor: FarMonitor) -> tuple[int, _Worker]:
        """One camera more is watched; returns the place and the process."""
        with self._changing:
            place = (
                0 if monitor.heavy else min(range(len(self._cameras)), key=lambda place: (self._cameras[place], place))
            )
            worker = self._workers[place]
            if worker is None or not worker.alive:
                self._workers[place] = worker = _Worker(self._tools, self._sinks, self._delivery)
            self._cameras[place] += 1
        return place, worker

    def leave(self, place: int) -> None:
        """One camera fewer is watched there."""
        with self._changing:
            self._cameras[place] -= 1


class FarMonitor:
    """As `CameraMonitor`, which it has run in another process. heavy: see `batching.is_heavy`. open: events that it
    told of and that are not over, by uid.
    """

    def __init__(self, plan: Plan, crew: Crew) -> None:
        self.plan, self._crew = plan, crew
        self.statistics = CameraStatistics(plan.name, "waiting", CameraCounts())
        self.heavy = False
        self.open: dict[str, EventRecord] = {}
        self._worker: _Worker | None = None
        self._starting, self._stopped_at = threading.Lock(), float("inf")
        self._ended = threading.Event()
        self._problem = ""

    def run(self) -> None:
        """Watch until it is stopped or a replay is over. Raises OddwatchError."""
        began = time.time(), time.monotonic()
        self.heavy = _is_heavy(self.plan)
        place, worker = self._crew.join(self)
        try:
            with self._starting:
                if self._stopped_at < float("inf"):
                    return
                worker.begin(self, began)
                self._worker = worker
            while not self._ended.wait(1.0):
                if time.monotonic() - self._stopped_at > _STOP_SECONDS:
                    worker.kill(f"did not end {self.plan.name} within {_STOP_SECONDS:.0f} s and was stopped")
        finally:
            self._crew.leave(place)
        if self._problem:
            raise OddwatchError(self._problem)

    def stop(self) -> None:
        """End `run` within some seconds."""
        with self._starting:
            self._stopped_at = time.monotonic()
            if self._worker is not None:
                self._worker.send(Stop(self.plan.name))

    def accept_view(self) -> None:
        """See `CameraMonitor.accept_view`."""
        if self._worker is not None:
            self._worker.send(AcceptView(self.plan.name))

    def end(self, problem: str) -> None:
        """It has ended. problem: why it failed, empty when it did not."""
        self._problem = problem
        self._ended.set()


class _Worker:
    """One process, and the thread that listens to it."""

    def __init__(self, tools: Tools, sinks: Sinks, delivery: Delivery) -> None:
        self._sinks, self._delivery = sinks, delivery
        self._monitors: dict[str, FarMonitor] = {}
        self._changing, self._sending = threading.Lock(), threading.Lock()
        self.alive, self._why = True, ""
        self._connection, far = multiprocessing.Pipe()
        try:
            self._process = start_python(CODE, [far.fileno()])
        finally:
            far.close()
        self.send(tools)
        self._thread = threading.Thread(target=self._listen, name="oddwatch-worker", daemon=True)
        self._thread.start()

    def begin(self, monitor: FarMonitor, began: tuple[float, float]) -> None:
        """Watch one more camera. began: see `CameraMonitor`. Raises OddwatchError when the process has just ended."""
        with self._changing:
            if not self.alive:
                raise OddwatchError(self._why)
            self._monitors[monitor.plan.name] = monitor
        self.send(Begin(monitor.plan, monitor.heavy, began))

    def send(self, order: Order | Tools) -> None:
        """Say what is to be done."""
        with suppress(OSError), self._sending:  # of one that has just ended `_listen` takes notice
            self._connection.send(order)

    def kill(self, why: str) -> None:
        """End it by force."""
        self._why = self._why or why
        self._process.kill()

    def close(self, until: float) -> None:
        """Wait for its end, by force from `until` on, on the monotonic clock."""
        try:
            self._process.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self.kill("did not end and was stopped")
        self._thread.join()

    def _listen(self) -> None:
        try:
            while True:  # once it is killed, what it has said before and then its end come
                if not self._connection.poll(_SILENT_SECONDS):
                    self.kill(f"gave no sign of life for {_SILENT_SECONDS:.0f} s and was stopped")
                self._take(self._connection.recv())
        except (EOFError, OSError):
            pass
        except Exception:
            _log.exception("a process that watches cameras said what cannot be understood")
            self.kill("was stopped")
        self._process.wait()
        with self._sending:
            self._connection.close()
        why = f"its process {self._why or f'ended ({ended_how(self._process.returncode)})'}"
        with self._changing:
            self.alive, self._why = False, why
            lost = list(self._monitors.values())
            self._monitors.clear()
        for monitor in lost:
            for record in monitor.open.values():
                closed = replace(record, state="closed", problem=record.problem or why)
                self._delivery.put(self._sinks.event, closed)
            monitor.statistics = replace(monitor.statistics, phase="lost")
            monitor.end(why)

    def _take(self, answer: Answer) -> None:
        if isinstance(answer, Told):
            if isinstance(answer.record, EventRecord):
                self._note(answer.record)
            self._delivery.put(getattr(self._sinks, answer.sink), answer.record)
        elif isinstance(answer, Looked):
            for one in answer.statistics:
                if (monitor := self._monitors.get(one.camera)) is not None:
                    monitor.statistics = one
        elif isinstance(answer, Ended):
            with self._changing:
                monitor = self._monitors.pop(answer.statistics.camera, None)
            if monitor is not None:
                monitor.statistics = answer.statistics
                monitor.end(answer.problem)
        else:
            logger = logging.getLogger(answer.name)
            if logger.isEnabledFor(answer.levelno):
                logger.handle(answer)

    def _note(self, record: EventRecord) -> None:
        """What was told of and is not over, so that it is closed if the process ends."""
        monitor = self._monitors.get(record.camera)
        if monitor is None:
            return
        if record.state == "open":
            monitor.open[record.uid] = record
        else:
            monitor.open.pop(record.uid, None)


def _is_heavy(plan: Plan) -> bool:
    """What cannot be loaded is not; its monitor says what is wrong with it."""
    try:
        saved = plan.folder / "detector.json"
        if saved.exists():
            return is_heavy(backbone_class(json.loads(saved.read_bytes())["backbone"]["name"]))
        return plan.learning is not None and is_heavy(backbone_class(plan.learning.backbone))
    except (OddwatchError, OSError, ValueError, KeyError, TypeError):
        return False
