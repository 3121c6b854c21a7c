"""`oddwatch config`: what is wrong with a site file, and the schema of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.output import counted, print_json, say


def check(
    file: Annotated[Path, typer.Argument(metavar="SITE", help="The YAML file of a site.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Check the file of a site: what is wrong, with line numbers. Connects to nothing."""
    from oddwatch.config.site import check_site

    site, problems = check_site(file)
    cameras, sinks = (0, 0) if site is None else (len(site.cameras), len(site.alerts.sinks))
    if as_json:
        wrong = [{"line": problem.line, "problem": problem.text} for problem in problems]
        print_json({"cameras": cameras, "sinks": sinks, "problems": wrong})
    elif problems:
        for problem in problems:
            say(f"{file}: {problem}")
    else:
        print(f"{file}: {counted(cameras, 'camera')}, {counted(sinks, 'sink')}.")
    if problems:
        raise typer.Exit(2)


def schema() -> None:
    """Print the JSON schema of a site file, for editors that complete and check it."""
    from oddwatch.config.site import site_schema

    print(site_schema())
