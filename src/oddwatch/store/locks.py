"""Only one process writes for a camera, and only one delivers alerts.

Who is first holds something that the system takes back when the process ends, however it ends: with SQLite the lock of
a file (flock), with PostgreSQL an advisory lock of a connection of its own. Nothing is left that a hand would have to
clear. Because a connection can break while both processes live, each holder also gets a number, one more than the last
holder's, and every transaction that writes checks under a shared lock of its row that the number is still its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from oddwatch.errors import LockedError, LockLostError, StoreError
from oddwatch.store import tables
from oddwatch.store.database import Database, Guard, require_name

_TAKE_OVER_SECONDS = 5.0
_END_HOLDER = text(
    """
    SELECT pg_terminate_backend(other.pid) FROM pg_locks
    JOIN pg_stat_activity AS holder ON holder.pid = pg_locks.pid
    JOIN pg_stat_activity AS other USING (datid, usesysid, application_name)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND holder.datname = current_database()
    AND (classid::bigint << 32 | objid::bigint) = :key AND other.client_addr IS NOT DISTINCT FROM holder.client_addr
    AND application_name <> current_setting('application_name')
    """
)
"""Connections of one process have one `application_name`; those of this process are spared."""


class Lock(Guard):
    """Held until `release`, or until the process ends."""

    def __init__(self, database: Database, folder: Path, name: str, *, successor: bool = False) -> None:
        self.name = name
        self.epoch = 0
        self._database = database
        self._hold: _FileHold | _AdvisoryHold
        if database.postgres:
            self._hold = _AdvisoryHold(database, name, successor=successor)
        else:
            self._hold = _FileHold(folder / "locks" / f"{name.replace(':', '.')}.lock", name)

    def check(self, connection: Connection) -> None:
        row = select(tables.locks.c.epoch).where(tables.locks.c.name == self.name).with_for_update(read=True)
        found = connection.execute(row).scalar()
        if found != self.epoch:
            raise LockLostError(f"{self.name}: another process has taken over: this one writes no more")

    def renew(self) -> None:
        self._hold.renew()

    def release(self) -> None:
        """Let others have it. May be called twice."""
        self._hold.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def take_lock(database: Database, folder: Path, name: str, at: datetime, *, successor: bool = False) -> Lock:
    """See `Store.lock`."""
    kind, _, rest = name.partition(":")
    if kind == "camera":
        require_name(rest)
    elif name != "outbox":
        raise StoreError(f"a lock is camera:NAME or outbox, got {name!r}")
    try:
        lock = Lock(database, folder, name, successor=successor)
    except LockedError:
        what = "alerts of this store are delivered" if name == "outbox" else f"{name} is written"
        query = select(tables.locks.c.holder).where(tables.locks.c.name == name)
        holder = database.read(lambda connection: connection.execute(query).scalar()) or "another process"
        raise LockedError(f"{what} by {holder} already: stop it, or give this one another store") from None
    holder = f"{socket.gethostname()}, process {os.getpid()}"

    def begin(connection: Connection) -> int:
        rows = tables.locks.c.name == name
        last = connection.execute(select(tables.locks.c.epoch).where(rows).with_for_update()).scalar()
        epoch = (last or 0) + 1
        values = {"epoch": epoch, "holder": holder, "since": at}
        if last is None:
            connection.execute(tables.locks.insert().values(name=name, **values))
        else:
            connection.execute(update(tables.locks).where(rows).values(values))
        return epoch

    try:
        lock.epoch = database.write(begin)
    except BaseException:
        lock.release()
        raise
    return lock


class _FileHold:
    def __init__(self, path: Path, name: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            number = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
        self._file: int | None = number
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise LockedError(f"{name} is locked") from None

    def renew(self) -> None:
        """It cannot be lost."""

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _AdvisoryHold:
    """May be renewed by several threads."""

    def __init__(self, database: Database, name: str, *, successor: bool) -> None:
        self._database, self._name = database, name
        self._key = int.from_bytes(hashlib.sha256(f"oddwatch:{name}".encode()).digest()[:8], "big", signed=True)
        self._connection: Connection | None = None
        self._released = False
        self._one_at_a_time = threading.Lock()
        try:
            try:
                self._take()
            except LockedError:
                if not successor:
                    raise
                self._take_over()
        except SQLAlchemyError as error:
            raise database.failure(error) from error

    def _take_over(self) -> None:
        """End all connections of who holds it, transactions too: a process that hangs would else keep it for ever."""
        until = time.monotonic() + _TAKE_OVER_SECONDS
        while True:
            with self._database.holding_engine.connect() as connection:
                connection.execute(_END_HOLDER, {"key": self._key})
            try:
                return self._take()
            except LockedError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.05)

    def _take(self) -> None:
        connection = self._database.holding_engine.connect()
        try:
            if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._key}).scalar():
                raise LockedError(f"{self._name} is locked")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def renew(self) -> None:
        """Raises LockLostError when another has it. Nothing happens while the server is not there."""
        with self._one_at_a_time:
            if self._released:
                raise LockLostError(f"{self._name} was released: nothing is written under it any more")
            try:
                if self._connection is not None:
                    self._connection.execute(text("SELECT 1"))
                    return
            except SQLAlchemyError:
                self._drop()
            try:
                self._take()
            except LockedError:
                raise LockLostError(f"{self._name}: another process has taken over: this one writes no more") from None
            except SQLAlchemyError:
                pass  # the write itself will say so

    def release(self) -> None:
        with self._one_at_a_time:
            self._released = True
            with suppress(SQLAlchemyError):  # then it goes with the connection, a moment later
                if self._connection is not None:
                    self._connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
