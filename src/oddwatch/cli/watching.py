"""A site that is watched: cameras -> monitor -> store -> outbox -> sinks, and what has to be done now and then."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2

from oddwatch.cli.opening import build_routes, now, open_store
from oddwatch.cli.recording import Recorder, Watched
from oddwatch.config.site import Camera, Learn, Site
from oddwatch.detector import Detector
from oddwatch.errors import DetectorError, LockLostError, StoreError, UsageError
from oddwatch.monitor import CameraStatistics, Learning, Plan, Supervisor
from oddwatch.outbox import Outbox
from oddwatch.store.records import Recovered
from oddwatch.video import CameraOptions

_log = logging.getLogger(__name__)
_NOTE_SECONDS = 10.0
_RETAIN_SECONDS = 60.0
_LAST_ALERTS_SECONDS = 3.0
_LAST_RECORDS_SECONDS = 5.0
_MOST_SECONDS = 30.0
"""Of an event that its clip shows."""
_KEPT_SECONDS = 60.0
OFF_SCHEDULE = "off schedule"


class Watch:
    """Watches a site inside of a `with` block; entering takes the locks, leaving ends everything cleanly.

    Raises OddwatchError when it cannot begin: another process watches, a detector is missing, a sink cannot be built.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self._plans = _plans(site)
        self.store = open_store(site, create=True)
        self.recorder = Recorder(self.store, self._wake)
        self.supervisor = Supervisor((), self.recorder.sinks())
        self.outbox = self._new_outbox(site)
        self._off: set[str] = set()
        self._changing = threading.RLock()
        self._stopping = threading.Event()
        self._upkeep = threading.Thread(target=self._keep, name="oddwatch-upkeep", daemon=True)
        self.upkept_at = time.monotonic()
        self._opencv_threads = cv2.getNumThreads()

    def __enter__(self) -> Self:
        cv2.setNumThreads(1)  # each camera has a thread: when each call has more, six cameras take a fifth more time
        try:
            self.outbox.start()
            for camera in self.site.cameras:
                self._take(camera)
            self.follow_schedule()
        except BaseException:
            self._close()
            raise
        self._upkeep.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    @property
    def is_over(self) -> bool:
        """Whether all cameras were replays that have ended."""
        return not self._off and self.supervisor.is_over

    def statistics(self) -> list[CameraStatistics]:
        """Of every camera that is watched now."""
        return self.supervisor.statistics()

    @property
    def off(self) -> frozenset[str]:
        """Cameras that their schedule leaves alone now."""
        return frozenset(self._off)

    def check(self) -> None:
        """Raises LockLostError after another process has taken over a camera or the alerts."""
        if self.recorder.lost is not None:
            raise self.recorder.lost
        if not self.outbox.running:
            raise LockLostError("outbox: another process delivers the alerts of this store: stop one of them")

    def follow_schedule(self) -> None:
        """Begin and end cameras as the hours say."""
        local = now().astimezone(self.site.zone)
        if not self._changing.acquire(blocking=False):
            return  # a database that is away keeps the upkeep waiting, but not this
        try:
            watched = self.supervisor.plans
            for camera in self.site.cameras:
                due = not camera.schedule or any(one.hold(local) for one in camera.schedule)
                if due and camera.name not in watched:
                    if camera.name in self._off:
                        self._note(camera.name, None)
                        self._off.discard(camera.name)
                    self.recorder.cameras[camera.name].noted = now()
                    self.supervisor.add(self._plans[camera.name], start=True)
                elif not due and camera.name not in self._off:
                    if camera.name in watched:
                        self._end(camera.name)
                    self.recorder.cameras[camera.name].noted = now()
                    self._off.add(camera.name)
                    _log.info("%s: %s", camera.name, OFF_SCHEDULE)
        finally:
            self._changing.release()

    def reload(self, site: Site) -> None:
        """Go on with a changed site; cameras that stayed the same notice nothing. Raises OddwatchError, and then all
        goes on as before, when the site cannot work.
        """
        plans, routes = _plans(site), build_routes(site)
        fixed = {"storage": self.site.storage, "metrics": self.site.metrics}
        if any(getattr(site, key) != value for key, value in fixed.items()):
            _log.warning("what changed of storage and metrics is used from the next start on")
            site = site.model_copy(update=fixed)
            plans = _plans(site)
        with self._changing:
            before, self.site, self._plans = self.site, site, plans
            for name, plan in self.supervisor.plans.items():
                if plans.get(name) != plan:
                    self._end(name)
            self._release_gone()
            self._off &= set(plans)
            for camera in site.cameras:
                if camera.name in self.recorder.cameras:
                    self._route(camera, self.recorder.cameras[camera.name])
                else:
                    self._take(camera)
            told = ("name", "timezone", "alerts")
            routed = [[(one.name, one.alerts) for one in of.cameras] for of in (before, site)]
            if any(getattr(before, key) != getattr(site, key) for key in told) or routed[0] != routed[1]:
                self.outbox.stop()
                self.outbox = Outbox(self.store, routes, site=site.name, zone=site.zone)
                self.outbox.start()
        self.follow_schedule()

    def _new_outbox(self, site: Site) -> Outbox:
        return Outbox(self.store, build_routes(site), site=site.name, zone=site.zone)

    def _wake(self) -> None:
        self.outbox.wake()

    def _take(self, camera: Camera) -> None:
        """Become the only one that writes for a camera."""
        plan = self._plans[camera.name]
        lock, found = self.store.lock_camera(camera.name, at=now())
        if found != Recovered():
            _log.warning("%s: after the last end: %s", camera.name, found)
        watched = Watched(plan, lock, (), (), now())
        self._route(camera, watched)
        self.recorder.cameras[camera.name] = watched
        self.store.events.add_camera(camera.name)
        if (plan.folder / "detector.json").exists():
            hours = Detector.load(plan.folder).calibration.hours
            self.recorder.note_detector(plan, hours=hours)

    def _route(self, camera: Camera, watched: Watched) -> None:
        names = tuple(self.site.sinks_of(camera.name))
        blind = {sink.name for sink in self.site.alerts.sinks if sink.tell_health}
        watched.plan = self._plans[camera.name]
        watched.events, watched.health = names, tuple(name for name in names if name in blind)

    def _end(self, name: str) -> None:
        """Watch a camera no longer; what it has told is written."""
        last = {one.camera: one.last_frame_wall for one in self.statistics()}[name]
        self.supervisor.remove(name)
        until = time.monotonic() + _LAST_RECORDS_SECONDS
        while self.supervisor.undelivered and time.monotonic() < until:
            time.sleep(0.02)
        self._note(name, last)

    def _release_gone(self) -> None:
        """Let others have the cameras that the site no longer has, once all that they told is written."""
        if self.supervisor.undelivered:
            return
        for name in set(self.recorder.cameras) - set(self._plans):
            self.recorder.cameras.pop(name).lock.release()

    # now and then

    def _keep(self) -> None:
        retain_at = 0.0
        while True:
            with self._changing:
                self._note_all()
                self._release_gone()
            if time.monotonic() >= retain_at:
                self._retain()
                retain_at = time.monotonic() + _RETAIN_SECONDS
            self.upkept_at = time.monotonic()
            if self._stopping.wait(_NOTE_SECONDS):
                return

    def _note_all(self) -> None:
        seen = {one.camera: one.last_frame_wall for one in self.statistics()}
        for name in self.recorder.cameras:
            if name in seen or name in self._off:
                self._note(name, seen.get(name))

    def _note(self, name: str, last_wall: float | None) -> None:
        """Write down until when a camera was seen, or that it was off, and keep its lock."""
        try:
            self.recorder.cameras[name].lock.renew()
            if name in self._off:
                self.recorder.unobserved(name, OFF_SCHEDULE)
            else:
                self.recorder.observed(name, last_wall)
        except LockLostError as error:
            self.recorder.lost = error
        except StoreError as error:  # it will be noted the next time
            _log.warning("%s: its coverage is not noted: %s", name, error)

    def _retain(self) -> None:
        kept = self.site.storage
        try:
            removed = self.store.upkeep.retain(
                keep_days=kept.keep_days,
                keep_bytes=kept.keep_gb * 1e9,
                keep_free_bytes=kept.keep_free_gb * 1e9,
                at=now(),
            )
        except (StoreError, OSError) as error:
            _log.warning("old evidence is not removed: %s", error)
            return
        if removed.files:
            _log.warning("%d evidence files removed: %s", removed.files, ", ".join(removed.reasons))

    # the end

    def _close(self) -> None:
        cv2.setNumThreads(self._opencv_threads)
        self._stopping.set()
        if self._upkeep.is_alive():
            self._upkeep.join(_LAST_RECORDS_SECONDS)
        self._note_all()
        left = self.supervisor.close()
        if left:
            _log.error("%d records could not be written", left)
        for camera in self.recorder.cameras.values():
            camera.lock.release()
        self._send_last()
        self.outbox.stop(wait_seconds=_LAST_RECORDS_SECONDS)
        self.store.close()

    def _send_last(self) -> None:
        """What was committed just now is tried once; what is left is sent after the next start."""
        until = time.monotonic() + _LAST_ALERTS_SECONDS
        try:
            while self.outbox.running and time.monotonic() < until:
                waiting = [a for sink in self.site.alerts.sinks for a in self.store.alerts.waiting(sink.name)]
                if not any(one.attempts == 0 and not one.held for one in waiting):
                    return
                time.sleep(0.05)
        except StoreError as error:
            _log.warning("alerts wait for the next start: %s", error)


