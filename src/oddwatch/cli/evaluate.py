"""`oddwatch evaluate`: a data set -> tables, figures and a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.embeddings import evaluate_embeddings
from oddwatch.cli.options import (
    Backbone,
    Budget,
    Cache,
    Device,
    Folds,
    Fps,
    OnWhat,
    Options,
    Precision,
    Quantized,
    Runtime,
    ScorerName,
    ScorerOptions,
    Seed,
    Tuned,
    Weights,
    backbone_options,
    parsed,
)
from oddwatch.cli.output import (
    counted,
    print_comparison,
    print_json,
    progress_bar,
    say_failures,
)
from oddwatch.datasets import DATASETS, load_dataset
from oddwatch.detector import Detector, On
from oddwatch.detector.suited import suitable_scorers
from oddwatch.embed import EmbeddingCache
from oddwatch.errors import MissingExtraError, OddwatchError, UsageError
from oddwatch.types import FrameMetrics, Row

if TYPE_CHECKING:
    from oddwatch.types import Evaluation

EMBEDDINGS = "embeddings"
"""Instead of a data set of videos: files of embeddings that were made elsewhere."""


def evaluate(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=f"One of {', '.join([*DATASETS, EMBEDDINGS])}.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder that holds the data set.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for report.html, figures and scores.csv.")
    ],
    detector_folder: Annotated[
        Path | None,
        typer.Option("--detector", metavar="DETECTOR", help="Score with this detector instead of learning one."),
    ] = None,
    backbone: Backbone = "motion",
    weights: Weights = None,
    runtime: Runtime = None,
    precision: Precision = None,
    device: Device = None,
    tuned: Tuned = False,
    quantized: Quantized = None,
    options: Options = [],  # noqa: B006 (typer makes a new one)
    scorer: ScorerName = "auto",
    scorer_options: ScorerOptions = [],  # noqa: B006
    on: OnWhat = "auto",
    budget: Budget = "2/day",
    folds: Folds = 5,
    fps: Fps = None,
    cache_folder: Cache = None,
    no_compare: Annotated[
        bool, typer.Option("--no-compare", help="Only this detector: no other scorers, no floors that learn nothing.")
    ] = False,
    no_leave_one_out: Annotated[
        bool, typer.Option("--no-leave-one-out", help="Do not count false alarms on each usual video in turn.")
    ] = False,
    seed: Seed = 42,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure a detector on a data set and write a report.

    embeddings: compare all scorers on files of embeddings that were made elsewhere, train*.npz and test*.npz (or
    .parquet) in the folder PATH; writes scores.csv and ROC figures.
    """
    from oddwatch.report import require_extra, write_report

    if dataset == EMBEDDINGS:
        computing = (detector_folder, weights, runtime, precision, device, quantized, fps, cache_folder)
        flags = (tuned, options, scorer_options, no_compare, no_leave_one_out)
        usual = (backbone, scorer, on, budget, folds) == ("motion", "auto", "auto", "2/day", 5)
        if not usual or any(flags) or any(value is not None for value in computing):
            raise UsageError(
                "evaluate embeddings compares all scorers on vectors and has no video: of the options it takes --out, "
                "--seed and --json only"
            )
        require_extra()
        _require_folder(out)
        evaluate_embeddings(path, out, seed=seed, as_json=as_json)
        return
    if dataset not in DATASETS:
        raise UsageError(f"unknown data set {dataset!r}: choose one of {', '.join(sorted([*DATASETS, EMBEDDINGS]))}")
    if detector_folder is not None:
        usual = (backbone, scorer, on, budget, folds, seed) == ("motion", "auto", "auto", "2/day", 5, 42)
        if not usual or any((tuned, options, scorer_options, weights)):
            raise UsageError(
                "--detector brings its own backbone, weights, option, tuned, scorer, scorer-option, on, budget, folds "
                "and seed: leave them out"
            )
        detector = Detector.load(
            detector_folder, runtime=runtime, precision=precision, device=device, quantized=quantized
        )
    else:
        detector = Detector(
            backbone=backbone,
            backbone_options=backbone_options(
                backbone, weights, runtime, precision, device, tuned=tuned, quantized=quantized, others=options
            ),
            scorer=scorer,
            scorer_options=parsed(scorer_options),
            on=on,
            budget=budget,
            folds=folds,
            seed=seed,
        )
    detector.backbone.weights_sha256()  # what is missing is said before any work
    require_extra()
    _require_folder(out)
    from oddwatch.evaluate import evaluate as run_evaluation
    from oddwatch.evaluate import to_json

    found = load_dataset(dataset, path, fps=fps)
    others, missing = ([], []) if no_compare or detector_folder is not None else _others(detector)
    with progress_bar() as progress:
        evaluation = run_evaluation(
            found,
            detector,
            learned=detector_folder is not None,
            others=others,
            floors=not no_compare,
            leave_one_out=not no_leave_one_out,
            cache=None if cache_folder is None else EmbeddingCache(cache_folder),
            progress=progress,
        )
    evaluation = replace(evaluation, rows=(*evaluation.rows, *missing))
    say_failures(evaluation.failures)
    report, unwritten = None, None
    try:
        report = write_report(evaluation, out)
    except OddwatchError as error:
        unwritten = error
    if as_json:
        print_json({**to_json(evaluation), "report": None if report is None else str(report)})
    else:
        show(evaluation)
        if report is not None:
            print(f"Report: {report}")
    if unwritten is not None:
        raise unwritten
    if evaluation.failures:
        raise typer.Exit(1)


