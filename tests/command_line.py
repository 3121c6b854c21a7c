"""Runs the command `oddwatch`: in this process, where the noise of decoders is caught too, or as a real process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from oddwatch.cli import app

SOURCE = Path(__file__).resolve().parent.parent / "src"


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def parse(arguments: Sequence[str]) -> None:
    """Parse a command line as `oddwatch` does, without doing what it asks. Raises what the parser raises."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for command in group.commands.values():
        command.callback = None
    group.main(list(arguments), standalone_mode=False)


class Runner:
    """`oddwatch(*arguments)` runs a command in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: object) -> Ran:
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments], prog_name="oddwatch")
        out, err = self._capture.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Ran(code or 0, out, err)


def start(
    *arguments: object,
    cwd: Path | None = None,
    temporary: Path | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start `python -m oddwatch` as a process of its own. temporary: where its temporary files
    go. environment: more variables. What is in the folder of the tests can be imported.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a test run in the background: children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    variables = {**os.environ, **(environment or {})}
    variables["PYTHONPATH"] = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
    if temporary is not None:
        variables["TMPDIR"] = str(temporary)
    command = [sys.executable, "-m", "oddwatch", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=variables, stdout=stdout, stderr=stderr, text=True, errors="surrogateescape"
    )


def finish(process: subprocess.Popen[str], *, limit_seconds: float = 60) -> Ran:
    """Wait for a process that `start` started."""
    out, err = process.communicate(timeout=limit_seconds)
    return Ran(process.returncode, out or "", err)


def assert_one_line(ran: Ran, pattern: str, *, code: int = 1) -> None:
    """It ended with `code` and said one line, which matches as a whole, and nothing else anywhere."""
    assert ran.code == code, ran
    assert re.fullmatch(f"(?:oddwatch|skipped): {pattern}\n", ran.err), ran.err
    assert ran.out == ""
