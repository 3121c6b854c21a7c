"""The command `oddwatch`. Here, and only here, things are wired together.

Exit codes: 0 fine; 1 some input could not be used (named, the rest done); 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer
from typer.core import TyperGroup

from oddwatch import __version__
from oddwatch.cli import (
    alerts,
    bench,
    compare,
    config,
    dataset,
    demo,
    embed,
    evaluate,
    evaluate_run,
    events,
    export,
    learn,
    names,
    quantize,
    reproduce,
    score,
    status,
    train,
    watch,
)
from oddwatch.cli.commands import Command, DefaultGroup, Group

app = typer.Typer(
    name="oddwatch",
    cls=Group,
    help="Learns what is usual in front of a camera from video of usual days, and tells when something else happens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", cls=Command)(demo.demo)
app.command("embed", cls=Command)(embed.embed)
app.command("learn", cls=Command)(learn.learn)
app.command("score", cls=Command)(score.score)
evaluation = typer.Typer(
    cls=DefaultGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A data set or a training run -> a report. `evaluate ped2 PATH` is short for `evaluate dataset ped2 PATH`.",
)
evaluation.command("dataset", cls=Command)(evaluate.evaluate)
evaluation.command("run", cls=Command)(evaluate_run.evaluate_run_command)
app.add_typer(evaluation, name="evaluate")
app.command("bench", cls=Command)(bench.bench)
prepare = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None, help="Clips -> a manifest.")
prepare.command("ucf-sports", cls=Command)(dataset.ucf_sports)
prepare.command("folders", cls=Command)(dataset.folders)
datasets = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None, help="Data sets of clips.")
datasets.add_typer(prepare, name="prepare")
app.add_typer(datasets, name="dataset")
app.command("train", cls=Command)(train.train_command)
app.command("reproduce", cls=Command)(reproduce.reproduce)
app.command("compare", cls=Command)(compare.compare)
app.command("export", cls=Command)(export.export)
backbones = typer.Typer(cls=TyperGroup, no_args_is_help=False, rich_markup_mode=None)
backbones.callback(invoke_without_command=True)(names.backbones)
backbones.command("show", cls=Command)(names.show_backbone)
backbones.command("pull", cls=Command)(names.pull_backbone)
backbones.command("tune", cls=Command)(names.tune_backbone)
backbones.command("quantize", cls=Command)(quantize.quantize)
app.add_typer(backbones, name="backbones")
app.command("scorers", cls=Command)(names.scorers)

site = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None, help="The file of a site.")
site.command("check", cls=Command)(config.check)
site.command("schema", cls=Command)(config.schema)
app.add_typer(site, name="config")
app.command("watch", cls=Command)(watch.watch)
app.command("status", cls=Command)(status.status)
seen = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None, help="What cameras of a site saw.")
seen.command("list", cls=Command)(events.list_events)
seen.command("show", cls=Command)(events.show_event)
seen.command("label", cls=Command)(events.label_event)
seen.command("export", cls=Command)(events.export_events)
app.add_typer(seen, name="events")
app.command("coverage", cls=Command)(status.coverage)
told = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None, help="Who was told of it.")
told.command("list", cls=Command)(alerts.list_alerts)
told.command("retry", cls=Command)(alerts.retry_alerts)
app.add_typer(told, name="alerts")
notify = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None, help="Where alerts go.")
notify.command("test", cls=Command)(alerts.try_sinks)
app.add_typer(notify, name="notify")
kept = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None, help="Where events are kept.")
kept.command("check", cls=Command)(status.check_store)
app.add_typer(kept, name="store")


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, about their own code: nothing that a user could mend
    app()
