"""When a camera was observed and when it was not, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, select, update

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
        """When it was not observed, in order, each with its reason. What was told to be a gap is one, also inside of a
        stretch that was told to be observed. Raises StoreError.
        """
        query = (
            select(_ROWS.start, _ROWS.end, _ROWS.observed, _ROWS.reason)
            .join_from(tables.intervals, tables.cameras)
            .where(tables.cameras.c.name == camera, _ROWS.end > since, _ROWS.start < until)
        )
        rows = self._database.read(lambda connection: [tuple(row) for row in connection.execute(query)])
        told = sorted((start, end, reason) for start, end, observed, reason in rows if not observed)
        known = [(start, end) for start, end, _, _ in rows]
        untold = [(start, end, NOT_WATCHED) for start, end in _holes(known, since, until)]
        return _in_order(sorted([*told, *untold]), since, until)

    def last(self, camera: str) -> datetime | None:
        """Until when it was observed, as far as is known. Raises StoreError."""
        return self._latest(camera, _ROWS.observed)

    def known(self, camera: str) -> datetime | None:
        """Until when it is known whether it was observed. Raises StoreError."""
        return self._latest(camera)

    def _latest(self, camera: str, *which: ColumnElement[bool]) -> datetime | None:
        query = (
            select(func.max(_ROWS.end))
            .join_from(tables.intervals, tables.cameras)
            .where(tables.cameras.c.name == camera, *which)
        )
        return self._database.read(lambda connection: connection.execute(query).scalar())


def _holes(
    known: Sequence[tuple[datetime, datetime]], since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """What no stretch covers."""
    reached = since
    for start, end in sorted(known):
        if start > reached:
            yield reached, min(start, until)
        reached = max(reached, end)
    if reached < until:
        yield reached, until


def _in_order(gaps: Sequence[tuple[datetime, datetime, str]], since: datetime, until: datetime) -> list[Gap]:
    """Without overlaps: what was told first counts. What goes on for the same reason is one."""
    found: list[Gap] = []
    reached = since
    for start, end, reason in gaps:
        start, end = max(start, reached), min(end, until)
        if start >= end:
            continue
        if found and found[-1].end == start and found[-1].reason == reason:
            start = found.pop().start
        found.append(Gap(start, end, reason))
        reached = end
    return found
