"""When a camera was observed and when it was not, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from oddwatch.store import tables
from oddwatch.store.database import Database, Guard, camera_id, insert
from oddwatch.store.records import Gap

NOT_WATCHED = "not watched"
"""The reason of a gap that nobody noted: oddwatch was not running."""
_ROWS = tables.intervals.c


class Coverage:
    """The observation of cameras."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(
        self,
        camera: str,
        start: datetime,
        end: datetime,
        *,
        guard: Guard,
        observed: bool = True,
        reason: str = "",
        joined_seconds: float = 2.0,
    ) -> None:
        """A stretch in which a camera was observed, or was not and why. One that begins where the last one ended (give
        or take `joined_seconds`) and is of its kind makes that one longer. Raises StoreError, LockLostError.
        """

        def work(connection: Connection) -> None:
            number = camera_id(connection, camera)
            query = select(tables.intervals).where(_ROWS.camera_id == number).order_by(_ROWS.id.desc()).limit(1)
            last = connection.execute(query).mappings().first()
            joined = timedelta(seconds=joined_seconds)
            if (
                last is not None
                and (last["observed"], last["reason"]) == (observed, reason)
                and last["start"] <= start <= last["end"] + joined
            ):
                if end > last["end"]:
                    connection.execute(update(tables.intervals).where(_ROWS.id == last["id"]).values(end=end))
                return
            values = {"start": start, "end": end, "observed": observed, "reason": reason}
            insert(connection, tables.intervals, camera_id=number, **values)

        self._database.write(work, guard=guard)

    def gaps(self, camera: str, since: datetime, until: datetime) -> list[Gap]:
        """When it was not observed, in order, each with its reason. Raises StoreError."""
        query = (
            select(_ROWS.start, _ROWS.end, _ROWS.observed, _ROWS.reason)
            .join_from(tables.intervals, tables.cameras)
            .where(tables.cameras.c.name == camera, _ROWS.end > since, _ROWS.start < until)
        )
        rows = self._database.read(lambda connection: [tuple(row) for row in connection.execute(query)])
        seen = [(start, end) for start, end, observed, _ in rows if observed]
        told = sorted((start, end, reason) for start, end, observed, reason in rows if not observed)
        return [gap for hole in _holes(seen, since, until) for gap in _explained(hole, told)]

    def last(self, camera: str) -> datetime | None:
        """Until when it was observed, as far as is known. Raises StoreError."""
        query = (
            select(func.max(_ROWS.end))
            .join_from(tables.intervals, tables.cameras)
            .where(tables.cameras.c.name == camera, _ROWS.observed)
        )
        return self._database.read(lambda connection: connection.execute(query).scalar())


def _holes(
    seen: Sequence[tuple[datetime, datetime]], since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    reached = since
    for start, end in sorted(seen):
        if start > reached:
            yield reached, min(start, until)
        reached = max(reached, end)
    if reached < until:
        yield reached, until


def _explained(hole: tuple[datetime, datetime], told: Sequence[tuple[datetime, datetime, str]]) -> Iterator[Gap]:
    """The parts of a hole with the reason that was told for each; nobody's are `NOT_WATCHED`."""
    reached, until = hole
    for start, end, reason in told:
        start, end = max(start, reached), min(end, until)
        if start >= end:
            continue
        if start > reached:
            yield Gap(reached, start, NOT_WATCHED)
        yield Gap(start, end, reason)
        reached = end
    if reached < until:
        yield Gap(reached, until, NOT_WATCHED)
