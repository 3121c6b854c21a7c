"""An `Evaluation` as a page to read: one HTML file that opens anywhere, its figures as PNG, its scores as CSV.

Draws from the evaluation and from the videos that it names, and from nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from oddwatch.errors import MissingExtraError, OddwatchError
from oddwatch.files import write_bytes
from oddwatch.report.figures import rocs
from oddwatch.report.overlay import heatmap_overlay
from oddwatch.report.page import FIGURES, Page, build_page
from oddwatch.report.scores import comparison_csv, scores_csv
from oddwatch.runs import RunEvaluation
from oddwatch.types import Comparison, Evaluation

__all__ = [
    "heatmap_overlay",
    "require_extra",
    "write_comparison",
    "write_report",
    "write_run_report",
    "write_runs_report",
]


def write_report(evaluation: Evaluation, out: str | os.PathLike[str]) -> Path:
    """Write `report.html`, `scores.csv` and `figures/*.png` into the folder `out`; returns the path of the page.

    The page holds its pictures and styles and no script, so that it can be sent as one file. `scores.csv`: video, frame
    (counted from 0 in each video), seconds, score, label (1 unusual, 0 usual, empty when it is not known). Frames are
    read again from the videos; a video that is gone costs only its pictures. Figures of an older report in `out` are
    removed. Raises MissingExtraError without matplotlib or Jinja2, OddwatchError when `out` cannot be written.
    """
    require_extra()
    folder = Path(out)
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        page = build_page(evaluation)
        write_bytes(folder / "scores.csv", scores_csv(evaluation.samples).encode(errors="surrogateescape"))
        return _write_page(page, folder)
    except OSError as error:
        raise _unwritten(folder, error) from error


def write_run_report(found: RunEvaluation, out: str | os.PathLike[str]) -> Path:
    """Write `report.html` and `figures/*.png` of an evaluated run into the folder `out`; returns the path of the page.

    Figures of an older report in `out` are removed. Raises as `write_report`.
    """
    require_extra()
    from oddwatch.report.run_page import run_page

    folder = Path(out)
    try:
        return _write_page(run_page(found), folder)
    except OSError as error:
        raise _unwritten(folder, error) from error


def write_runs_report(runs: Sequence[RunEvaluation], out: str | os.PathLike[str]) -> Path:
    """Write `report.html`, `runs.csv`, `thresholds.csv` and `figures/runs-errors.png` of one or more evaluated runs
    into the folder `out`; returns the path of the page. Raises as `write_report`.
    """
    require_extra()
    from oddwatch.report.run_page import run_table, runs_page, threshold_table

    folder = Path(out)
    try:
        for name, table in (("runs.csv", run_table(runs)), ("thresholds.csv", threshold_table(runs))):
            write_bytes(folder / name, table.csv().encode(errors="surrogateescape"))
        return _write_page(runs_page(runs), folder)
    except OSError as error:
        raise _unwritten(folder, error) from error


def write_comparison(comparison: Comparison, out: str | os.PathLike[str]) -> Path:
    """Write `scores.csv` (the scores of every embedding by every scorer) and `figures/roc-VIEW.png` into the folder
    `out`; returns it. Raises MissingExtraError without matplotlib, OddwatchError when `out` cannot be written.
    """
    require_extra()
    folder = Path(out)
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for view in comparison.views:
            frames = view.frame_labels.shape[1]
            curves = [(name, scores.repeat(frames)) for name, scores in view.scores.items()]
            write_bytes(folder / FIGURES / f"roc-{view.name}.png", rocs(curves, view.frame_labels.ravel()))
        write_bytes(folder / "scores.csv", comparison_csv(comparison).encode(errors="surrogateescape"))
    except OSError as error:
        raise _unwritten(folder, error) from error
    return folder


def _write_page(page: Page, folder: Path) -> Path:
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, data in page.figures.items():
        write_bytes(folder / FIGURES / name, data)
    for path in (folder / FIGURES).glob("*.png"):
        if path.name.startswith(page.prefixes) and path.name not in page.figures:
            path.unlink()
    write_bytes(folder / "report.html", page.html.encode(errors="replace"))
    return folder / "report.html"


def _unwritten(folder: Path, error: OSError) -> OddwatchError:
    return OddwatchError(
        f"{error.filename2 or error.filename or folder}: the report cannot be written, {error.strerror or error} "
        "(free some space or choose another --out)"
    )


def require_extra() -> None:
    """Raises MissingExtraError unless what a report needs is installed: call it before long work that ends in one."""
    for package in ("matplotlib", "jinja2"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtraError("the report", package, "report") from None
