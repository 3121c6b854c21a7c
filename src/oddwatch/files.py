"""Writing files so that a crash leaves the old file or the new one; what tells one file from another.

A path may be an address that fsspec knows, such as `s3://bucket/run`: see `place`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from oddwatch.errors import MissingExtraError, OddwatchError, UsageError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_FLATTENED = re.compile(r"(s3a?|gs|gcs|az|abfs|memory|sftp|ftp|https?):/", re.IGNORECASE)
"""What a Path makes of an address."""
_EXTRAS = {"s3fs": "s3"}


def place(name: str | os.PathLike[str]) -> Path:
    """A path, or of an address such as `s3://bucket/run` what is used like one (a UPath, of universal-pathlib).

    Nothing is looked up. Raises UsageError for an address with a user name or password, which would get into logs, and
    for one of a kind that fsspec does not know; MissingExtraError.
    """
    if not isinstance(name, str | Path):
        return cast(Path, name)  # it is one already
    if isinstance(name, Path) and _FLATTENED.match(str(name)):
        address = str(name).replace(":/", "://", 1)
        raise UsageError(f"{address}: only a folder of this machine can be read here: copy it first")
    if isinstance(name, Path) or not _ADDRESS.match(name):
        return Path(name)
    kind = name.partition("://")[0].lower()
    if kind in ("file", "local"):
        return Path(name.partition("://")[2])
    if holds_password(name):
        raise UsageError(
            f"{kind}://: leave user name and password out of the address: they belong in the environment (for s3 "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) or in fsspec's configuration"
        )
    try:
        from upath import UPath
    except ImportError as error:
        raise MissingExtraError(f"{kind}://", "universal-pathlib", "s3") from error
    try:
        # Others write there too: a listing that was kept would not show it.
        found = UPath(name, use_listings_cache=False)
        found.fs  # noqa: B018 - what it needs is imported here
    except ImportError as error:
        package = "s3fs" if kind in ("s3", "s3a") else f"a package for it ({error})"
        if package in _EXTRAS:
            raise MissingExtraError(f"{kind}://", package, _EXTRAS[package]) from error
        raise UsageError(f"{kind}:// needs {package}") from error
    except ValueError as error:
        raise UsageError(f"{kind}:// is no kind of address that fsspec knows: give a folder or s3://") from error
    return cast(Path, found)


def holds_password(address: str) -> bool:
    """Whether something stands before the host of an address.

    >>> holds_password("http://me:secret@host:80/x"), holds_password("http://me:se/cret@host"), holds_password("s3://b")
    (True, True, False)
    """
    try:
        parts = urlsplit(address)
        return "@" in parts.netloc or parts.port == -1
    except ValueError:  # what follows the colon is no port
        return True


def is_remote(path: Path) -> bool:
    """Whether `place` took it for an address."""
    return not isinstance(path, Path)


@contextmanager
def os_errors() -> Iterator[None]:
    """Stores raise errors of many libraries, such as botocore's for missing credentials: here OSError, as for files."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """The file itself, or one with the same bytes as long as the block lasts. Raises OSError."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with os_errors():
            copy.write_bytes(path.read_bytes())
        yield copy


def write_bytes(path: Path, data: bytes) -> None:
    """Write to a temporary file beside `path`, flush it to disk and rename it. Raises OSError; nothing stays behind.

    A link is followed. A pipe or a device (`/dev/stdout`) cannot be replaced, so it is written to. On an object store
    (s3, gs, az) the object is put as a whole, which replaces it at once there; what else fsspec knows (ftp, sftp) may
    be left half written by a crash.
    """
    if is_remote(path):
        found: Any = path
        with os_errors():
            found.fs.pipe_file(found.path, data)
        return
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as device:
            device.write(data)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def link(source: Path, path: Path) -> bool:
    """Whether `path` now is a second name of what `write_bytes` wrote, in place of what it was. Not every disk can."""
    if is_remote(path) or is_remote(source) or path.is_symlink():
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        os.link(os.path.realpath(source), temporary)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        return False
    temporary.unlink(missing_ok=True)  # two names of the same are not replaced
    return True


def write_text(path: Path, text: str) -> None:
    """The same for text in UTF-8. Raises OddwatchError that names the file."""
    try:
        write_bytes(path, text.encode(errors="surrogateescape"))  # as names of files may need
    except OSError as error:
        remedy = "free some space or choose another"
        if is_remote(path):
            remedy = "check the address and that you may write there"
        raise OddwatchError(f"{path} cannot be written: {error.strerror or error} ({remedy})") from error


def sync_folder(folder: Path) -> None:
    """Have the names of what is in a folder on the disk, too, so that a renamed file outlasts a loss of power. Raises
    OSError.
    """
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file; read once as long as its size and time do not change. Raises OSError."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
