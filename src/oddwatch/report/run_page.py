"""The pages of training runs: one evaluated run, or several side by side. Writes no file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from oddwatch.report import run_figures as figures
from oddwatch.report.html import Picture, picture_of, render
from oddwatch.report.page import Page
from oddwatch.report.wording import NONE, count, duration, number, share
from oddwatch.runs import SPACES, SPLITS, RunEvaluation, ThresholdRow

_PREFIXES = ("error-by", "centroid-distances", "tsne", "learning", "roc", "precision-recall")
_ORDER = ("anomaly", "train", "validation", "test")
"""Of splits in a table of thresholds, as in the article."""
_MOST_ROWS = 60
_VERDICTS = (
    "A clip is called anomalous when its reconstruction error, or its distance to the nearest class centroid and so to "
    "all of them, reaches the threshold. Centroids are means of the training clips. Validation clips chose the "
    "checkpoint and calibrate the thresholds. Rows in hindsight looked at the anomalous clips: nobody who has none "
    "could have chosen them."
)
_NOTICE = "Untrained backbone: its weights are random. This shows that things run, and says nothing about anomalies."


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


@dataclass
class _Section:
    name: str
    title: str
    lead: str = ""
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    paired: bool = False


def run_page(found: RunEvaluation) -> Page:
    """The page of one run. Needs matplotlib and Jinja2."""
    made: dict[str, bytes] = {}

    def draw(name: str, png: bytes, *, alt: str, title: str = "", caption: str = "") -> Picture:
        made[name] = png
        return picture_of(png, alt=alt, title=title, caption=caption)

    sections = [
        _Section(
            "verdicts",
            "Which clips are called anomalous",
            _VERDICTS,
            [threshold_table([found]), area_table([found])],
        ),
        _Section(
            "errors",
            "Reconstruction errors",
            "Every point is a clip; boxes are quartiles, lines reach at most one and a half boxes further. Dashed: the "
            "threshold calibrated on validation clips. In brackets: how many clips.",
            pictures=[
                draw(
                    "error-by-split.png",
                    figures.errors_by_split(found),
                    alt=f"Box plots of the error by split. {_medians(found)}",
                    title="By split",
                    caption=_medians(found),
                ),
                draw(
                    "error-by-class.png",
                    figures.errors_by_class(found),
                    alt="Box plots of the error by class and split; the anomalous classes are the last.",
                    title="By class",
                    caption="the anomalous classes last",
                ),
            ],
        ),
    ]
    if found.spaces and found.counts()["anomaly"]:
        sections.append(
            _Section(
                "centroids",
                "Distances to class centroids",
                "For each normal class, how far its own test clips are from its centroid and how far the clips of each "
                "anomalous class are. A class that stands out lies to the right of the grey boxes in every group.",
                pictures=[
                    draw(
                        f"centroid-distances-{space}.png",
                        figures.centroid_distances(found, space),
                        alt=f"Box plots of the distances to each class centroid in {space} space.",
                        title=f"{space.capitalize()} space",
                        caption="distances of test clips to the centroid of their class, and of anomalous clips to it",
                    )
                    for space in found.spaces
                ],
            )
        )
    if found.planes:
        sections.append(
            _Section(
                "planes",
                "t-SNE",
                "Two dimensions that keep neighbours together; distances between groups mean little. Seeded.",
                pictures=[
                    draw(
                        f"tsne-{plane.space}.png",
                        figures.plane(found, plane),
                        alt=f"t-SNE of {len(plane.clips)} {plane.space}s, coloured by class.",
                        title=f"{plane.space.capitalize()}s",
                        caption=count(len(plane.clips), "clip")
                        + ("" if len(plane.clips) == len(found.clips) else f", drawn from {len(found.clips):,}"),
                    )
                    for plane in found.planes
                ],
            )
        )
    if found.epochs:
        sections.append(
            _Section(
                "learning",
                "Learning curves",
                "Dotted: the epoch whose checkpoint is evaluated here, that of the lowest validation loss. Shaded: the "
                "backbone learns too. A variance that falls towards 0 is a collapse.",
                pictures=[
                    draw(
                        "learning-curves.png",
                        figures.learning_curves(found),
                        alt=f"Losses, embedding variance and latent usage over {len(found.epochs)} epochs.",
                        caption=f"{count(len(found.epochs), 'epoch')}, {duration(found.seconds)} without embedding",
                    )
                ],
            )
        )
    if _test_area(found) is not None:
        counts = found.counts()
        says = f"{counts['anomaly']} anomalous clips against {counts['test']} normal test clips"
        sections.append(
            _Section(
                "curves",
                "Curves",
                pictures=[
                    draw("roc.png", figures.roc(found), alt=f"ROC curves of {says}.", title="ROC", caption=says),
                    draw(
                        "precision-recall.png",
                        figures.precision_recall(found),
                        alt=f"Precision-recall curves of {says}.",
                        title="Precision and recall",
                        caption=says,
                    ),
                ],
                paired=True,
            )
        )
    html = render(
        "runs.html.j2",
        kicker="a training run",
        title=found.name,
        notice=_NOTICE if found.untrained else "",
        summary=_summary(found),
        tiles=_tiles(found),
        sections=sections,
        failures=found.failures,
        settings={"asked for": found.settings},
        beside="clips.csv, every clip with its error and distances; evaluation.json",
        most_rows=_MOST_ROWS,
    )
    return Page(html, made, _PREFIXES)


def runs_page(runs: Sequence[RunEvaluation]) -> Page:
    """The page of several runs side by side. Needs matplotlib and Jinja2."""
    png = figures.side_by_side(runs)
    untrained = [found.name for found in runs if found.untrained]
    says = "Box plots of the error by split, a panel for each run, on its own scale; dashed: its calibrated threshold"
    sections = [
        _Section("runs", "Configurations", tables=[run_table(runs)]),
        _Section(
            "errors",
            "Reconstruction errors",
            "Runs with a frozen backbone first. Errors of different backbones are in different units: compare how far "
            "the splits lie apart, not the numbers.",
            pictures=[picture_of(png, alt=f"{says}. {', '.join(found.name for found in runs)}.", caption=says)],
        ),
        _Section("verdicts", "Which clips are called anomalous", _VERDICTS, [threshold_table(runs), area_table(runs)]),
    ]
    summary = [f"{count(len(runs), 'run')}, each by its best checkpoint, on the clips of its own manifest."]
    if not same_clips(runs):
        summary.append("The runs were NOT tested on the same clips: their figures do not compare.")
    html = render(
        "runs.html.j2",
        kicker="training runs side by side",
        title=", ".join(found.name for found in runs),
        notice=f"{', '.join(untrained)}: {_NOTICE[0].lower()}{_NOTICE[1:]}" if untrained else "",
        summary=summary,
        tiles=[],
        sections=sections,
        failures=[failure for found in runs for failure in found.failures],
        settings={found.name: found.settings for found in runs},
        beside="runs.csv and thresholds.csv, the tables",
        most_rows=_MOST_ROWS,
    )
    return Page(html, {"runs-errors.png": png}, ("runs-",))


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
            *(figures.WAYS[a.by], a.split, f"{a.anomalous:,}", f"{a.normal:,}", share(a.auroc), found.backbone),
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
        figures.WAYS[row.by],
        f"{row.value:.4f}",
        *(NONE if value is None else f"{value:.2f}" for value in accuracies),
        row.chosen,
    ]


def _summary(found: RunEvaluation) -> list[str]:
    counts = found.counts()
    parts = [f"{counts[split]} {split}" for split in SPLITS]
    said = [
        f"{found.backbone}: the best checkpoint, of epoch {found.best_epoch}, scored "
        f"{count(len(found.clips), 'clip')}: {', '.join(parts)}."
    ]
    row = next(r for r in found.thresholds if (r.by, r.kind) == ("error", "calibrated"))
    parts = []
    for split, what in (("anomaly", "anomalous clips"), ("test", "normal test clips")):
        if (right := row.accuracy[split]) is not None:
            verb = "are called anomalous" if split == "anomaly" else "are called normal"
            parts.append(f"{round(right * counts[split])} of {counts[split]} {what} {verb}")
    if parts:
        said.append(f"At the threshold {number(row.value)} ({row.chosen}) {' and '.join(parts)}.")
    if not counts["anomaly"]:
        said.append("The manifest has no anomalous clips, so nothing here says what would be found.")
    if found.failures:
        said.append(f"{count(len(found.failures), 'clip')} could not be read; see “Inputs not used”.")
    return said


def _tiles(found: RunEvaluation) -> list[tuple[str, str, str]]:
    tiles = []
    counts = found.counts()
    detail = f"{counts['anomaly']} anomalous, {counts['test']} normal test clips"
    for area in found.areas:
        if area.split == "test" and area.auroc is not None:
            tiles.append((share(area.auroc), f"AUROC by {figures.WAYS[area.by]}", detail))
    return tiles


def _test_area(found: RunEvaluation) -> float | None:
    return next((a.auroc for a in found.areas if (a.by, a.split) == ("error", "test")), None)


def _medians(found: RunEvaluation) -> str:
    parts = []
    for split in SPLITS:
        errors = found.scores("error", split)
        if len(errors):
            parts.append(f"{split} {number(float(np.median(errors)))}")
    return f"medians: {', '.join(parts)}"
