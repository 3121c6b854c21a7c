"""Events, findings about cameras, versions of detectors. What alerts is committed together with its alerts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, select, update

from oddwatch.errors import StoreError, UsageError
from oddwatch.store import tables
from oddwatch.store.database import Database, Guard, camera_id, insert
from oddwatch.store.evidence import EvidenceFiles
from oddwatch.store.records import (
    LABELS,
    Detector,
    Evidence,
    Finding,
    Label,
    NewEvent,
    StoredEvent,
    new_uid,
)
from oddwatch.types import Box


class Events:
    """The events of a store."""

    def __init__(self, database: Database, files: EvidenceFiles) -> None:
        self._database, self._files = database, files

    def add_camera(self, name: str) -> None:
        """Make a camera known before it has seen anything. Raises StoreError."""
        self._database.write(lambda connection: camera_id(connection, name))

    def cameras(self) -> list[str]:
        """Names, in order. Raises StoreError."""
        names = select(tables.cameras.c.name).order_by(tables.cameras.c.name)
        return self._database.read(lambda connection: list(connection.execute(names).scalars()))

    def record(
        self,
        event: NewEvent,
        *,
        guard: Guard,
        alert: Collection[str],
        at: datetime,
        evidence: Sequence[Evidence] = (),
    ) -> int:
        """Commit an event that lasts, the evidence that there is already, and an alert for each sink, all or nothing.

        guard: the lock of the camera. alert: names of sinks. The id; that of before for a uid that was recorded
        already. Raises StoreError, LockLostError.
        """

        def work(connection: Connection) -> int:
            known = select(tables.events.c.id).where(tables.events.c.uid == event.uid)
            if (found := connection.execute(known).scalar()) is not None:
                return int(found)
            made = insert(
                connection,
                tables.events,
                uid=event.uid,
                camera_id=camera_id(connection, event.camera),
                start=event.start,
                end=event.end,
                peak=event.peak,
                score=event.score,
                p_value=event.p_value,
                box=_box_json(event.box),
                place=event.place,
                why=event.why,
                detector=event.detector,
                similar=list(event.similar),
                state="open",
                note="",
            )
            for one in evidence:
                put_evidence(connection, made, one, at)
            for sink in alert:
                add_alert(connection, sink, kind="event", key=f"{event.uid}.{sink}", at=at, event_id=made)
            return made

        return self._database.write(work, guard=guard)

    def update(
        self,
        event: int,
        *,
        guard: Guard,
        end: datetime,
        peak: datetime | None = None,
        score: float | None = None,
        p_value: float | None = None,
        box: Box | None = None,
        place: str | None = None,
        why: dict[str, Any] | None = None,
        similar: Sequence[dict[str, Any]] | None = None,
        closed: bool = False,
    ) -> None:
        """What is known by now of an event that lasts; `closed`: it is over. Raises StoreError, LockLostError."""
        given = {"peak": peak, "score": score, "p_value": p_value, "box": _box_json(box), "place": place, "why": why}
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if similar is not None:
            values["similar"] = list(similar)
        values["end"] = end
        if closed:
            values["state"] = "closed"
        self._change(event, values, guard)

    def attach(self, event: int, evidence: Evidence, *, guard: Guard, at: datetime) -> None:
        """Evidence that came later, such as the clip, or a file that was written anew. Raises StoreError,
        LockLostError.
        """
        self._database.write(lambda connection: put_evidence(connection, event, evidence, at), guard=guard)

    def label(self, event: int, label: Label | None, *, at: datetime, note: str = "") -> StoredEvent:
        """What a person says of it; None takes it back. Raises UsageError, StoreError."""
        if label is not None and label not in LABELS:
            raise UsageError(f"a label is {' or '.join(LABELS)}, got {label!r}")
        values = {"label": label, "note": note, "labelled_at": None if label is None else at}
        self._change(event, values, None)
        return self.get(event)

    def _change(self, event: int, values: dict[str, Any], guard: Guard | None) -> None:
        statement = update(tables.events).where(tables.events.c.id == event).values(values)
        if not self._database.write(lambda connection: connection.execute(statement).rowcount, guard=guard):
            raise _no_event(event)

    def get(self, event: int) -> StoredEvent:
        """One event with its evidence. Raises StoreError when there is none of that number."""
        found = self._events(_selected().where(tables.events.c.id == event))
        if not found:
            raise _no_event(event)
        return found[0]

    def numbered(self, uid: str) -> int | None:
        """The id of the event with this uid, None when it was not recorded. Raises StoreError."""
        query = select(tables.events.c.id).where(tables.events.c.uid == uid)
        return self._database.read(lambda connection: connection.execute(query).scalar())

    def find(
        self,
        *,
        cameras: Collection[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        label: str | None = None,
        ids: Collection[int] | None = None,
        most: int | None = None,
    ) -> list[StoredEvent]:
        """Events, the newest first, with their evidence. since, until: overlapping these times. label: `usual`,
        `unusual`, or `none`. Raises StoreError.
        """
        events = tables.events.c
        query = _selected().order_by(events.start.desc(), events.id.desc())
        if cameras:
            query = query.where(tables.cameras.c.name.in_(cameras))
        if since is not None:
            query = query.where(events.end >= since)
        if until is not None:
            query = query.where(events.start < until)
        if label is not None:
            query = query.where(events.label.is_(None) if label == "none" else events.label == label)
        if ids is not None:
            query = query.where(events.id.in_(ids))
        return self._events(query if most is None else query.limit(most))

    def count(self, *, since: datetime | None = None) -> dict[str, int]:
        """How many events each camera has had. Raises StoreError."""
        query = select(tables.cameras.c.name, func.count(tables.events.c.id)).join_from(tables.events, tables.cameras)
        if since is not None:
            query = query.where(tables.events.c.start >= since)
        query = query.group_by(tables.cameras.c.name)
        return self._database.read(lambda connection: {str(name): int(n) for name, n in connection.execute(query)})

    def _events(self, query: Select[Any]) -> list[StoredEvent]:
        def work(connection: Connection) -> list[StoredEvent]:
            rows = connection.execute(query).mappings().all()
            files: dict[int, list[Evidence]] = {row["id"]: [] for row in rows}
            rows_of = tables.evidence.c
            for start in range(0, len(rows), 500):
                some = list(files)[start : start + 500]
                there = select(tables.evidence).where(rows_of.event_id.in_(some), rows_of.removed_at.is_(None))
                for one in connection.execute(there.order_by(rows_of.id)).mappings():
                    files[one["event_id"]].append(as_evidence(one))
            return [_event(row, files[row["id"]]) for row in rows]

        return self._database.read(work)

    def find_blind(
        self,
        camera: str,
        kind: str,
        *,
        guard: Guard,
        start: datetime,
        alert: Collection[str],
        detail: dict[str, Any],
        uid: str | None = None,
    ) -> int:
        """Commit that a camera does not see as it should, and an alert for each sink. The id; that of before for a uid
        that is known, or while one of the same kind lasts. Raises StoreError, LockLostError.
        """
        uid = uid or new_uid()

        def work(connection: Connection) -> int:
            rows = tables.findings.c
            number = camera_id(connection, camera)
            lasts = (rows.camera_id == number) & (rows.kind == kind) & rows.end.is_(None)
            if (found := connection.execute(select(rows.id).where(lasts | (rows.uid == uid))).scalar()) is not None:
                return int(found)
            made = insert(connection, tables.findings, uid=uid, camera_id=number, kind=kind, start=start, detail=detail)
            for sink in alert:
                add_alert(connection, sink, kind="health", key=f"{uid}.{sink}", at=start, finding_id=made)
            return made

        return self._database.write(work, guard=guard)

    def end_blind(self, camera: str, kind: str | None, *, guard: Guard, end: datetime) -> None:
        """What was found of this kind is over; None: all that was found. Raises StoreError, LockLostError."""
        rows = tables.findings.c

        def work(connection: Connection) -> None:
            statement = update(tables.findings).where(
                rows.camera_id == camera_id(connection, camera), rows.end.is_(None)
            )
            connection.execute((statement if kind is None else statement.where(rows.kind == kind)).values(end=end))

        self._database.write(work, guard=guard)

    def findings(
        self, *, camera: str | None = None, since: datetime | None = None, lasting: bool = False, id: int | None = None
    ) -> list[Finding]:
        """Findings about cameras, the newest first; `lasting`: those that are not over. Raises StoreError."""
        rows = tables.findings.c
        query = select(tables.findings, tables.cameras.c.name.label("camera")).join_from(
            tables.findings, tables.cameras
        )
        if camera is not None:
            query = query.where(tables.cameras.c.name == camera)
        if since is not None:
            query = query.where((rows.end >= since) | rows.end.is_(None))
        if lasting:
            query = query.where(rows.end.is_(None))
        if id is not None:
            query = query.where(rows.id == id)
        query = query.order_by(rows.start.desc(), rows.id.desc())
        names = ("id", "uid", "camera", "kind", "start", "end", "detail")
        return self._database.read(
            lambda connection: [
                Finding(**{name: row[name] for name in names}) for row in connection.execute(query).mappings()
            ]
        )

    def add_detector(self, detector: Detector) -> None:
        """Note a version that a camera learned or was given; once, however often it is said. Raises StoreError."""

        def work(connection: Connection) -> None:
            rows = tables.detectors.c
            number = camera_id(connection, detector.camera)
            known = select(rows.id).where(rows.camera_id == number, rows.version == detector.version)
            if connection.execute(known).scalar() is None:
                insert(
                    connection,
                    tables.detectors,
                    camera_id=number,
                    version=detector.version,
                    folder=detector.folder,
                    learned_at=detector.learned_at,
                    hours=detector.hours,
                    info=detector.info,
                )

        self._database.write(work)

    def detectors(self, camera: str) -> list[Detector]:
        """A camera's versions, the newest first. Raises StoreError."""
        rows = tables.detectors.c
        query = (
            select(tables.detectors)
            .join_from(tables.detectors, tables.cameras)
            .where(tables.cameras.c.name == camera)
            .order_by(rows.learned_at.desc(), rows.id.desc())
        )
        names = ("version", "folder", "learned_at", "hours", "info")
        return self._database.read(
            lambda connection: [
                Detector(camera, **{name: row[name] for name in names}) for row in connection.execute(query).mappings()
            ]
        )


