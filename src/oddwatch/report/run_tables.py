"""Tables of evaluated training runs, for a page and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from oddwatch.report.run_figures import WAYS
from oddwatch.report.wording import NONE, number, share
from oddwatch.runs import SPACES, RunEvaluation, ThresholdRow

_ORDER = ("anomaly", "train", "validation", "test")
"""Of splits in a table of thresholds, as in the article."""


@dataclass(frozen=True)
class Table:
    """columns: (name, whether its cells are figures)."""

    caption: str
    columns: list[tuple[str, bool]]
    rows: list[list[str]]

    def csv(self) -> str:
        """The same for machines."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([name for name, _ in self.columns])
        writer.writerows([["" if cell == NONE else cell for cell in row] for row in self.rows])
        return text.getvalue()


def same_clips(runs: Sequence[RunEvaluation]) -> bool:
    """Whether all runs were tested on the same test and anomalous clips."""
    tested = ({(c.path, c.split) for c in found.clips if c.split in ("test", "anomaly")} for found in runs)
    first = next(tested)
    return all(clips == first for clips in tested)


def run_table(runs: Sequence[RunEvaluation]) -> Table:
    """A row for each run: what it was asked for, how it ranks clips, what it took."""
    columns = [(name, name not in ("run", "backbone", "learns", "target")) for name in _row_of(runs[0])]
    return Table("What was trained, and how it ranks clips", columns, [list(_row_of(found).values()) for found in runs])


def _row_of(found: RunEvaluation) -> dict[str, str]:
    asked, counts = found.settings, found.counts()
    tuned = asked.get("fine_tune", {})
    never = tuned.get("tensors", "never") == "never"
    best = next((row for row in found.epochs if int(row["epoch"]) == found.best_epoch), None)
    areas = {(area.by, area.split): share(area.auroc) for area in found.areas}
    ways = ("error", *SPACES)
    return {
        "run": found.name,
        "backbone": found.backbone,
        "learns": "autoencoder" if never else f"and {tuned['tensors']} tensors from epoch {tuned.get('from_epoch', 0)}",
        "target": NONE if never else str(tuned.get("target", NONE)),
        **{f"AUROC, {by}": areas.get((by, "test"), NONE) for by in ways},
        "learning rate": f"{asked['optimiser']['learning_rate']:g}" if "optimiser" in asked else NONE,
        "epochs": str(len(found.epochs)),
        "best epoch": NONE if found.best_epoch is None else str(found.best_epoch),
        "validation loss": NONE if best is None else number(float(best["validation_loss"] or "nan")),
        "test clips": str(counts["test"]),
        "anomalous clips": str(counts["anomaly"]),
        "training, s": f"{found.seconds:.1f}",
    }


def threshold_table(runs: Sequence[RunEvaluation]) -> Table:
    """In the article's form: the share of the clips of each split that a threshold gets right."""
    numbers = [(name, True) for name in ("threshold", *_ORDER)]
    columns = [*_head(runs), ("by", False), *numbers, ("chosen", False), ("backbone", False)]
    rows = [
        [*[found.name] * len(_head(runs)), *_threshold(row), found.backbone]
        for found in runs
        for row in found.thresholds
    ]
    return Table("Share of the clips of each split that a threshold gets right", columns, rows)


def area_table(runs: Sequence[RunEvaluation]) -> Table:
    """AUROC of anomalous clips against each normal split, with how many clips."""
    numbers = [(name, True) for name in ("anomalous clips", "normal clips", "AUROC")]
    columns = [*_head(runs), ("by", False), ("against", False), *numbers, ("backbone", False)]
    rows = [
        [
            *[found.name] * len(_head(runs)),
            *(WAYS[a.by], a.split, f"{a.anomalous:,}", f"{a.normal:,}", share(a.auroc), found.backbone),
        ]
        for found in runs
        for a in found.areas
    ]
    says = "AUROC: the chance that an anomalous clip scores higher than a normal one. Nothing was fitted to test clips"
    return Table(says, columns, rows)


def _head(runs: Sequence[RunEvaluation]) -> list[tuple[str, bool]]:
    return [("run", False)] if len(runs) > 1 else []


def _threshold(row: ThresholdRow) -> list[str]:
    accuracies = (row.accuracy[split] for split in _ORDER)
    return [
        WAYS[row.by],
        f"{row.value:.4f}",
        *(NONE if value is None else f"{value:.2f}" for value in accuracies),
        row.chosen,
    ]
