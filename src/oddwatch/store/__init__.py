"""What happened and what is kept of it: events with their alerts, evidence files, coverage, findings about cameras.

A database (SQLite, or PostgreSQL by address) and a folder of files. It has no clock: every time comes from the caller,
aware, and is kept in UTC. It knows nothing of video, of sinks but their names, and sends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from oddwatch.store.alerts import Alerts
from oddwatch.store.coverage import Coverage
from oddwatch.store.database import Database
from oddwatch.store.events import Events
from oddwatch.store.evidence import EvidenceFiles
from oddwatch.store.locks import Lock, take_lock
from oddwatch.store.records import Recovered
from oddwatch.store.upkeep import Upkeep

__all__ = ["Store"]


class Store:
    """One site's memory. Its parts: `events`, `alerts`, `coverage`, `evidence` (files), `upkeep` (check, retention).

    folder: of the evidence, and of the SQLite file without `database`, an address of SQLAlchemy. create: False refuses
    to begin a new one. patience_seconds: for how long a write is tried again while the database cannot be reached or is
    locked; pause: what waits between the tries. Raises StoreError, MissingExtraError.

    May be used by several threads; a process that is forked opens its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: str | None = None,
        create: bool = True,
        patience_seconds: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self._database = Database(
            folder, address=database, create=create, patience_seconds=patience_seconds, pause=pause
        )
        self.evidence = EvidenceFiles(folder)
        self.events = Events(self._database, self.evidence)
        self.alerts = Alerts(self._database)
        self.coverage = Coverage(self._database)
        self.upkeep = Upkeep(self._database, self.evidence)

    @property
    def shown(self) -> str:
        """Which database it is, without what is secret."""
        return self._database.shown

    def lock(self, name: str, *, at: datetime, successor: bool = False) -> Lock:
        """Become the only one that writes for a camera (`camera:NAME`) or delivers alerts (`outbox`). Raises
        LockedError at once when another process is. successor: with PostgreSQL, take it from that process, which is
        known to be lost but may only hang: it writes no more.
        """
        return take_lock(self._database, self.folder, name, at, successor=successor)

    def lock_camera(self, camera: str, *, at: datetime, successor: bool = False) -> tuple[Lock, Recovered]:
        """The lock of a camera, and what was mended of what a process before may have left unfinished."""
        lock = self.lock(f"camera:{camera}", at=at, successor=successor)
        try:
            return lock, self.upkeep.recover(camera, lock, at=at)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Give the connections back. Locks are released by themselves."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
