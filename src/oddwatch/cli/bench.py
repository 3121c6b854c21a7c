"""`oddwatch bench`: what the default is worth on a data set, row by row, from one command that can be interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from oddwatch.cli.options import Budget, Folds, Fps, Seed
from oddwatch.cli.output import counted, number, print_json, print_table, progress_bar, say, say_failures
from oddwatch.datasets import DATASETS, load_dataset
from oddwatch.errors import UsageError
from oddwatch.evaluate.bench import SECTIONS, BenchResult, BenchRow, Section
from oddwatch.evaluate.bench import bench as run_bench
from oddwatch.evaluate.choices import CHOICES
from oddwatch.files import write_text
from oddwatch.metrics import poisson_interval
from oddwatch.types import FrameMetrics

AREAS = ("micro", "macro", "padded", "pixel", "RBDC", "TBDC")


def bench(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=f"One of {', '.join(DATASETS)}.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder that holds the data set.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Each finished row, a line of JSON; rows that are there already are not measured again.",
        ),
    ],
    sections: Annotated[
        str, typer.Option("--sections", metavar="LIST", help=f"What to measure: some of {','.join(SECTIONS)}.")
    ] = ",".join(SECTIONS),
    budget: Budget = "2/day",
    folds: Folds = 5,
    fps: Fps = None,
    seed: Seed = 42,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure the default detector on a data set in every way.

    Causal and offline, both qualities, places, events, speed; what learns nothing, the other scorers, each attribute
    alone and left out, and other settings of the backbone. Each setting of the backbone reads the whole data set. After
    an interruption the same command goes on.
    """
    asked: list[Section] = [s for s in SECTIONS if s in sections.split(",")]
    if unknown := set(sections.split(",")) - set(SECTIONS):
        raise UsageError(f"unknown section {sorted(unknown)[0]!r}: choose from {','.join(SECTIONS)}")
    known = _read(out)
    found = load_dataset(dataset, path, fps=fps)

    def keep(key: str, row: BenchRow) -> None:
        known[key] = row
        lines = [json.dumps({"key": key, **row.to_json()}, allow_nan=False) for key, row in known.items()]
        write_text(out, "\n".join(lines) + "\n")
        say(f"{_label(row)}: {number(row.figures.micro_auc)}")

    with progress_bar() as progress:
        result = run_bench(
            found,
            sections=asked,
            budget=budget,
            folds=folds,
            seed=seed,
            known=dict(known),
            keep=keep,
            progress=progress,
        )
    say_failures(result.failures)
    if as_json:
        rows = [row.to_json() for row in result.rows]
        print_json({"dataset": result.dataset, "budget": budget, "rows": rows, "choices": list(CHOICES)})
    else:
        show(result)
    if result.failures:
        raise typer.Exit(1)


def _read(out: Path) -> dict[str, BenchRow]:
    """Rows by their key. Raises UsageError for a file that holds something else."""
    if not out.exists():
        return {}
    rows: dict[str, BenchRow] = {}
    try:
        for line in out.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            key = str(values.pop("key"))
            rows[key] = BenchRow.from_json(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"--out {out} is no file of this command ({error!r}): choose another, or delete it") from error
    return rows


def _label(row: BenchRow) -> str:
    return f"{row.section}: {row.name}" + (", offline" if row.offline else "")


def show(result: BenchResult) -> None:
    """The figures, for people."""
    rows = {section: [row for row in result.rows if row.section == section] for section in SECTIONS}
    _areas(f"{result.dataset}: motion, attributes on grid", rows["main"] + rows["floors"])
    if macro := next((r.figures.macro_videos for r in result.rows if r.figures.micro_auc is not None), 0):
        print(
            f"AUC of frames. Macro: mean over the {counted(macro, 'video')} with both classes. Pixel: a frame is "
            "detected when 40% of its unusual pixels are. Causal: nothing from the future. Offline: motion of 2 s "
            "ahead too, and before the first score of a video that first one.\n"
        )
    if any(row.figures.regions_derived for row in result.rows):
        print("RBDC and TBDC: nobody annotated regions and tracks here, they are derived from pixel masks.\n")
    _events(result.budget, rows["main"])
    _speed(rows["main"])
    _areas("Other scorers, on the same embeddings", rows["scorers"])
    _areas("Attributes", rows["ablation"])
    _sensitivity(rows["sensitivity"])
    print("Which choices were made on what:")
    for choice in CHOICES:
        print(f"- {choice}")


