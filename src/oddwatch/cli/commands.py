"""How every command of `oddwatch` behaves: plain help, one line per error, exit codes."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from oddwatch.cli.output import say, warnings_as_lines
from oddwatch.errors import OddwatchError

INTERRUPTED = 130


class Command(TyperCommand):
    """A command whose help shows what is typed, `VIDEO...` and `--out FOLDER`, instead of the types of Python."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(str(p.metavar) for p in self.get_params(ctx) if p.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for kind, title in (("argument", "Arguments"), ("option", "Options")):
            parameters = [p for p in self.get_params(ctx) if p.param_type_name == kind]
            records = [(_typed(p, record[0]), record[1]) for p in parameters if (record := p.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Group(TyperGroup):
    """All commands. An error that was raised on purpose becomes one line on standard error and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        if hasattr(sys.stdout, "reconfigure"):  # names of files need not be text that a terminal can show
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with warnings_as_lines():
                return super().invoke(ctx)
        except OddwatchError as error:
            say(f"oddwatch: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            say("oddwatch: interrupted; what was not finished has not been written")
            raise typer.Exit(INTERRUPTED) from None


class DefaultGroup(TyperGroup):
    """A group whose first command is meant when none is named: `evaluate ped2 PATH` is `evaluate dataset ped2 PATH`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [next(iter(self.commands)), *args]
        found: list[str] = super().parse_args(ctx, args)
        return found


def _typed(parameter: Any, shown: str) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return f"{', '.join(sorted(parameter.opts, key=len))} {parameter.metavar}" if parameter.metavar else shown
