"""`oddwatch reproduce`: the article's TimeSformer experiments, and ours beside its table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from oddwatch.backbones import build_backbone
from oddwatch.cli.evaluate_run import FOLDER, FalseAlarms, KeptIn, evaluated, written
from oddwatch.cli.output import number, print_json, print_table, progress_bar, say, say_failures
from oddwatch.cli.train import Changes, changed, recipe_of
from oddwatch.datasets.manifest import NAME, write_manifest
from oddwatch.datasets.prepare import Prepared, prepare_ucf_sports, ucf_sports_videos
from oddwatch.errors import DatasetError, UsageError
from oddwatch.finetune import Recipe, train
from oddwatch.finetune.folder import RECORD
from oddwatch.finetune.published import CONFIGURATIONS, PUBLISHED_ROWS, load_checkpoint
from oddwatch.runs import RunEvaluation, to_json

TABLE = "reproduction.csv"
_ORDER = ("anomaly", "train", "validation", "test")
_NUMBERS = ("threshold", *_ORDER, "AUROC")
_COLUMNS = ("configuration", "whose", *_NUMBERS, "backbone")


def reproduce(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="UCF Sports Action, as published.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the manifest, the runs and the table.")
    ],
    configuration: Annotated[
        Literal["v1", "v2", "both"],
        typer.Option("--configuration", metavar="v1|v2|both", help="v1: frozen backbone; v2: fine-tuned."),
    ] = "both",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="Evaluate this published state dict of backbone and autoencoder instead of training; with "
            "--configuration v1 or v2, whichever it is.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="FILE", help="TimeSformer's weights; random: an untrained one, and every row says so."
        ),
    ] = None,
    changes: Changes = None,
    false_alarms: FalseAlarms = "5%",
    cache: KeptIn = Path("embeddings"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Repeat the published experiment, ours beside its table.

    TimeSformer V1 and V2 on UCF Sports: prepares, trains and evaluates. Started again with the same FOLDER it goes on
    where it was.
    """
    from oddwatch.evaluate.run import share_of
    from oddwatch.report import Table, require_extra, write_runs_report

    share_of(false_alarms)
    require_extra()
    if checkpoint is not None and configuration == "both":
        raise UsageError("--checkpoint is one configuration: say which with --configuration v1 or v2")
    if checkpoint is not None and weights is not None:
        raise UsageError("--checkpoint brings its own weights: leave out --weights")
    if not source.is_dir():
        raise DatasetError(f"{source} is not a folder: give the one that holds the folders of the classes")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: give a folder")
    ucf_sports_videos(source)
    wanted = ("v1", "v2") if configuration == "both" else (configuration,)
    recipes = {name: _recipe(name, weights, changes) for name in wanted}
    found: dict[str, RunEvaluation] = {}
    if checkpoint is not None:
        found[configuration] = _theirs(
            configuration, checkpoint, recipes[configuration][0], source, out, false_alarms, cache
        )
    else:
        for recipe, _ in recipes.values():
            build_backbone(recipe.backbone, **recipe.options).weights_sha256()  # said before any work
        _prepare(source, out)
        for name, (recipe, text) in recipes.items():
            found[name] = _ours(name, recipe, text, out, false_alarms, cache)
    rows = _rows(found)
    columns = [(name, name in _NUMBERS) for name in _COLUMNS]
    table = Table("Published, and ours, by the error", columns, rows)
    report = write_runs_report(list(found.values()), out, more={TABLE: table})
    if as_json:
        tables = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        print_json({"table": tables, "runs": [to_json(one) for one in found.values()], "report": str(report)})
    else:
        print_table("Published, and ours", _COLUMNS, rows, numbers=_NUMBERS)
        print(f"Report: {report}; table: {out / TABLE}; each run: {out}/*/{FOLDER}/report.html")
    if any(one.failures for one in found.values()):
        raise typer.Exit(1)


def _recipe(name: str, weights: str | None, changes: list[str] | None) -> tuple[Recipe, str]:
    """The recipe, and the file that it could have come from."""
    from oddwatch.config.train import checked

    given = changed(changes) | ({} if weights is None else {"backbone.weights": weights})
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in CONFIGURATIONS[name].items()}
    config = checked(values, given, of=f"timesformer-{name}")
    return recipe_of(config.model_dump()), config.to_yaml()


def _ours(name: str, recipe: Recipe, text: str, out: Path, false_alarms: str, cache: Path) -> RunEvaluation:
    """Train, or go on, and evaluate."""
    run = out / f"{recipe.backbone}-{name}"
    say(f"training {run.name}")
    with progress_bar() as progress:
        resume = (run / RECORD).exists()
        train(recipe, out / NAME, run, cache=cache, resume=resume, config=text, progress=progress)
    threshold = PUBLISHED_ROWS[name].threshold
    return evaluated(run, run / FOLDER, threshold=threshold, false_alarms=false_alarms, cache=cache)


def _theirs(
    name: str, checkpoint: Path, recipe: Recipe, source: Path, out: Path, false_alarms: str, cache: Path
) -> RunEvaluation:
    """Evaluate a published checkpoint."""
    from oddwatch.evaluate.run import evaluate_best

    run = out / f"{recipe.backbone}-{name}"
    best, unused = load_checkpoint(checkpoint, asdict(recipe), run)
    if unused:
        say(f"{checkpoint}: left out, for they belong neither to backbone nor autoencoder: {', '.join(unused)}")
    prepared = _prepare(source, out)
    with progress_bar() as progress:
        found = evaluate_best(
            best,
            prepared.clips,
            name=run.name,
            checkpoint=checkpoint,
            cache=cache,
            threshold=PUBLISHED_ROWS[name].threshold,
            false_alarms=false_alarms,
            progress=progress,
        )
    return written(found, run / FOLDER)


def _prepare(source: Path, out: Path) -> Prepared:
    with progress_bar() as progress:
        prepared = prepare_ucf_sports(source, progress=progress)
    say_failures(prepared.dropped)
    write_manifest(out / NAME, prepared.clips)
    return prepared


def _rows(found: dict[str, RunEvaluation]) -> list[list[str]]:
    """Published and ours, by error; ours at the published threshold too."""
    rows = []
    for name, one in found.items():
        published = PUBLISHED_ROWS[name]
        rows.append(
            [
                published.name,
                "published",
                f"{published.threshold:.4f}",
                *(number(published.accuracy[split], digits=2) for split in _ORDER),
                number(published.auroc),
                "timesformer",
            ]
        )
        auroc = next(area.auroc for area in one.areas if (area.by, area.split) == ("error", "test"))
        whose = {"given": "ours, published threshold", "calibrated": "ours, calibrated", "hindsight": "ours, hindsight"}
        for row in one.thresholds:
            if row.by == "error":
                cells = [number(row.accuracy[split], digits=2) for split in _ORDER]
                backbone = one.backbone
                rows.append([published.name, whose[row.kind], f"{row.value:.4f}", *cells, number(auroc), backbone])
    return rows
