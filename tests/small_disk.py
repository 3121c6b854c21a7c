"""A disk that is full after some bytes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_file_above(most_bytes: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow further: real failed writes, as on a full disk.

    Not a fixture: pytest's own output may be a longer file, and it is written to before fixtures end.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