def _plans(site: Site) -> dict[str, Plan]:
    return {camera.name: _plan(camera, site) for camera in site.cameras}


def _plan(camera: Camera, site: Site) -> Plan:
    """Raises UsageError, DetectorError: a camera that cannot work."""
    storage = site.storage
    longest = storage.pre_roll_seconds + _MOST_SECONDS + storage.post_roll_seconds
    options = CameraOptions(
        camera.url.get_secret_value(),
        transport=camera.transport,
        fps=camera.fps,
        size_px=None if camera.resolution is None else (camera.resolution[0], camera.resolution[1]),
        masks=tuple(_corners(mask) for mask in camera.masks),
        stall_seconds=camera.stall_seconds,
        evidence_seconds=max(_KEPT_SECONDS, longest),
        replay=camera.replay,
        replay_fps=camera.replay_fps,
    )
    own = Path(storage.folder) / "detectors" / camera.name
    folder = own if camera.detector is None else Path(camera.detector)
    learning = None if camera.learning is None else _learning(camera.learning)
    if learning is None and not (folder / "detector.json").is_file():
        raise DetectorError(
            f"{camera.name}: {folder} holds no detector: make one with oddwatch learn, or leave `detector` out"
        )
    if learning is not None:
        try:
            learning.detector()
        except UsageError as error:
            raise UsageError(f"{camera.name}: {error}") from None
    return Plan(
        camera.name,
        options,
        folder,
        learning,
        zones=tuple(_corners(zone.polygon) for zone in camera.zones),
        pre_seconds=storage.pre_roll_seconds,
        post_seconds=storage.post_roll_seconds,
        most_seconds=_MOST_SECONDS,
    )


def _learning(learn: Learn) -> Learning:
    return Learning(
        seconds=learn.seconds,
        backbone=learn.backbone,
        backbone_options=learn.options,
        scorer=learn.scorer,
        budget=learn.budget,
        pictures=learn.pictures,
    )


def _corners(polygon: list[list[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in polygon)
