"""Python processes that belong to this one: begun with descriptors, not with what multiprocessing would import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress


def start_python(code: str, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """A fresh interpreter that runs `code` with these descriptors, which it inherits, as its arguments. A signal of the
    terminal does not reach it: what began it says when it ends.
    """
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        pass_fds=tuple(descriptors),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        process_group=0,
    )


def ended_how(code: int) -> str:
    """In words, how a process ended.

    >>> ended_how(3), ended_how(-11)
    ('exit code 3', 'signal SIGSEGV')
    """
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