def put_evidence(connection: Connection, event: int, evidence: Evidence, at: datetime) -> None:
    """A row for a file that lies on the disk already."""
    rows = tables.evidence.c
    values = {"kind": evidence.kind, "bytes": evidence.bytes, "sha256": evidence.sha256, "added_at": at}
    known = connection.execute(select(rows.id).where(rows.path == evidence.path)).scalar()
    if known is None:
        insert(connection, tables.evidence, event_id=event, path=evidence.path, **values)
    else:
        values |= {"removed_at": None, "removed_because": None}
        connection.execute(update(tables.evidence).where(rows.id == known).values(values))


def add_alert(connection: Connection, sink: str, *, kind: str, key: str, at: datetime, **of: int) -> int:
    """A row of the outbox: its id."""
    return insert(
        connection,
        tables.alerts,
        key=key,
        kind=kind,
        sink=sink,
        state="waiting",
        held="",
        attempts=0,
        made_at=at,
        last_error="",
        **of,
    )


def as_evidence(row: RowMapping) -> Evidence:
    """A row as a record."""
    return Evidence(row["kind"], row["path"], row["bytes"], row["sha256"])


def _selected() -> Select[Any]:
    return select(tables.events, tables.cameras.c.name.label("camera")).join_from(tables.events, tables.cameras)


def _box_json(box: Box | None) -> list[float] | None:
    return None if box is None else [float(side) for side in box]


def _event(row: RowMapping, files: Sequence[Evidence]) -> StoredEvent:
    box = row["box"]
    left_out = ("camera_id", "labelled_at", "box", "similar")
    values = {name: value for name, value in row.items() if name not in left_out}
    similar, box = tuple(row["similar"] or ()), None if box is None else tuple(box)
    return StoredEvent(**values, box=box, similar=similar, evidence=tuple(files))


def _no_event(event: int) -> StoreError:
    return StoreError(f"there is no event {event}: oddwatch events list shows those there are")
