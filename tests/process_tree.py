"""What a process and all that it started take. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def processes(root: int, *, without: int = 0) -> list[int]:
    """A process and all that it started, but for one of them and all that that one started."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with _ended():
                found += [child for child in map(int, task.read_text().split()) if child != without]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Of all of them so far."""
    total = 0
    for pid in pids:
        with _ended():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_mib(pids: list[int]) -> float:
    """Proportional set size: what they share counts once."""
    total = 0
    for pid in pids:
        with _ended():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def entries(pids: list[int], kind: str) -> int:
    """How many there are of all of them. kind: `fd` for open files, `task` for threads."""
    total = 0
    for pid in pids:
        with _ended():
            total += len(os.listdir(f"/proc/{pid}/{kind}"))
    return total


@contextmanager
def _ended() -> Iterator[None]:
    """One that has ended meanwhile takes nothing."""
    with suppress(FileNotFoundError, ProcessLookupError):
        yield
