"""`oddwatch compare`: training runs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.evaluate_run import FOLDER, FalseAlarms, KeptIn, evaluated, print_thresholds
from oddwatch.cli.output import counted, number, print_json, print_table, say
from oddwatch.errors import OddwatchError, UsageError
from oddwatch.files import sha256_of
from oddwatch.finetune.folder import RunFolder
from oddwatch.runs import SPACES, read_evaluation, to_json

if TYPE_CHECKING:
    from oddwatch.runs import RunEvaluation


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders made by oddwatch train.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for report.html, its figure and tables.")
    ],
    false_alarms: FalseAlarms = "5%",
    cache: KeptIn = Path("embeddings"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Put training runs side by side.

    A run that has not been evaluated yet, or has learned more since, is evaluated first.
    """
    from oddwatch.evaluate.run import share_of
    from oddwatch.report import require_extra, write_runs_report

    share_of(false_alarms)
    require_extra()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: give a folder")
    by_path: dict[Path, RunEvaluation] = {}
    unusable = False
    for run in dict.fromkeys(runs):
        try:
            by_path[run] = found_of(run, false_alarms=false_alarms, cache=cache)
        except OddwatchError as error:
            if len(runs) == 1:
                raise
            say(f"skipped: {error}")
            unusable = True
    if not by_path:
        raise OddwatchError("none of the runs can be compared")
    often = Counter(one.name for one in by_path.values())
    found = [replace(one, name=str(run)) if often[one.name] > 1 else one for run, one in by_path.items()]
    report = write_runs_report(found, out)
    if as_json:
        print_json({"runs": [to_json(one) for one in found], "report": str(report)})
    else:
        show(found)
        print(f"Report: {report}")
    for one in found:
        if one.failures:
            say(f"skipped: {counted(len(one.failures), 'clip')} of {one.name}, which its report lists")
    if unusable or any(one.failures for one in found):
        raise typer.Exit(1)


def found_of(run: Path, *, false_alarms: str, cache: Path) -> RunEvaluation:
    """What was found of a run, evaluated now unless that has been done with the best checkpoint that it has."""
    from oddwatch.evaluate.run import summarise

    folder = run / FOLDER
    checkpoint = RunFolder(run).best
    kept = read_evaluation(folder)
    if kept is not None and checkpoint.exists() and kept.checkpoint == sha256_of(checkpoint):
        return summarise(kept, false_alarms=false_alarms)
    return evaluated(run, folder, false_alarms=false_alarms, cache=cache)


def show(runs: Sequence[RunEvaluation]) -> None:
    """The tables, for people."""
    ways = ("error", *SPACES)
    columns = ("test", "anomalous", *(f"AUROC, {by}" for by in ways), "epochs", "seconds")
    rows = []
    for found in runs:
        areas = {area.by: area.auroc for area in found.areas if area.split == "test"}
        counts = found.counts()
        cells = [str(counts["test"]), str(counts["anomaly"]), *(number(areas.get(by)) for by in ways)]
        rows.append([found.name, found.backbone, *cells, str(len(found.epochs)), f"{found.seconds:.1f}"])
    print_table("Anomalous clips against test clips", ("run", "backbone", *columns), rows, numbers=columns)
    print_thresholds("Share of clips that a threshold of the error gets right", runs, by=("error",))