def _require_folder(out: Path) -> None:
    """Raises UsageError for an --out that no folder can be."""
    try:
        is_file = out.exists() and not out.is_dir()
    except OSError as error:
        raise UsageError(f"--out {out} cannot be used: {error.strerror or error} (choose another)") from error
    if is_file:
        raise UsageError(f"--out {out} is a file: give a folder")


def _others(detector: Detector) -> tuple[list[Detector], list[Row]]:
    """Every other scorer, on all that the backbone gives; and a row that says why for those that are not installed."""
    looks: list[On] = ["grid", "vector"] if detector.backbone.record.grid_size else ["vector"]
    others, missing = [], []
    for look in looks:
        for name in suitable_scorers(detector.backbone_name, look):
            if (name, look) == (detector.scorer_name, detector.on):
                continue
            try:
                others.append(
                    Detector(
                        backbone=detector.backbone_name,
                        backbone_options=detector.backbone.options(),
                        scorer=name,
                        on=look,
                        budget=detector.budget.text,
                        folds=2,  # they are here for their scores; five folds of an autoencoder take minutes
                        seed=detector.seed,
                    )
                )
            except MissingExtraError as error:
                nothing = FrameMetrics(None, None, None, 0, None, None)
                missing.append(Row(f"{detector.backbone_name}, {name} on {look}", nothing, note=str(error)))
    return others, missing


def show(evaluation: Evaluation) -> None:
    """The figures, for people."""
    first = evaluation.rows[0].causal
    title = f"{evaluation.dataset}: frame level, causal"
    if first.micro_auc is not None:
        title += (
            f"; macro over the {first.macro_videos} of {counted(len(evaluation.samples), 'video')} with both classes"
        )
    print_comparison(title, evaluation.rows)
    if any(row.causal.regions_derived for row in evaluation.rows):
        print("RBDC and TBDC: nobody annotated regions and tracks here, they are derived from pixel masks.")
    print(f"Threshold {evaluation.threshold:.4g} ({evaluation.threshold_says}).")
    events = evaluation.rows[0].events
    if events is not None:
        delay = "" if events.median_delay_seconds is None else f", median delay {events.median_delay_seconds:.1f} s"
        print(
            f"Events at it: {events.found_events} of {events.truth_events} found{delay}; "
            f"{counted(events.false_alarms, 'false alarm')} in {events.normal_hours * 60:.1f} minutes without anything "
            "unusual."
        )
    loo = evaluation.leave_one_out
    if loo is not None:
        low, high = loo.interval
        allowed = "is a share of scores, not a rate"
        if loo.expected is not None:
            allowed = f"allows {loo.expected:.2g}, so the count {loo.verdict}"
        print(
            f"Each usual video by a detector of the others: {counted(loo.false_alarms, 'false alarm')} in "
            f"{loo.hours * 60:.1f} minutes (95% Poisson interval {low:.2f} to {high:.2f}); the budget {loo.budget} "
            f"{allowed}."
        )
    if evaluation.frames_per_second is not None:
        print(f"Decode to score: {evaluation.frames_per_second:.0f} frames/s.")
