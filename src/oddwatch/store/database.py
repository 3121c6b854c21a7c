"""The database of a store: connections, transactions that are tried again, and the version of its tables."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from oddwatch.addresses import Redactor, display_name
from oddwatch.errors import MissingExtraError, StoreError

try:
    from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect, select, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
except ImportError as error:
    raise MissingExtraError("a store of events", "sqlalchemy", "watch") from error

from oddwatch.store import tables

T = TypeVar("T")
_log = logging.getLogger(__name__)
VERSION = "2"
"""The newest of `versions/`."""
_FILE = "oddwatch.sqlite"
_BUSY_SECONDS = 5
_LONGEST_PAUSE_SECONDS = 1.0
_MIGRATION_LOCK = 0x0DD0A7C4
_KEEPALIVES = {"idle": 5, "interval": 2, "count": 3}
_FULL = ("disk is full", "No space left", "could not extend file")


class Database:
    """See `oddwatch.store.Store` for the arguments. Raises StoreError, MissingExtraError."""

    def __init__(
        self,
        folder: Path,
        *,
        address: str | None,
        create: bool,
        patience_seconds: float,
        pause: Callable[[float], None],
    ) -> None:
        self.postgres = address is not None and address.startswith("postgres")
        if self.postgres:
            try:
                import psycopg  # noqa: F401
            except ImportError as error:
                raise MissingExtraError("a PostgreSQL store", "psycopg", "postgres") from error
        if address is None:
            address = f"sqlite:///{folder / _FILE}"
        url = make_url(address)
        self.shown = display_name(address)
        self._clean = Redactor([address])
        self._patience_seconds, self._pause = patience_seconds, pause
        if create:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{folder} cannot be made: {error.strerror} (choose another folder)") from error
        if self.postgres:
            url = url.set(drivername="postgresql+psycopg")
            ways: dict[str, Any] = {
                "hide_parameters": True,
                "connect_args": {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5},
            }
            self.engine = create_engine(url, pool_pre_ping=True, **ways)
            # A connection for each lock, which is not one of those that transactions take turns with.
            self.holding_engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", **ways)
            for engine in (self.engine, self.holding_engine):
                _postgres_ways(engine)
        else:
            self._prepare_sqlite(url.database, create)
            self.engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_SECONDS})
            _sqlite_ways(self.engine)
        try:
            self._upgrade(create)
        except BaseException:
            self.engine.dispose()
            raise

    def _prepare_sqlite(self, name: str | None, create: bool) -> None:
        if name is None or name == ":memory:":
            raise StoreError("a store is a file of SQLite or a database of PostgreSQL: events would not outlast memory")
        path = Path(name)
        if not create and not path.is_file():
            raise StoreError(f"there is no store at {path}: oddwatch watch begins one")

    def _upgrade(self, create: bool) -> None:
        found = self.read(self._version)
        if found == VERSION:
            return
        if found is None and not create:
            raise StoreError(f"{self.shown} has no tables: oddwatch watch begins a store")
        if found is not None and not (found.isdecimal() and int(found) < int(VERSION)):
            raise StoreError(f"{self.shown} was made by a newer oddwatch (tables {found}, here {VERSION}): update it")
        self.write(self._migrate)

    def _version(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()

    def _migrate(self, connection: Connection) -> None:
        if self.postgres:
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATION_LOCK})
        if self._version(connection) != VERSION:  # nobody else was faster
            migrate(connection)

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` reads, tried again as `write` does: it must change nothing. Raises StoreError."""
        return self._tried(work, {}, None)

    def write(self, work: Callable[[Connection], T], *, guard: Guard | None = None) -> T:
        """What `work` does in one transaction. Raises StoreError, and what `work` raises.

        While the database is locked or cannot be reached it is done again, and then a commit may have happened whose
        answer was lost: `work` must be something that may be done twice. guard: the lock under which it is done.
        """
        return self._tried(work, {"write": True}, guard)

    def _tried(self, work: Callable[[Connection], T], options: dict[str, Any], guard: Guard | None) -> T:
        waited = 0.0
        for attempt in itertools.count():
            if guard is not None:
                guard.renew()
            try:
                with self.engine.connect().execution_options(**options) as connection, connection.begin():
                    if guard is not None:
                        guard.check(connection)
                    return work(connection)
            except IntegrityError:
                raise
            except DBAPIError as error:
                if waited >= self._patience_seconds or not self._passes(error):
                    raise self.failure(error) from error
                if not attempt:
                    _log.warning("%s: %s; trying again", self.shown, self._said(error))
                seconds = min(0.05 * 2**attempt, _LONGEST_PAUSE_SECONDS)
                self._pause(seconds)
                waited += seconds
            except SQLAlchemyError as error:
                raise self.failure(error) from error
        raise AssertionError

    def _passes(self, error: DBAPIError) -> bool:
        """Whether it is worth trying again."""
        if self.postgres:
            code = getattr(error.orig, "sqlstate", None) or "08"
            return error.connection_invalidated or code[:2] in ("08", "40", "57")
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

    def _said(self, error: SQLAlchemyError) -> str:
        return self._clean(" ".join(str(getattr(error, "orig", None) or error).split()))

    def failure(self, error: SQLAlchemyError) -> StoreError:
        """What a library's error becomes."""
        said = self._said(error)
        if any(words in said for words in _FULL):
            return StoreError(f"{self.shown} cannot be written: the disk is full ({said}): free some space")
        return StoreError(f"{self.shown} cannot be used: {said}")

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()


