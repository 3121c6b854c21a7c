"""The pages of training runs: one evaluated run, or several side by side. Writes no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from oddwatch.report import run_figures as figures
from oddwatch.report.html import Picture, picture_of, render
from oddwatch.report.page import Page
from oddwatch.report.run_tables import Table, area_table, run_table, same_clips, threshold_table
from oddwatch.report.wording import count, duration, number, share
from oddwatch.runs import SPLITS, RunEvaluation

_PREFIXES = ("error-by", "centroid-distances", "tsne", "learning", "roc", "precision-recall")
_MOST_ROWS = 60
_VERDICTS = (
    "A clip is called anomalous when its reconstruction error, or its distance to the nearest class centroid and so to "
    "all of them, reaches the threshold. Centroids are means of the training clips. Validation clips chose the "
    "checkpoint and calibrate the thresholds. Rows in hindsight looked at the anomalous clips: nobody who has none "
    "could have chosen them."
)
_NOTICE = "Untrained backbone: its weights are random. This shows that things run, and says nothing about anomalies."


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
    sections = _Sections(found)
    html = render(
        "runs.html.j2",
        kicker="a training run",
        title=found.name,
        notice=_NOTICE if found.untrained else "",
        summary=_summary(found),
        tiles=_tiles(found),
        sections=sections.all(),
        failures=found.failures,
        settings={"asked for": found.settings},
        beside="clips.csv, every clip with its error and distances; evaluation.json",
        most_rows=_MOST_ROWS,
    )
    return Page(html, sections.figures, _PREFIXES)


class _Sections:
    """Those of one run that it has something for, and on the way the figures as files."""

    def __init__(self, found: RunEvaluation) -> None:
        self._found = found
        self.figures: dict[str, bytes] = {}

    def all(self) -> list[_Section]:
        """In the order of the page."""
        found, counts = self._found, self._found.counts()
        tables = [threshold_table([found]), area_table([found])]
        sections = [_Section("verdicts", "Which clips are called anomalous", _VERDICTS, tables), self._errors()]
        if found.spaces and counts["anomaly"]:
            sections.append(self._centroids())
        if found.planes:
            sections.append(self._planes())
        if found.epochs:
            sections.append(self._learning())
        if counts["anomaly"] and counts["test"]:
            sections.append(self._curves())
        return sections

    def _errors(self) -> _Section:
        found = self._found
        medians = _medians(found)
        by_split = self._draw(
            "error-by-split.png",
            figures.errors_by_split(found),
            alt=f"Box plots of the error by split. {medians}",
            title="By split",
            caption=medians,
        )
        by_class = self._draw(
            "error-by-class.png",
            figures.errors_by_class(found),
            alt="Box plots of the error by class and split; the anomalous classes are the last.",
            title="By class",
            caption="the anomalous classes last",
        )
        lead = (
            "Every point is a clip; boxes are quartiles, lines reach at most one and a half boxes further. Dashed: the "
            "threshold calibrated on validation clips. In brackets: how many clips."
        )
        return _Section("errors", "Reconstruction errors", lead, pictures=[by_split, by_class])

    def _centroids(self) -> _Section:
        pictures = [
            self._draw(
                f"centroid-distances-{space}.png",
                figures.centroid_distances(self._found, space),
                alt=f"Box plots of the distances to each class centroid in {space} space.",
                title=f"{space.capitalize()} space",
                caption="distances of test clips to the centroid of their class, and of anomalous clips to it",
            )
            for space in self._found.spaces
        ]
        lead = (
            "For each normal class, how far its own test clips are from its centroid and how far the clips of each "
            "anomalous class are. A class that stands out lies to the right of the grey boxes in every group."
        )
        return _Section("centroids", "Distances to class centroids", lead, pictures=pictures)

    def _planes(self) -> _Section:
        found = self._found
        pictures = []
        for plane in found.planes:
            shown = len(plane.clips)
            drawn_from = "" if shown == len(found.clips) else f", drawn from {len(found.clips):,}"
            picture = self._draw(
                f"tsne-{plane.space}.png",
                figures.plane(found, plane),
                alt=f"t-SNE of {shown} {plane.space}s, coloured by class.",
                title=f"{plane.space.capitalize()}s",
                caption=count(shown, "clip") + drawn_from,
            )
            pictures.append(picture)
        lead = "Two dimensions that keep neighbours together; distances between groups mean little. Seeded."
        return _Section("planes", "t-SNE", lead, pictures=pictures)

    def _learning(self) -> _Section:
        found = self._found
        picture = self._draw(
            "learning-curves.png",
            figures.learning_curves(found),
            alt=f"Losses, embedding variance and latent usage over {len(found.epochs)} epochs.",
            caption=f"{count(len(found.epochs), 'epoch')}, {duration(found.seconds)} without embedding",
        )
        lead = (
            "Dotted: the epoch whose checkpoint is evaluated here, that of the lowest validation loss. Shaded: the "
            "backbone learns too. A variance that falls towards 0 is a collapse."
        )
        return _Section("learning", "Learning curves", lead, pictures=[picture])

    def _curves(self) -> _Section:
        found, counts = self._found, self._found.counts()
        says = f"{counts['anomaly']} anomalous clips against {counts['test']} normal test clips"
        pictures = [
            self._draw(name, png, alt=f"{title} of {says}.", title=title, caption=says)
            for name, title, png in (
                ("roc.png", "ROC", figures.roc(found)),
                ("precision-recall.png", "Precision and recall", figures.precision_recall(found)),
            )
        ]
        return _Section("curves", "Curves", pictures=pictures, paired=True)

    def _draw(self, name: str, png: bytes, *, alt: str, title: str = "", caption: str = "") -> Picture:
        self.figures[name] = png
        return picture_of(png, alt=alt, title=title, caption=caption)


def runs_page(runs: Sequence[RunEvaluation], *, first: Sequence[Table] = ()) -> Page:
    """The page of several runs side by side. first: tables that come before all others. Needs matplotlib and Jinja2."""
    png = figures.side_by_side(runs)
    untrained = [found.name for found in runs if found.untrained]
    says = "Box plots of the error by split, a panel for each run, on its own scale; dashed: its calibrated threshold"
    sections = [
        _Section("runs", "Configurations", tables=[*first, run_table(runs)]),
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


def _summary(found: RunEvaluation) -> list[str]:
    counts = found.counts()
    parts = [f"{counts[split]} {split}" for split in SPLITS]
    which = "the checkpoint" if found.best_epoch is None else f"the best checkpoint, of epoch {found.best_epoch},"
    said = [f"{found.backbone}: {which} scored {count(len(found.clips), 'clip')}: {', '.join(parts)}."]
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


def _medians(found: RunEvaluation) -> str:
    parts = []
    for split in SPLITS:
        errors = found.scores("error", split)
        if len(errors):
            parts.append(f"{split} {number(float(np.median(errors)))}")
    return f"medians: {', '.join(parts)}"
