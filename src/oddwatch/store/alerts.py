"""The outbox: alerts that wait, were sent, are dead or went into a digest."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, update

from oddwatch.store import tables
from oddwatch.store.database import Database
from oddwatch.store.events import add_alert
from oddwatch.store.records import Alert, new_uid

_ROWS = tables.alerts.c
_NAMES = tuple(name for name in Alert.__dataclass_fields__)

_MOST = 1000


class Alerts:
    """The alerts of a store. Everything here may be done twice."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, sink: str) -> list[Alert]:
        """What is to be sent, the least tried first, then the oldest; a thousand at most. Raises StoreError."""
        query = (
            select(tables.alerts)
            .where(_ROWS.sink == sink, _ROWS.state == "waiting")
            .order_by(_ROWS.attempts, _ROWS.id)
            .limit(_MOST)
        )
        return self._found(query)

    def find(
        self,
        *,
        states: Collection[str] = (),
        sink: str | None = None,
        most: int | None = None,
        digest: int | None = None,
    ) -> list[Alert]:
        """Alerts, the newest first. digest: those that went into it. Raises StoreError."""
        query = select(tables.alerts).order_by(_ROWS.id.desc())
        if states:
            query = query.where(_ROWS.state.in_(states))
        if sink is not None:
            query = query.where(_ROWS.sink == sink)
        if digest is not None:
            query = query.where(_ROWS.digest_id == digest)
        return self._found(query if most is None else query.limit(most))

    def _found(self, query: Any) -> list[Alert]:
        return self._database.read(
            lambda connection: [
                Alert(**{name: row[name] for name in _NAMES}) for row in connection.execute(query).mappings()
            ]
        )

    def sent(self, alert: int, *, at: datetime) -> None:
        """It has arrived. Raises StoreError."""
        values = {"state": "sent", "sent_at": at, "next_try_at": None, "held": "", "last_error": ""}
        self._change(alert, {**values, "attempts": _ROWS.attempts + 1}, "waiting")

    def failed(self, alert: int, *, next_try_at: datetime, error: str) -> None:
        """It has not arrived and is tried again. error: without secrets. Raises StoreError."""
        values = {"next_try_at": next_try_at, "last_error": error, "attempts": _ROWS.attempts + 1}
        self._change(alert, values, "waiting")

    def died(self, alert: int, *, error: str) -> None:
        """It will not arrive: only a person has it tried again. Raises StoreError."""
        values = {"state": "dead", "next_try_at": None, "last_error": error, "attempts": _ROWS.attempts + 1}
        self._change(alert, values, "waiting")

    def _change(self, alert: int, values: dict[str, Any], state: str) -> None:
        statement = update(tables.alerts).where(_ROWS.id == alert, _ROWS.state == state).values(values)
        self._database.write(lambda connection: connection.execute(statement))

    def hold(self, alerts: Sequence[int], *, reason: str) -> None:
        """They wait for a digest. Raises StoreError."""
        statement = update(tables.alerts).where(_ROWS.id.in_(alerts), _ROWS.state == "waiting").values(held=reason)
        self._database.write(lambda connection: connection.execute(statement))

    def digest(self, sink: str, alerts: Sequence[int], *, at: datetime) -> int:
        """One alert in the place of several that wait, in one transaction: its id. Raises StoreError."""
        key = f"{new_uid()}.{sink}"

        def work(connection: Connection) -> int:
            known = connection.execute(select(_ROWS.id).where(_ROWS.key == key)).scalar()
            if known is not None:
                return int(known)
            made = add_alert(connection, sink, kind="digest", key=key, at=at)
            members = (_ROWS.id.in_(alerts), _ROWS.state == "waiting", _ROWS.sink == sink)
            values = {"state": "digested", "digest_id": made, "held": "", "next_try_at": None}
            connection.execute(update(tables.alerts).where(*members).values(values))
            return made

        return self._database.write(work)

    def retry(self, alerts: Collection[int] | None = None, *, at: datetime) -> int:
        """Have dead alerts tried again, all of them without `alerts`: how many. Their age counts anew. Raises
        StoreError.
        """
        statement = update(tables.alerts).where(_ROWS.state == "dead")
        if alerts is not None:
            statement = statement.where(_ROWS.id.in_(alerts))
        statement = statement.values(state="waiting", made_at=at, attempts=0, next_try_at=None)
        return self._database.write(lambda connection: connection.execute(statement).rowcount)

    def counts(self) -> dict[str, dict[str, int]]:
        """sink -> state -> how many. Raises StoreError."""
        query = select(_ROWS.sink, _ROWS.state, func.count()).group_by(_ROWS.sink, _ROWS.state)

        def work(connection: Connection) -> dict[str, dict[str, int]]:
            found: dict[str, dict[str, int]] = {}
            for sink, state, count in connection.execute(query):
                found.setdefault(sink, {})[state] = int(count)
            return found

        return self._database.read(work)

    def sent_since(self, sink: str, since: datetime) -> list[datetime]:
        """When a sink was sent something, in order. Raises StoreError."""
        query = select(_ROWS.sent_at).where(_ROWS.sink == sink, _ROWS.sent_at >= since).order_by(_ROWS.sent_at)
        return self._database.read(lambda connection: list(connection.execute(query).scalars()))
