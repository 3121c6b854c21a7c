"""Keeping rows and files in agreement, and the disk from filling."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, Update, func, select, update

from oddwatch.errors import LockedError, StoreError
from oddwatch.store import tables
from oddwatch.store.database import Database, Guard
from oddwatch.store.events import as_evidence, put_evidence
from oddwatch.store.evidence import EvidenceFiles
from oddwatch.store.locks import take_lock
from oddwatch.store.records import CheckReport, Evidence, Recovered, Removed

_ROWS = tables.evidence.c
_BATCH = 100
_OLD = "older than what is kept"
_MUCH = "more than what is kept"
_FREE = "the disk was filling"


class Upkeep:
    """Recovery, checks and retention of a store."""

    def __init__(self, database: Database, files: EvidenceFiles) -> None:
        self._database, self._files = database, files

    def recover(self, camera: str, guard: Guard, *, at: datetime) -> Recovered:
        """After a start, under the camera's lock: events that were left open become `interrupted`, rows whose file is
        gone say so, files whose event is there get their row, half-written ones go. Files of no event stay: with
        another database in an old folder that would be all of them. Findings that lasted are over: what watches from
        now on finds them again. Raises StoreError.
        """
        for event, one in self._of_open(camera):
            if self._files.path(one.path).exists():  # it may have been written anew before its row was
                found = self._files.describe(one.path)
                self._database.write(partial(put_evidence, event=event, evidence=found, at=at), guard=guard)
        interrupted = self._database.write(lambda connection: _interrupt(connection, camera, at), guard=guard)
        missing = [one.path for one in self._rows(camera) if not self._files.path(one.path).exists()]
        self._mark(missing, "the file was missing", at, guard)
        adopted, removed, unknown = self._reconcile(camera, guard, at)
        return Recovered(interrupted, tuple(missing), tuple(adopted), tuple(removed), tuple(unknown))

    def check(self, *, at: datetime, repair: bool = False, whole: bool = False) -> CheckReport:
        """Where rows and files disagree. repair: mend it as a start does, and remove damaged files and those of
        no event.
        whole: read every file, else its size is looked at. Raises StoreError.
        """
        rows = self._rows()
        missing, damaged = [], []
        for one in rows:
            try:
                if self._files.is_damaged(one, whole=whole):
                    damaged.append(one.path)
            except FileNotFoundError:
                missing.append(one.path)
            except OSError as error:
                raise StoreError(f"{one.path} cannot be read: {error.strerror}") from error
        orphans: list[str] = []
        busy = []
        for camera in self._files.cameras():
            try:
                lock = take_lock(self._database, self._files.folder, f"camera:{camera}", at)
            except LockedError:
                busy.append(camera)  # a file is there before its row
                continue
            with lock:
                if repair:
                    found = self._reconcile(camera, lock, at)
                    orphans += sorted(path for paths in found for path in paths)
                    for path in found[2]:
                        self._files.remove(path)
                else:
                    orphans += self._orphans(camera)
        if repair:
            self._mark(missing, "the file was missing", at, None)
            self._mark(damaged, "the file was damaged", at, None)
            for path in damaged:
                self._files.remove(path)
        return CheckReport(len(rows), tuple(missing), tuple(damaged), tuple(orphans), tuple(busy), repair)

    def _rows(self, camera: str | None = None) -> list[Evidence]:
        query: Select[Any] = select(tables.evidence).where(_ROWS.removed_at.is_(None)).order_by(_ROWS.id)
        if camera is not None:
            query = (
                query.join(tables.events, tables.events.c.id == _ROWS.event_id)
                .join(tables.cameras)
                .where(tables.cameras.c.name == camera)
            )
        return self._database.read(lambda c: [as_evidence(row) for row in c.execute(query).mappings()])

    def _of_open(self, camera: str) -> list[tuple[int, Evidence]]:
        """(event, evidence) of events that last."""
        rows = tables.events.c
        query = (
            select(tables.evidence)
            .join(tables.events, rows.id == _ROWS.event_id)
            .join(tables.cameras)
            .where(tables.cameras.c.name == camera, rows.state == "open", _ROWS.removed_at.is_(None))
        )
        return self._database.read(
            lambda c: [(int(row["event_id"]), as_evidence(row)) for row in c.execute(query).mappings()]
        )

    def _orphans(self, camera: str) -> list[str]:
        known = {one.path for one in self._rows(camera)}
        return [path for path in self._files.of(camera) if path not in known]

    def _reconcile(self, camera: str, guard: Guard, at: datetime) -> tuple[list[str], list[str], list[str]]:
        """Files without a row: those that got one, those that were removed, those of no event."""
        adopted, removed, unknown = [], [], []
        for path in self._orphans(camera):
            parsed = self._files.parse(path)
            event = None if parsed is None else self._event(parsed[0])
            if event is not None and self._adopt(path, event, guard, at):
                adopted.append(path)
            elif parsed is None or event is not None:  # half written, or its row says that it was to be removed
                self._files.remove(path)
                removed.append(path)
            else:
                unknown.append(path)
        return adopted, removed, unknown

    def _event(self, uid: str) -> int | None:
        query = select(tables.events.c.id).where(tables.events.c.uid == uid)
        return self._database.read(lambda connection: connection.execute(query).scalar())

    def _adopt(self, path: str, event: int, guard: Guard, at: datetime) -> bool:
        def work(connection: Connection) -> bool:
            if connection.execute(select(_ROWS.id).where(_ROWS.path == path)).scalar() is not None:
                return False
            put_evidence(connection, event, self._files.describe(path), at)
            return True

        return self._database.write(work, guard=guard)

    def _mark(self, paths: Iterable[str], because: str, at: datetime, guard: Guard | None) -> None:
        """Rows whose file is no more."""
        paths = list(paths)
        for start in range(0, len(paths), _BATCH):
            some = _ROWS.path.in_(paths[start : start + _BATCH])
            values = {"removed_at": at, "removed_because": because}
            statement = update(tables.evidence).where(some, _ROWS.removed_at.is_(None)).values(values)
            self._database.write(partial(_execute, statement=statement), guard=guard)

    def bytes_kept(self) -> int:
        """Of all evidence. Raises StoreError."""
        query = select(func.coalesce(func.sum(_ROWS.bytes), 0)).where(_ROWS.removed_at.is_(None))
        return self._database.read(lambda connection: int(connection.execute(query).scalar_one()))

    def removed(self, since: datetime) -> dict[str, int]:
        """How many files are gone since then, for each reason. Raises StoreError."""
        query = (
            select(_ROWS.removed_because, func.count())
            .where(_ROWS.removed_at >= since)
            .group_by(_ROWS.removed_because)
            .order_by(_ROWS.removed_because)
        )
        return self._database.read(lambda connection: {str(why): int(n) for why, n in connection.execute(query)})

    def retain(
        self,
        *,
        keep_days: float,
        keep_bytes: float,
        keep_free_bytes: float = 0,
        at: datetime,
        free_bytes: Callable[[], int] | None = None,
    ) -> Removed:
        """Remove evidence: unlabelled that is older than `keep_days`; then the oldest, first what nobody labelled,
        until no more than `keep_bytes` are there and `keep_free_bytes` are free. Rows of events stay. free_bytes: what
        says how much is free, else the file system.

        Files go before their rows say so, because on a full disk the rows cannot be written first; a crash between the
        two is mended at the next start. Raises StoreError.
        """
        free = free_bytes or (lambda: shutil.disk_usage(self._files.folder).free)
        oldest = at - timedelta(days=keep_days)
        kept, short = self.bytes_kept(), keep_free_bytes - free()
        files = removed_bytes = labelled = 0
        reasons: dict[str, None] = {}
        batch: dict[str, list[str]] = {}
        for row in self._candidates():
            if row["label"] is None and row["end"] < oldest:
                reason = _OLD
            elif kept > keep_bytes:
                reason = _MUCH
            elif short > 0:
                reason = _FREE
            elif row["label"] is not None:
                break  # no labelled one is removed for its age
            else:
                continue
            self._files.remove(row["path"])
            batch.setdefault(reason, []).append(row["path"])
            reasons[reason] = None
            kept, short = kept - row["bytes"], short - row["bytes"]
            files, removed_bytes = files + 1, removed_bytes + row["bytes"]
            labelled += row["label"] is not None
            if files % _BATCH == 0:
                self._mark_all(batch, at)
                batch = {}
        self._mark_all(batch, at)
        return Removed(files, removed_bytes, labelled, tuple(reasons))

    def _mark_all(self, batch: dict[str, list[str]], at: datetime) -> None:
        for because, paths in batch.items():
            self._mark(paths, because, at, None)

    def _candidates(self) -> list[Any]:
        events = tables.events.c
        query = (
            select(_ROWS.path, _ROWS.bytes, events.label, events.end)
            .join_from(tables.evidence, tables.events)
            .where(_ROWS.removed_at.is_(None))
            .order_by(events.label.is_not(None), events.end, _ROWS.id)
        )
        return self._database.read(lambda connection: list(connection.execute(query).mappings()))


def _execute(connection: Connection, statement: Update) -> None:
    connection.execute(statement)


def _interrupt(connection: Connection, camera: str, at: datetime) -> int:
    whose = select(tables.cameras.c.id).where(tables.cameras.c.name == camera).scalar_subquery()
    lasting = tables.findings.c
    over = update(tables.findings).where(lasting.camera_id == whose, lasting.end.is_(None))
    connection.execute(over.values(end=at))
    rows = tables.events.c
    statement = update(tables.events).where(rows.camera_id == whose, rows.state == "open")
    return connection.execute(statement.values(state="interrupted")).rowcount
