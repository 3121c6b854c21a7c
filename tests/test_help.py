"""The help of every command, and what the command line says when it is used wrongly."""

from __future__ import annotations

import re

import pytest
import typer.main
from command_line import Runner
from typer.core import TyperGroup
from typer.testing import CliRunner

import oddwatch
from oddwatch.cli import app

_GROUPS = ("evaluate", "dataset", "backbones", "config", "events", "alerts", "notify", "store")
_LEARNING = ("demo", "embed", "learn", "score", "bench", "train", "reproduce", "compare", "export", "scorers")
COMMANDS = (*_LEARNING, "watch", "status", "coverage", *_GROUPS)


@pytest.fixture(name="oddwatch_")
def _oddwatch(capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capfd)


def help_of(*command: str, width: int) -> str:
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="oddwatch", terminal_width=width)
    assert shown.exit_code == 0
    return shown.stdout


@pytest.mark.parametrize("width", [50, 80, 160])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_what_is_typed(command: str, width: int) -> None:
    text = help_of(command, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert not re.search(r"[<>{}]\w|list\[|None|\bstr\b|\bint\b", text), text
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for parameter in group.commands[command].params:
        assert getattr(parameter, "help", None), f"{command}: {parameter.name} is not explained"
        assert all(name in text for name in parameter.opts if name.startswith("-"))


def test_usage_lines() -> None:
    usage = {c: " ".join(help_of(c, width=100).partition("\n\n")[0].split()) for c in COMMANDS}
    assert usage == {
        "demo": "Usage: oddwatch demo [OPTIONS]",
        "embed": "Usage: oddwatch embed [OPTIONS] VIDEO...",
        "learn": "Usage: oddwatch learn [OPTIONS] [VIDEO...]",
        "score": "Usage: oddwatch score [OPTIONS] DETECTOR VIDEO...",
        "evaluate": "Usage: oddwatch evaluate [OPTIONS] COMMAND [ARGS]...",
        "bench": "Usage: oddwatch bench [OPTIONS] DATASET PATH",
        "train": "Usage: oddwatch train [OPTIONS] CONFIG",
        "reproduce": "Usage: oddwatch reproduce [OPTIONS] SRC",
        "compare": "Usage: oddwatch compare [OPTIONS] RUN...",
        "export": "Usage: oddwatch export [OPTIONS] RUN",
        "dataset": "Usage: oddwatch dataset [OPTIONS] COMMAND [ARGS]...",
        "backbones": "Usage: oddwatch backbones [OPTIONS] COMMAND [ARGS]...",
        "scorers": "Usage: oddwatch scorers [OPTIONS]",
        "watch": "Usage: oddwatch watch [OPTIONS] SITE",
        "status": "Usage: oddwatch status [OPTIONS] SITE",
        "coverage": "Usage: oddwatch coverage [OPTIONS] SITE",
        "config": "Usage: oddwatch config [OPTIONS] COMMAND [ARGS]...",
        "events": "Usage: oddwatch events [OPTIONS] COMMAND [ARGS]...",
        "alerts": "Usage: oddwatch alerts [OPTIONS] COMMAND [ARGS]...",
        "notify": "Usage: oddwatch notify [OPTIONS] COMMAND [ARGS]...",
        "store": "Usage: oddwatch store [OPTIONS] COMMAND [ARGS]...",
    }


def test_the_list_of_commands_is_whole_on_a_narrow_terminal() -> None:
    text = help_of(width=80)
    listed = re.findall(r"^  (\w+)  +(\S.*)$", text.partition("Commands:")[2], re.MULTILINE)
    assert [name for name, _ in listed] == list(COMMANDS)
    assert not [what for _, what in listed if what.endswith("...")]
    assert "completion" not in text


def test_evaluate_means_a_data_set_where_it_names_no_command(oddwatch_: Runner) -> None:
    for arguments in (
        ["ped1", "path", "--out", "out"],
        ["--out", "out", "ped1", "path"],
        ["dataset", "ped1", "x", "-o", "y"],
    ):
        ran = oddwatch_("evaluate", *arguments)
        assert (ran.code, "unknown data set 'ped1'" in ran.err) == (2, True)
    assert "oddwatch evaluate run [OPTIONS] RUN" in oddwatch_("evaluate", "run", "--help").out
    assert "Commands:" in oddwatch_("evaluate", "-h").out


def test_without_arguments_it_shows_help(oddwatch_: Runner) -> None:
    ran = oddwatch_()
    assert ran.code == 2
    assert "Commands:" in ran.out + ran.err


def test_version(oddwatch_: Runner) -> None:
    ran = oddwatch_("--version")
    assert (ran.code, ran.out.strip(), ran.err) == (0, oddwatch.__version__, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lern"], "Did you mean 'learn'"),
        (["learn", "a.mp4"], "--out"),
        (["learn", "--out", "door"], "VIDEO..."),
        (["learn", "a.mp4", "--out", "door", "--bugdet", "2/day"], "--bugdet"),
        (["learn", "a.mp4", "--out", "door", "--on", "floor"], "'auto', 'vector', 'grid'"),
        (["learn", "a.mp4", "--out", "door", "--seed", "-1"], "--seed"),
        (["score", "door", "a.mp4", "--unit", "hour"], "'window', 'clip'"),
    ],
)
def test_wrong_usage_ends_with_2(oddwatch_: Runner, arguments: list[str], says: str) -> None:
    ran = oddwatch_(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
