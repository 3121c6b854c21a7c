"""The cameras of a site: who watches them, for which sinks, and what is noted of each besides its events."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import cv2

from oddwatch.cli.opening import now
from oddwatch.cli.recording import Recorder, Watched
from oddwatch.detector import Detector
from oddwatch.errors import LockLostError, StoreError
from oddwatch.monitor import CameraStatistics, Plan, Supervisor
from oddwatch.store import Store
from oddwatch.store.records import Recovered

_log = logging.getLogger(__name__)
_LAST_RECORDS_SECONDS = 5.0
OFF_SCHEDULE = "off schedule"


@dataclass(frozen=True)
class Told:
    """Names of the sinks that are told of a camera's events, and of its health."""

    events: tuple[str, ...]
    health: tuple[str, ...]


class Cameras(ABC):
    """Cameras that are watched somewhere. One that was taken is neither on nor off until it is turned."""

    lost: LockLostError | None = None
    """The error after another process took a camera over."""

    @abstractmethod
    def take(self, plan: Plan, told: Told) -> None:
        """Become the only one that writes for a camera, or go on with one that is taken already: with another plan it
        ends, to be turned on again; with other sinks it notices nothing. Raises OddwatchError.
        """

    @abstractmethod
    def leave(self, name: str) -> None:
        """Watch a camera no longer, and let others have it, once all that it told is written."""

    @abstractmethod
    def turn(self, name: str, on: bool) -> None:
        """Begin to watch a camera that was taken, or leave it alone for a while. Nothing happens when it is so."""

    def settle(self) -> None:
        """Wait at the start until what can go wrong has. Raises OddwatchError."""
        return

    @property
    @abstractmethod
    def names(self) -> frozenset[str]:
        """Those that were taken and not left."""

    @property
    @abstractmethod
    def off(self) -> frozenset[str]:
        """Those that are left alone for a while."""

    @abstractmethod
    def statistics(self) -> list[CameraStatistics]:
        """Of every camera that is on."""

    @property
    @abstractmethod
    def undelivered(self) -> int:
        """How many records wait for the store."""

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether all cameras were replays that have ended."""

    @abstractmethod
    def note(self) -> None:
        """Write down until when each camera was seen or was off, and keep the locks. Called now and then."""

    @abstractmethod
    def close(self) -> None:
        """End all. What they told is written."""


class LocalCameras(Cameras):
    """Cameras that this machine watches. wake: what is called when there is something to send. successor: of a process
    that is lost, see `Store.lock`. processes: that score, see `Supervisor`.
    """

    def __init__(self, store: Store, wake: Callable[[], None], *, successor: bool = False, processes: int = 0) -> None:
        self._store, self._successor = store, successor
        self.recorder = Recorder(store, wake)
        self._supervisor = Supervisor((), self.recorder.sinks(), processes=processes)
        self._left: set[str] = set()
        self._off: set[str] = set()
        self._opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # each camera has a thread: when each call has more, six cameras take a fifth more time

    @property
    def lost(self) -> LockLostError | None:  # type: ignore[override]
        return self.recorder.lost

    def take(self, plan: Plan, told: Told) -> None:
        self._left.discard(plan.name)
        watched = self.recorder.cameras.get(plan.name)
        if watched is not None:
            if self._supervisor.plans.get(plan.name, plan) != plan:
                self._end(plan.name)
            watched.plan, watched.events, watched.health = plan, told.events, told.health
            return
        lock, found = self._store.lock_camera(plan.name, at=now(), successor=self._successor)
        if found != Recovered():
            _log.warning("%s: after the last end: %s", plan.name, found)
        self.recorder.cameras[plan.name] = Watched(plan, lock, told.events, told.health, now())
        self._store.events.add_camera(plan.name)
        if (plan.folder / "detector.json").exists():
            self.recorder.note_detector(plan, hours=Detector.load(plan.folder).calibration.hours)

    def note_lost(self, name: str, why: str) -> None:
        """Nobody looked through a camera that was taken, from when what is known of it ends. Raises StoreError."""
        known = self._store.coverage.known(name)
        if known is not None:
            self.recorder.cameras[name].noted = known
            self.recorder.unobserved(name, why)

    def leave(self, name: str) -> None:
        if name in self._supervisor.plans:
            self._end(name)
        self._off.discard(name)
        self._left.add(name)
        self._release_left()

    def turn(self, name: str, on: bool) -> None:
        watched = name in self._supervisor.plans
        camera = self.recorder.cameras[name]
        if on and not watched:
            if name in self._off:
                self._note(name, None)
                self._off.discard(name)
            camera.noted = now()
            self._supervisor.add(camera.plan, start=True)
        elif not on and name not in self._off:
            if watched:
                self._end(name)
            camera.noted = now()
            self._off.add(name)
            _log.info("%s: %s", name, OFF_SCHEDULE)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.recorder.cameras) - self._left

    @property
    def off(self) -> frozenset[str]:
        return frozenset(self._off)

    def statistics(self) -> list[CameraStatistics]:
        return self._supervisor.statistics()

    @property
    def undelivered(self) -> int:
        return self._supervisor.undelivered

    @property
    def is_over(self) -> bool:
        return not self._off and self._supervisor.is_over

    def note(self) -> None:
        at = now()  # each is known from here on at the latest, however long it takes to write that of others
        seen = {one.camera: one for one in self.statistics()}
        for name in self.recorder.cameras:
            if name in seen:
                self._note(name, seen[name].last_frame_wall, why_unseen=seen[name].why_unseen, at=at)
            elif name in self._off:
                self._note(name, None)
        self._release_left()

    def close(self) -> None:
        self.note()
        left = self._supervisor.close()
        self.note()  # also what was seen last: while it goes on, processes say only now and then what they have seen
        if left:
            _log.error("%d records could not be written", left)
        for camera in self.recorder.cameras.values():
            camera.lock.release()
        cv2.setNumThreads(self._opencv_threads)

    def _end(self, name: str) -> None:
        """Watch a camera no longer; what it has told is written."""
        last = self._supervisor.remove(name).last_frame_wall
        until = time.monotonic() + _LAST_RECORDS_SECONDS
        while self.undelivered and time.monotonic() < until:
            time.sleep(0.02)
        self._note(name, last)

    def _release_left(self) -> None:
        if self.undelivered:
            return
        for name in self._left & set(self.recorder.cameras):
            self.recorder.cameras.pop(name).lock.release()
        self._left.clear()

    def _note(self, name: str, last_wall: float | None, why_unseen: str = "", at: datetime | None = None) -> None:
        """last_wall: of its last picture. why_unseen: up to `at`, why none came since."""
        try:
            self.recorder.cameras[name].lock.renew()
            if name in self._off:
                self.recorder.unobserved(name, OFF_SCHEDULE)
            else:
                self.recorder.observed(name, last_wall)
                if why_unseen:
                    self.recorder.unobserved(name, why_unseen, at)
        except LockLostError as error:
            self.recorder.lost = error
        except StoreError as error:  # it will be noted the next time
            _log.warning("%s: its coverage is not noted: %s", name, error)
