"""Writing files so that a crash leaves the old file or the new one; what tells one file from another."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from oddwatch.errors import OddwatchError


def write_bytes(path: Path, data: bytes) -> None:
    """Write to a temporary file beside `path`, flush it to disk and rename it. Raises OSError; nothing stays behind.

    A link is followed. A pipe or a device (`/dev/stdout`) cannot be replaced, so it is written to.
    """
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


def write_text(path: Path, text: str) -> None:
    """The same for text in UTF-8. Raises OddwatchError that names the file."""
    try:
        write_bytes(path, text.encode(errors="surrogateescape"))  # as names of files may need
    except OSError as error:
        raise OddwatchError(
            f"{path} cannot be written: {error.strerror or error} (free some space or choose another)"
        ) from error


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file; read once as long as its size and time do not change. Raises OSError."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