class Guard:
    """Says whether one may write. `oddwatch.store.locks` has the one that there is."""

    def check(self, connection: Connection) -> None:
        """In the transaction, before anything is written. Raises LockLostError."""
        raise NotImplementedError

    def renew(self) -> None:
        """Before a transaction: the connection may have been lost since the last one. Raises LockLostError."""
        raise NotImplementedError


def camera_id(connection: Connection, name: str) -> int:
    """The row of a camera, made when there is none. Raises StoreError for a name that could leave the folder."""
    require_name(name)
    found = connection.execute(select(tables.cameras.c.id).where(tables.cameras.c.name == name)).scalar()
    if found is not None:
        return int(found)
    return insert(connection, tables.cameras, name=name)


def insert(connection: Connection, table: Any, **values: Any) -> int:
    """A new row's id."""
    key = connection.execute(table.insert().values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def require_name(name: str) -> None:
    """Raises StoreError unless this can be part of the name of a file everywhere."""
    plain = name.replace("-", "").replace("_", "")
    if not (plain.isascii() and plain.isalnum() and len(name) <= 63 and name == name.lower() and name[0].isalnum()):
        raise StoreError(f"a name has small letters, digits, - and _, 63 at most, got {name[:80]!r}")


def migrate(connection: Connection) -> None:
    """Bring the tables to `VERSION`, in the transaction that is open."""
    try:
        from alembic.config import Config
        from alembic.runtime.environment import EnvironmentContext
        from alembic.script import ScriptDirectory
    except ImportError as error:
        raise MissingExtraError("a store of events", "alembic", "watch") from error

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with EnvironmentContext(config, script, fn=lambda found, _: script._upgrade_revs(VERSION, found)) as environment:
        environment.configure(connection=connection, target_metadata=tables.metadata)
        environment.run_migrations()


def _postgres_ways(engine: Engine) -> None:
    """The server asks after who is silent, and frees its locks when no answer comes: a machine without power, or behind
    a cut line, says no farewell, and the server's own habit is to wait for two hours.
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            for name, value in _KEEPALIVES.items():
                cursor.execute(f"SET tcp_keepalives_{name} = {value}")
            process = f"oddwatch {socket.gethostname()[:40]} {os.getpid()}"
            cursor.execute("SELECT set_config('application_name', %s, false)", [process])
        connection.commit()


def _sqlite_ways(engine: Engine) -> None:
    """A transaction that writes says so at its begin: one that turns from reading to writing can fail without waiting.
    A commit is on the disk when it returns, also in WAL mode.
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
