"""`oddwatch evaluate run`: a training run -> its clips scored, tables, figures and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.output import counted, number, print_json, print_table, progress_bar, say_failures
from oddwatch.errors import UsageError
from oddwatch.runs import SPACES, SPLITS, to_json, write_evaluation

if TYPE_CHECKING:
    from oddwatch.runs import RunEvaluation

FOLDER = "evaluation"
"""Inside the run folder."""
_WAYS = {"error": "error", "embedding": "distance, embedding", "latent": "distance, latent"}

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder made by oddwatch train.")]
KeptIn = Annotated[Path, typer.Option("--cache", metavar="FOLDER", help="Where embeddings are kept between runs.")]
FalseAlarms = Annotated[
    str,
    typer.Option(
        "--false-alarms", metavar="SHARE", help="Share of validation clips that the calibrated thresholds may call odd."
    ),
]
GivenThreshold = Annotated[
    float | None, typer.Option("--threshold", metavar="X", help="An error to tabulate as a threshold too.")
]


def evaluate_run_command(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help=f"Usually {FOLDER}/ in the run folder.")
    ] = None,
    threshold: GivenThreshold = None,
    false_alarms: FalseAlarms = "5%",
    cache: KeptIn = Path("embeddings"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Score every clip of a run by its best checkpoint.

    Writes clips.csv, report.html and its figures.
    """
    folder = run / FOLDER if out is None else out
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file: give a folder")
    found = evaluated(run, folder, threshold=threshold, false_alarms=false_alarms, cache=cache)
    if as_json:
        print_json({**to_json(found), "out": str(folder)})
    else:
        show(found)
        print(f"Report: {folder / 'report.html'}")
    if found.failures:
        raise typer.Exit(1)


def evaluated(
    run: Path, folder: Path, *, threshold: float | None = None, false_alarms: str, cache: Path
) -> RunEvaluation:
    """Evaluate a run and write all there is of it into `folder`; what could not be read is said."""
    from oddwatch.evaluate.run import evaluate_run
    from oddwatch.report import require_extra

    require_extra()
    with progress_bar() as progress:
        found = evaluate_run(run, cache=cache, threshold=threshold, false_alarms=false_alarms, progress=progress)
    return written(found, folder)


def written(found: RunEvaluation, folder: Path) -> RunEvaluation:
    """Write all there is of an evaluation into `folder`."""
    from oddwatch.report import write_run_report

    say_failures(found.failures)
    write_evaluation(found, folder)
    write_run_report(found, folder)
    return found


def show(found: RunEvaluation) -> None:
    """The tables, for people."""
    print_table(
        f"{found.name}: AUROC of anomalous clips",
        ("by", "against", "anomalous", "normal", "AUROC", "backbone"),
        [[_WAYS[a.by], a.split, str(a.anomalous), str(a.normal), number(a.auroc), found.backbone] for a in found.areas],
        numbers=("anomalous", "normal", "AUROC"),
    )
    print_thresholds("Share of clips that a threshold gets right", [found])
    counts = found.counts()
    print(
        f"{found.backbone}: {counted(len(found.clips), 'clip')} scored"
        f" ({', '.join(f'{counts[split]} {split}' for split in SPLITS)}), checkpoint of epoch {found.best_epoch}."
    )


def print_thresholds(title: str, runs: Sequence[RunEvaluation], *, by: Sequence[str] = ("error", *SPACES)) -> None:
    """In the article's form."""
    order = ("anomaly", "train", "validation", "test")
    print_table(
        title,
        ("run", "by", "threshold", *order, "chosen", "backbone"),
        [
            [
                *(found.name, _WAYS[r.by], f"{r.value:.4f}"),
                *(number(r.accuracy[split], digits=2) for split in order),
                *(r.chosen, found.backbone),
            ]
            for found in runs
            for r in found.thresholds
            if r.by in by
        ],
        numbers=("threshold", *order),
    )
