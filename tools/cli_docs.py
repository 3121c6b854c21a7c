"""Write docs/cli.md from the help of the commands themselves. `make docs` runs this; a test tells when it is due."""

from __future__ import annotations

from pathlib import Path

import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from oddwatch.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """\
<!-- Made by `make docs` from the help of the commands: change the help, not this page. -->

# The command `oddwatch`

Exit codes: 0 fine; 1 some input could not be used (it is named; the rest is done and saved); 2 wrong usage; 130
interrupted.
"""
WIDTH = 100


def render() -> str:
    """The page: what `oddwatch --help` and each `oddwatch COMMAND --help` print."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    parts = [HEAD, _help()]
    for name, command in group.commands.items():
        parts += [f"## `oddwatch {name}`\n", _help(name)]
        for inner in command.commands if isinstance(command, TyperGroup) else ():
            parts += [f"### `oddwatch {name} {inner}`\n", _help(name, inner)]
    return "\n".join(parts)


def _help(*command: str) -> str:
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="oddwatch", terminal_width=WIDTH)
    return f"```text\n{shown.stdout.strip()}\n```\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
    print(f"{PAGE} written")
