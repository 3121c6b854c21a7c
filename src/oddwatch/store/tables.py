"""The tables, as SQLAlchemy knows them. `versions/` makes them; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from oddwatch.errors import MissingExtraError

try:
    from sqlalchemy import (
        JSON,
        BigInteger,
        Boolean,
        Column,
        DateTime,
        Dialect,
        Float,
        ForeignKey,
        Index,
        Integer,
        MetaData,
        String,
        Table,
        Text,
        TypeDecorator,
        UniqueConstraint,
    )
except ImportError as error:
    raise MissingExtraError("a store of events", "sqlalchemy", "watch") from error


class UtcTime(TypeDecorator[datetime]):
    """Aware in, aware in UTC out; SQLite keeps it without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database. Raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"times of the store are aware, got {value}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, *columns: Any) -> Table:
    return Table(name, metadata, Column("id", Integer, primary_key=True), *columns)


def _camera() -> Column[Any]:
    return Column("camera_id", ForeignKey("cameras.id"), nullable=False)


cameras = _table("cameras", Column("name", String(63), nullable=False, unique=True))
locks = Table(
    "locks",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("holder", String(200), nullable=False),
    Column("since", UtcTime, nullable=False),
)
detectors = _table(
    "detectors",
    _camera(),
    Column("version", String(80), nullable=False),
    Column("folder", Text, nullable=False),
    Column("learned_at", UtcTime, nullable=False),
    Column("hours", Float, nullable=False),
    Column("info", JSON, nullable=False),
    UniqueConstraint("camera_id", "version"),
)
events = _table(
    "events",
    Column("uid", String(32), nullable=False, unique=True),
    _camera(),
    Column("start", UtcTime, nullable=False),
    Column("end", UtcTime, nullable=False),
    Column("peak", UtcTime, nullable=False),
    Column("score", Float, nullable=False),
    Column("p_value", Float),
    Column("box", JSON(none_as_null=True)),
    Column("place", String(80), nullable=False),
    Column("why", JSON, nullable=False),
    Column("detector", String(80)),
    Column("state", String(16), nullable=False),
    Column("label", String(16)),
    Column("note", Text, nullable=False),
    Column("labelled_at", UtcTime),
    Column("similar", JSON(none_as_null=True)),
    Index(None, "camera_id", "start"),
    Index(None, "start"),
)
evidence = _table(
    "evidence",
    Column("event_id", ForeignKey("events.id"), nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("path", String(400), nullable=False, unique=True),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("added_at", UtcTime, nullable=False),
    Column("removed_at", UtcTime),
    Column("removed_because", String(80)),
)
findings = _table(
    "findings",
    Column("uid", String(32), nullable=False, unique=True),
    _camera(),
    Column("kind", String(32), nullable=False),
    Column("start", UtcTime, nullable=False),
    Column("end", UtcTime),
    Column("detail", JSON, nullable=False),
    Index(None, "camera_id", "start"),
)
alerts = _table(
    "alerts",
    Column("key", String(120), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("sink", String(63), nullable=False),
    Column("event_id", ForeignKey("events.id"), index=True),
    Column("finding_id", ForeignKey("findings.id"), index=True),
    Column("digest_id", ForeignKey("alerts.id"), index=True),
    Column("state", String(16), nullable=False),
    Column("held", String(40), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("next_try_at", UtcTime),
    Column("sent_at", UtcTime),
    Column("last_error", Text, nullable=False),
    Index(None, "sink", "state"),
)
intervals = _table(
    "intervals",
    _camera(),
    Column("start", UtcTime, nullable=False),
    Column("end", UtcTime, nullable=False),
    Column("observed", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Index(None, "camera_id", "start"),
)
