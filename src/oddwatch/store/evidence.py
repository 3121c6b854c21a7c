"""The files that show events: written whole or not at all, never outside of the store's folder. Knows no database."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from oddwatch.errors import OddwatchError, StoreError
from oddwatch.files import sha256_of, sync_folder, write_bytes
from oddwatch.store.database import require_name
from oddwatch.store.records import Evidence

_HOME = "evidence"
_KIND = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_UID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(rf"{_HOME}/[^/]+/({_UID.pattern})/({_KIND.pattern}){_SUFFIX.pattern}")


class EvidenceFiles:
    """evidence/CAMERA/UID/KIND.SUFFIX below the store's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, camera: str, uid: str, kind: str, suffix: str) -> Path:
        """Where to write a file of an event, for what writes it itself, whole or not at all; `describe` then has it on
        the disk. Its folder is made. Raises StoreError.
        """
        require_name(camera)
        for pattern, part in ((_UID, uid), (_KIND, kind), (_SUFFIX, suffix)):
            if not pattern.fullmatch(part):
                raise StoreError(f"{part[:80]!r} cannot be part of the name of an evidence file")
        path = self.path(f"{_HOME}/{camera}/{uid}/{kind}{suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made: {_trouble(error)}") from error
        return path

    def write(self, camera: str, uid: str, kind: str, suffix: str, data: bytes) -> Evidence:
        """Keep a file of an event, on the disk when this returns. Raises StoreError: the disk is full, read-only...;
        nothing stays behind.
        """
        path = self.place(camera, uid, kind, suffix)
        try:
            write_bytes(path, data)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {_trouble(error)}") from error
        return self.describe(path)

    def describe(self, file: Path | str) -> Evidence:
        """A file that lies in its place, as its row is to be; it is on the disk when this returns. file: a path, or
        what a row would call it. Raises StoreError.
        """
        path = self.path(file) if isinstance(file, str) else file
        try:
            relative = path.relative_to(self.folder).as_posix()
            self.path(relative)
        except ValueError:
            raise StoreError(f"{path} is no evidence file: it is not in {self.folder}") from None
        parsed = self.parse(relative)
        if parsed is None:
            raise StoreError(f"{relative} has no name of an evidence file")
        try:
            with path.open("rb") as data:
                os.fsync(data.fileno())
                digest, size = hashlib.file_digest(data, "sha256").hexdigest(), data.tell()
            for folder in path.parents[:2]:
                sync_folder(folder)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        return Evidence(parsed[1], relative, size, digest)

    def path(self, relative: str) -> Path:
        """The file of a row. Raises StoreError when it would lie outside of the store's folder, whatever the row says
        and wherever links lead.
        """
        parts = PurePosixPath(relative).parts
        home = Path(os.path.realpath(self.folder / _HOME))
        path = self.folder / relative
        if parts[:1] != (_HOME,) or "\0" in relative or not Path(os.path.realpath(path)).is_relative_to(home):
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
        found = _NAME.fullmatch(relative)
        return (found[1], found[2]) if found else None


def _trouble(error: OSError) -> str:
    """What is wrong, and the remedy."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"{error.strerror} ({'free some space' if full else 'check the disk and who may write there'})"
