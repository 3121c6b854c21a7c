"""The files that show events: written whole or not at all, never outside of the store's folder. Knows no database."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from oddwatch.errors import OddwatchError, StoreError
from oddwatch.files import sha256_of, sync_folder, write_bytes
from oddwatch.store.database import require_name
from oddwatch.store.records import Evidence

_HOME = "evidence"
_KIND = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_UID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(rf"({_UID.pattern})-({_KIND.pattern}){_SUFFIX.pattern}")
_INCOMING = ".incoming-"


class EvidenceFiles:
    """evidence/CAMERA/YEAR-MONTH-DAY/UID-KIND.SUFFIX below the store's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, camera: str, uid: str, kind: str, suffix: str, data: bytes | Path, *, at: datetime) -> Evidence:
        """Keep a file of an event, on the disk when this returns. data: its bytes, or a file made at `incoming`, which
        is moved. at: when the event started. Raises StoreError: the disk is full, read-only...; nothing stays behind.
        """
        relative = self._relative(camera, uid, kind, suffix, at)
        path = self.path(relative)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, Path):
                with data.open("rb+") as file:
                    os.fsync(file.fileno())
                    digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
                os.replace(data, path)
            else:
                write_bytes(path, data)
                digest, size = hashlib.sha256(data).hexdigest(), len(data)
            sync_folder(path.parent)
        except OSError as error:
            if isinstance(data, Path):
                data.unlink(missing_ok=True)
            raise StoreError(f"{path} cannot be written: {error.strerror} (free some space)") from error
        return Evidence(kind, relative, size, digest)

    def incoming(self, camera: str, uid: str, kind: str, suffix: str, *, at: datetime) -> Path:
        """Where to make a file that is then given to `write`: beside its place. Raises StoreError."""
        path = self.path(self._relative(camera, uid, kind, suffix, at))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made: {error.strerror} (free some space)") from error
        return path.with_name(f"{_INCOMING}{path.name}")

    def _relative(self, camera: str, uid: str, kind: str, suffix: str, at: datetime) -> str:
        require_name(camera)
        for pattern, part in ((_UID, uid), (_KIND, kind), (_SUFFIX, suffix)):
            if not pattern.fullmatch(part):
                raise StoreError(f"{part[:80]!r} cannot be part of the name of an evidence file")
        return f"{_HOME}/{camera}/{at.astimezone(UTC):%Y-%m-%d}/{uid}-{kind}{suffix}"

    def path(self, relative: str) -> Path:
        """The file of a row. Raises StoreError when it would lie outside of the store's folder, whatever the row says
        and wherever links lead.
        """
        parts = PurePosixPath(relative).parts
        home = Path(os.path.realpath(self.folder / _HOME))
        path = self.folder / relative
        if (
            ".." in parts
            or parts[:1] != (_HOME,)
            or "\0" in relative
            or not Path(os.path.realpath(path)).is_relative_to(home)
        ):
            raise StoreError(f"{relative[:200]!r} is no evidence file: it leaves the folder of the store")
        return path

    def read(self, evidence: Evidence) -> bytes:
        """Its bytes. Raises StoreError."""
        path = self.path(evidence.path)
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror} (oddwatch store check)") from error

    def is_damaged(self, evidence: Evidence, *, whole: bool) -> bool:
        """Whether a file is not what was written, by its size or, `whole`, by its content. Raises FileNotFoundError."""
        path = self.path(evidence.path)
        if path.stat().st_size != evidence.bytes:
            return True
        return whole and sha256_of(path) != evidence.sha256

    def remove(self, relative: str) -> None:
        """Delete one, if it is there, and its folder with the last one. Raises StoreError."""
        path = self.path(relative)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{path} cannot be removed: {error.strerror}") from error
        with suppress(OSError):  # others are still there
            path.parent.rmdir()

    def of(self, camera: str) -> Iterator[str]:
        """Every file there is of a camera, as its row would name it; what was left half written too."""
        require_name(camera)
        home = self.folder / _HOME / camera
        for path in sorted(home.rglob("*")):
            if path.is_symlink() or path.is_file():
                yield path.relative_to(self.folder).as_posix()

    def cameras(self) -> list[str]:
        """Those that have a folder."""
        found = []
        for path in sorted((self.folder / _HOME).glob("*")):
            try:
                require_name(path.name)
            except OddwatchError:
                continue
            if path.is_dir() and not path.is_symlink():
                found.append(path.name)
        return found

    def parse(self, relative: str) -> tuple[str, str] | None:
        """(uid, kind) that a file's name says; None for a name that no evidence has."""
        found = _NAME.fullmatch(PurePosixPath(relative).name)
        return (found[1], found[2]) if found else None

    def describe(self, relative: str) -> Evidence:
        """A file without a row, as its row would be. Raises StoreError."""
        path = self.path(relative)
        parsed = self.parse(relative)
        if parsed is None:
            raise StoreError(f"{relative} has no name of an evidence file")
        try:
            return Evidence(parsed[1], relative, path.stat().st_size, sha256_of(path))
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
