"""Watches cameras: pictures -> health, scores, events with their evidence, all handed to sinks that it is given.

It knows no store, no alerts and no configuration: what it tells goes to callables (`Sinks`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self

from oddwatch.errors import OddwatchError, UsageError
from oddwatch.monitor.batching import Networks
from oddwatch.monitor.camera import CameraMonitor, detector_version
from oddwatch.monitor.crew import Crew, FarMonitor
from oddwatch.monitor.delivery import Delivery
from oddwatch.monitor.records import (
    CameraStatistics,
    EventRecord,
    EvidenceKind,
    FindingRecord,
    GapRecord,
    Learning,
    Plan,
    Readiness,
    SimilarMoment,
    Sinks,
)
from oddwatch.video import Unobserved

__all__ = [
    "CameraMonitor",
    "CameraStatistics",
    "Delivery",
    "EventRecord",
    "EvidenceKind",
    "FindingRecord",
    "GapRecord",
    "Learning",
    "Plan",
    "Readiness",
    "SimilarMoment",
    "Sinks",
    "Supervisor",
    "detector_version",
]
_log = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class Supervisor:
    """Watches many cameras, each in a thread and a decoder process of its own. One that fails is started again, with
    longer and longer pauses, and disturbs no other. Use it in a `with` block; leaving it ends everything cleanly.

    processes: that score, see `Crew`; with 0 the threads are of this process.
    """

    def __init__(self, plans: Iterable[Plan], sinks: Sinks, *, processes: int = 0) -> None:
        self._sinks = sinks
        self._delivery = Delivery()
        self._networks = Networks()
        self._crew = Crew(processes, sinks, self._delivery) if processes else None
        self._keepers: dict[str, _Keeper] = {}
        for plan in plans:
            self.add(plan)

    def __enter__(self) -> Self:
        for keeper in list(self._keepers.values()):
            keeper.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def add(self, plan: Plan, *, start: bool = False) -> None:
        """One more camera. Raises UsageError for a name that is taken."""
        if plan.name in self._keepers:
            raise UsageError(f"two cameras are called {plan.name!r}: give each a name of its own")
        self._keepers[plan.name] = keeper = _Keeper(plan, self._monitor, self._tell_gap)
        if start:
            keeper.start()

    def remove(self, name: str) -> CameraStatistics:
        """Watch this camera no longer; the others go on. Returns how it was at the end. Raises UsageError."""
        if name not in self._keepers:
            raise UsageError(f"no camera is called {name!r}")
        keeper = self._keepers.pop(name)
        keeper.stop()
        keeper.join()
        return keeper.statistics

    @property
    def plans(self) -> dict[str, Plan]:
        """What is watched, by name."""
        return {name: keeper.plan for name, keeper in list(self._keepers.items())}

    @property
    def undelivered(self) -> int:
        """How many records wait for their sinks."""
        return len(self._delivery)

    @property
    def is_over(self) -> bool:
        """Whether all cameras were replays that have ended."""
        return all(keeper.over for keeper in list(self._keepers.values()))

    def statistics(self) -> list[CameraStatistics]:
        """Of every camera, in the order in which they were added."""
        return [keeper.statistics for keeper in list(self._keepers.values())]

    def accept_view(self, name: str) -> None:
        """See `CameraMonitor.accept_view`. Raises UsageError."""
        if name not in self._keepers:
            raise UsageError(f"no camera is called {name!r}")
        self._keepers[name].monitor.accept_view()

    def wait(self, seconds: float | None = None) -> bool:
        """Until all cameras are over, or for so long. Returns whether they are."""
        for keeper in list(self._keepers.values()):
            keeper.join(seconds)
        return self.is_over

    def close(self) -> int:
        """End all cameras side by side, then deliver what waits. Returns how many records could not be delivered."""
        for keeper in list(self._keepers.values()):
            keeper.stop()
        for keeper in list(self._keepers.values()):
            keeper.join()
        if self._crew is not None:
            self._crew.close()
        return self._delivery.close()

    def _monitor(self, plan: Plan) -> CameraMonitor | FarMonitor:
        if self._crew is not None:
            return self._crew.monitor(plan)
        return CameraMonitor(plan, self._sinks, self._delivery, networks=self._networks)

    def _tell_gap(self, gap: GapRecord) -> None:
        self._delivery.put(self._sinks.gap, gap)


class _Keeper:
    """Keeps one camera watched."""

    def __init__(
        self, plan: Plan, make: Callable[[Plan], CameraMonitor | FarMonitor], tell_gap: Callable[[GapRecord], None]
    ) -> None:
        self.plan, self._make, self._tell_gap = plan, make, tell_gap
        self.monitor = make(plan)
        self.over = False
        self._failures = 0
        self._told_until = time.time()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"oddwatch-{plan.name}", daemon=True)

    @property
    def statistics(self) -> CameraStatistics:
        return replace(self.monitor.statistics, failures=self._failures)

    def start(self) -> None:
        self._told_until = time.time()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self.monitor.stop()

    def join(self, seconds: float | None = None) -> None:
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                self.monitor.run()
                self.over = True
                return
            except Exception as error:
                if time.monotonic() - began > _LONGEST_PAUSE_SECONDS:  # it went well for a while
                    pause = _FIRST_PAUSE_SECONDS
                if isinstance(error, OddwatchError):
                    _log.error("%s: %s; trying again in %.0f s", self.plan.name, error, pause)
                else:
                    _log.exception("%s: it failed; trying again in %.0f s", self.plan.name, pause)
            self._failures += 1
            if self._stopped.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self._note_gap()
            self.monitor = self._make(self.plan)

    def _note_gap(self) -> None:
        """Of the time since the last picture that the monitor which failed saw, if any."""
        last, now = self.monitor.statistics.last_frame_wall or self._told_until, time.time()
        self._told_until = now
        if self.plan.camera.is_live and last < now:
            self._tell_gap(GapRecord(self.plan.name, Unobserved(last, now, now - last, "watching failed")))
