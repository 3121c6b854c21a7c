"""A site that is watched: cameras -> monitor -> store -> outbox -> sinks, and what has to be done now and then."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from oddwatch.cli.cameras import Cameras, LocalCameras, Told
from oddwatch.cli.opening import build_routes, now, open_store
from oddwatch.cli.spread import SpreadCameras
from oddwatch.config.site import Camera, Learn, Site
from oddwatch.errors import DetectorError, LockLostError, StoreError, UsageError
from oddwatch.monitor import Learning, Plan
from oddwatch.outbox import Outbox
from oddwatch.scale import Cluster
from oddwatch.video import CameraOptions

_log = logging.getLogger(__name__)
_NOTE_SECONDS = 10.0
_RETAIN_SECONDS = 60.0
_LAST_ALERTS_SECONDS = 3.0
_LAST_RECORDS_SECONDS = 5.0
_MOST_SECONDS = 30.0
"""Of an event that its clip shows."""
_KEPT_SECONDS = 60.0
_FEW_CAMERAS = 2


class Watch:
    """Watches a site inside of a `with` block; entering takes the locks, leaving ends everything cleanly.

    Raises OddwatchError when it cannot begin: another process watches, a detector is missing, a sink cannot be built.
    """

    def __init__(self, site: Site, *, cluster: Cluster | None = None) -> None:
        self.site = site
        self._plans = _plans(site)
        self.store = open_store(site, create=True)
        self.outbox = self._new_outbox(site)
        self.cameras: Cameras = (
            LocalCameras(self.store, self._wake, processes=_processes(site))
            if cluster is None
            else SpreadCameras(cluster, site)
        )
        self._changing = threading.RLock()
        self._stopping = threading.Event()
        self._upkeep = threading.Thread(target=self._keep, name="oddwatch-upkeep", daemon=True)
        self.upkept_at = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self.outbox.start()
            for camera in self.site.cameras:
                self._take(camera)
            self.follow_schedule()
            self.cameras.settle()
        except BaseException:
            self._close()
            raise
        self._upkeep.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def check(self) -> None:
        """Raises LockLostError after another process has taken over a camera or the alerts."""
        if self.cameras.lost is not None:
            raise self.cameras.lost
        if not self.outbox.running:
            raise LockLostError("outbox: another process delivers the alerts of this store: stop one of them")

    def follow_schedule(self) -> None:
        """Begin and end cameras as the hours say."""
        local = now().astimezone(self.site.zone)
        if not self._changing.acquire(blocking=False):
            return  # a database that is away keeps the upkeep waiting, but not this
        try:
            for camera in self.site.cameras:
                due = not camera.schedule or any(one.hold(local) for one in camera.schedule)
                self.cameras.turn(camera.name, due)
        finally:
            self._changing.release()

    def reload(self, site: Site) -> None:
        """Go on with a changed site; cameras that stayed the same notice nothing. Raises OddwatchError, and then all
        goes on as before, when the site cannot work.
        """
        plans, routes = _plans(site), build_routes(site)
        fixed = {key: getattr(self.site, key) for key in ("storage", "metrics", "processes")}
        if any(getattr(site, key) != value for key, value in fixed.items()):
            _log.warning("what changed of storage, metrics and processes is used from the next start on")
            site = site.model_copy(update=fixed)
            plans = _plans(site)
        with self._changing:
            before, plans_before, known = self.site, self._plans, self.cameras.names
            self.site, self._plans = site, plans
            try:
                for camera in site.cameras:
                    if camera.name not in known:
                        self._take(camera)
            except BaseException:
                self.site, self._plans = before, plans_before
                for name in self.cameras.names - known:
                    self.cameras.leave(name)
                raise
            for name in known - set(plans):
                self.cameras.leave(name)
            for camera in site.cameras:
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
        names = tuple(self.site.sinks_of(camera.name))
        blind = {sink.name for sink in self.site.alerts.sinks if sink.tell_health}
        told = Told(names, tuple(name for name in names if name in blind))
        self.cameras.take(self._plans[camera.name], told)

    # now and then

    def _keep(self) -> None:
        retain_at = 0.0
        while True:
            with self._changing:
                self.cameras.note()
            if time.monotonic() >= retain_at:
                self._retain()
                retain_at = time.monotonic() + _RETAIN_SECONDS
            self.upkept_at = time.monotonic()
            if self._stopping.wait(_NOTE_SECONDS):
                return

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
        self._stopping.set()
        if self._upkeep.is_alive():
            self._upkeep.join(_LAST_RECORDS_SECONDS)
        self.cameras.close()
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


def _processes(site: Site) -> int:
    """How many score, at most. What a process more costs, about 100 MiB, is not worth it for a camera or two."""
    if site.processes is not None:
        return site.processes
    if len(site.cameras) <= _FEW_CAMERAS:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
