"""`oddwatch evaluate embeddings`: every scorer on embeddings that were made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from oddwatch.cli.output import number, print_json, print_table, progress_bar
from oddwatch.embedding_file import read_views

if TYPE_CHECKING:
    from oddwatch.types import Comparison


def evaluate_embeddings(path: Path, out: Path, *, seed: int, as_json: bool) -> None:
    """Read the files in the folder `path`, compare all scorers on them, print a table and write into `out`."""
    from oddwatch.evaluate.embeddings import compare_embeddings, to_json
    from oddwatch.report import write_comparison

    views = read_views(path)
    with progress_bar() as progress:
        found = compare_embeddings(views, name=path.resolve().name, seed=seed, progress=progress)
    folder = write_comparison(found, out)
    if as_json:
        print_json({**to_json(found), "out": str(folder)})
        return
    show(found)
    print(f"Scores and figures: {folder}")


def show(comparison: Comparison) -> None:
    """The table, for people."""
    columns = [*(view.name for view in comparison.views), "mean"]
    rows = []
    for row in comparison.scorers:
        cells = [_cell(auc, spread, len(row.figures[0])) for auc, spread in row.micro_auc()]
        rows.append([row.name, *(cells or [number(None)] * len(columns)), row.note])
    title = f"{comparison.dataset}: frame-level AUC, micro, nothing smoothed"
    print_table(title, ("scorer", *columns, "note"), rows, numbers=columns)
    for view in comparison.views:
        print(
            f"{view.name}: learned from {view.usual} of {view.known} training embeddings, those of usual scenes; "
            f"{len(view.scenes)} tested, {view.frame_labels.mean():.0%} of their frames unusual."
        )


def _cell(auc: float, spread: float, seeds: int) -> str:
    return number(auc) if seeds == 1 else f"{number(auc)} ± {number(spread)}"
