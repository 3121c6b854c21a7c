"""What a monitor tells -> rows of the store and alerts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from oddwatch.cli.opening import now
from oddwatch.errors import LockLostError, StoreError
from oddwatch.monitor import (
    EventRecord,
    EvidenceKind,
    FindingRecord,
    GapRecord,
    Plan,
    Readiness,
    SimilarMoment,
    Sinks,
    detector_version,
)
from oddwatch.report.overlay import draw_box, heatmap_overlay
from oddwatch.store import Store
from oddwatch.store.evidence import EvidenceFiles
from oddwatch.store.locks import Lock
from oddwatch.store.records import Detector, Evidence, NewEvent

_log = logging.getLogger(__name__)
_SUFFIXES: dict[EvidenceKind, str] = {"clip": ".mp4"}
"""Of what is no JPEG."""


@dataclass
class Watched:
    """A camera that this process writes for. events, health: names of the sinks that are told of each. noted: until
    when it is in the store whether it was observed.
    """

    plan: Plan
    lock: Lock
    events: tuple[str, ...]
    health: tuple[str, ...]
    noted: datetime


@dataclass
class Recorder:
    """The sinks of monitors. cameras: by name; one that is no longer watched stays until its last record has come.
    wake: what is called when there is something to send. lost: the error after another process took a camera over.
    """

    store: Store
    wake: Callable[[], None]
    cameras: dict[str, Watched] = field(default_factory=dict)
    lost: LockLostError | None = None

    def sinks(self) -> Sinks:
        """For `oddwatch.monitor`."""
        return Sinks(
            event=self._guarded(self.event),
            finding=self._guarded(self.finding),
            gap=self._guarded(self.gap),
            readiness=self.readiness,
            evidence_path=partial(place, self.store.evidence),
            heat=heatmap_overlay,
            box=draw_box,
        )

    def _guarded(self, write: Callable[[Any], None]) -> Callable[[Any], None]:
        """Nothing is written, and nothing tried again, for a camera that another process has taken over."""

        def guarded(record: Any) -> None:
            try:
                write(record)
            except LockLostError as error:
                self.lost = error

        return guarded

    def event(self, record: EventRecord) -> None:
        """Commit it with its evidence and its alerts; again, when it is over. Raises StoreError."""
        camera = self.cameras[record.camera]
        start, end, peak = (moment(one) for one in (record.start_wall, record.end_wall, record.peak_wall))
        evidence = self._described(record)
        kept = {one.kind for one in evidence}
        similar = tuple(_similar(one, kept) for one in record.similar)
        why = dict(record.why)
        if record.problem:
            why["problem"] = record.problem
        events = self.store.events
        number = events.numbered(record.uid)
        if number is None:
            new = NewEvent(
                record.camera,
                start,
                max(start, end),
                peak,
                record.peak_score,
                record.p_value,
                record.box,
                record.place,
                why,
                record.detector,
                record.uid,
                similar,
            )
            number = events.record(new, guard=camera.lock, alert=camera.events, at=now(), evidence=evidence)
            self.wake()
            _log.info("%s: event %d, %s", record.camera, number, why.get("says", "something unusual"))
        if record.state == "open":
            return
        for one in evidence:
            events.attach(number, one, guard=camera.lock, at=now())
        events.update(
            number,
            guard=camera.lock,
            end=max(start, end),
            peak=peak,
            score=record.peak_score,
            p_value=record.p_value,
            box=record.box,
            place=record.place,
            why=why,
            similar=similar,
            closed=True,
        )
        _log.info("%s: event %d is over, %.1f s", record.camera, number, record.end_wall - record.start_wall)

    def _described(self, record: EventRecord) -> list[Evidence]:
        """A file that cannot be read does not keep an event from being told."""
        found = []
        for path in record.files.values():
            try:
                found.append(self.store.evidence.describe(Path(path)))
            except StoreError as error:
                _log.warning("%s: an event without a part of its evidence: %s", record.camera, error)
        return found

    def finding(self, record: FindingRecord) -> None:
        """A camera is blind, or sees again. Raises StoreError."""
        camera, found = self.cameras[record.camera], record.finding
        if not found.raised:
            self.store.events.end_blind(record.camera, found.kind, guard=camera.lock, end=moment(record.known_wall))
            _log.info("%s: no longer %s", record.camera, found.kind)
            return
        self.store.events.find_blind(
            record.camera,
            found.kind,
            guard=camera.lock,
            start=moment(record.since_wall),
            alert=camera.health,
            detail={"says": found.says},
            uid=record.uid,
        )
        self.wake()
        _log.warning("%s: %s: %s", record.camera, found.kind, found.says)

    def gap(self, record: GapRecord) -> None:
        """A camera was not observed. Raises StoreError."""
        camera, gap = self.cameras[record.camera], record.gap
        start, end = moment(gap.from_wall), moment(gap.to_wall)
        if start < end:  # else the clock was set back meanwhile: there is no such stretch
            self.store.coverage.note(record.camera, start, end, guard=camera.lock, observed=False, reason=gap.says)
        _log.warning("%s: not observed for %.0f s: %s", record.camera, gap.seconds, gap.says)

    def readiness(self, record: Readiness) -> None:
        """How far a camera is with learning. Raises StoreError."""
        if not record.armed:
            _log.info("%s: %.0f of %.0f s seen to learn from", record.camera, record.seconds, record.wanted_seconds)
            return
        self.note_detector(self.cameras[record.camera].plan, hours=record.seconds / 3600, says=record.says)

    def note_detector(self, plan: Plan, *, hours: float, says: str = "") -> None:
        """Which detector a camera has from now on. Raises StoreError, DetectorError."""
        version = detector_version(plan.folder)
        info = {"says": says} if says else {}
        self.store.events.add_detector(Detector(plan.name, version, str(plan.folder), now(), hours, info))

    def observed(self, name: str, last_wall: float | None) -> None:
        """A camera was observed until now, but for the gaps that were told. Raises StoreError."""
        camera = self.cameras[name]
        if last_wall is None:
            return
        last = moment(last_wall)
        if last > camera.noted:
            self.store.coverage.note(name, camera.noted, last, guard=camera.lock)
        camera.noted = last  # earlier than before when the clock was set back: then a new stretch begins

    def unobserved(self, name: str, why: str, at: datetime | None = None) -> None:
        """Nobody looked through a camera until this moment, else until now. Raises StoreError."""
        camera, at = self.cameras[name], at or now()
        if at > camera.noted:
            self.store.coverage.note(name, camera.noted, at, guard=camera.lock, observed=False, reason=why)
        camera.noted = at


def place(files: EvidenceFiles, camera: str, uid: str, kind: EvidenceKind) -> Path:
    """Where a monitor writes a file. Raises OSError."""
    try:
        return files.place(camera, uid, kind, _SUFFIXES.get(kind, ".jpg"))
    except StoreError as error:
        raise OSError(str(error)) from error


def _similar(one: SimilarMoment, kept: Collection[str]) -> dict[str, Any]:
    """As JSON types. kept: kinds of evidence that are there."""
    return {
        "source": one.source,
        "seconds": round(one.seconds, 3),
        "at": None if one.at_wall is None else moment(one.at_wall).isoformat(),
        "distance": round(one.distance, 3),
        "thumbnail": one.thumbnail if one.thumbnail in kept else None,
    }


def moment(wall_seconds: float) -> datetime:
    """Seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(wall_seconds, UTC)