def _areas(title: str, rows: list[BenchRow]) -> None:
    names = dict.fromkeys(row.name for row in rows)
    if not names:
        return
    by = {(row.name, row.offline): row for row in rows}
    lines = []
    for name in names:
        both = [by.get((name, offline)) for offline in (False, True)]
        note = next((row.note for row in both if row is not None and row.note), "")
        lines.append([name, *(cell for row in both for cell in _cells(None if row is None else row.figures)), note])
    numbers = [*AREAS, *(f"offline {area}" for area in AREAS)]
    print_table(title, ["", *numbers, "note"], lines, numbers=numbers)


def _cells(figures: FrameMetrics | None) -> list[str]:
    if figures is None:
        return ["-"] * len(AREAS)
    return [number(value) for value in _values(figures)]


def _events(budget: str, rows: list[BenchRow]) -> None:
    lines = []
    for row in rows:
        if (e := row.events) is not None:
            low, high = poisson_interval(e.false_alarms)
            hours = e.normal_hours
            rate = f"{e.false_alarms / hours:.1f} ({low / hours:.1f} to {high / hours:.1f})" if hours else "-"
            delay = "-" if row.offline or e.median_delay_seconds is None else f"{e.median_delay_seconds:.1f} s"
            recall = f"{number(e.recall, digits=2)} ({e.found_events} of {e.truth_events})"
            lines.append(
                [_mode(row), recall, delay, str(e.false_alarms), f"{hours * 60:.1f} min", rate, _held_out(row)]
            )
    if lines:
        columns = ("", "recall", "delay", "false alarms", "in", "per hour (95%)", "each usual video in turn")
        print_table(f"Events at the budget {budget}", columns, lines, numbers=columns[1:-1])
        for row in rows:
            if row.threshold_says:
                print(f"Threshold, {_mode(row)}: {row.threshold_says}.")
        print("Intervals are exact, of a Poisson count. Delay: median, until an event is raised.\n")


def _held_out(row: BenchRow) -> str:
    """What detectors of the other usual videos raise on each."""
    loo = row.leave_one_out
    if loo is None:
        return "-"
    low, high = loo.interval
    return f"{loo.false_alarms} in {loo.hours * 60:.1f} min ({low:.1f} to {high:.1f}; {loo.verdict or loo.budget})"


def _speed(rows: list[BenchRow]) -> None:
    lines = [
        [
            _mode(row),
            f"{row.speed.frames_per_second:.0f}",
            f"{row.speed.measured:.0%}",
            *(f"{share:.0%}" for share in row.speed.shares.values()),
        ]
        for row in rows
        if row.speed is not None
    ]
    if lines:
        stages = next(row.speed for row in rows if row.speed is not None).shares
        columns = ("", "frames/s", "flow on", *stages)
        print_table(
            "Speed of one core, decoding excluded, and where its time goes", columns, lines, numbers=columns[1:]
        )


def _mode(row: BenchRow) -> str:
    return f"{row.name}, {'offline' if row.offline else 'causal'}"


def _sensitivity(rows: list[BenchRow]) -> None:
    found = [row for row in rows if row.figures.micro_auc is not None]
    if not found:
        return
    lines = [[row.name, *_cells(row.figures)] for row in found]
    columns = np.array([_values(row.figures) for row in found], dtype=np.float64)  # None becomes nan: not defined
    for name, value in (("median", np.median(columns, 0)), ("lowest", columns.min(0)), ("highest", columns.max(0))):
        lines.append([name, *("-" if np.isnan(v) else f"{v:.3f}" for v in value)])
    print_table(f"{counted(len(found), 'setting')}, causal", ["", *AREAS], lines, numbers=AREAS)


def _values(f: FrameMetrics) -> list[float | None]:
    return [f.micro_auc, f.macro_auc, f.macro_auc_padded, f.pixel_auc, f.rbdc, f.tbdc]
