"""The figures of an evaluated training run, as PNG bytes. A run with an untrained backbone says so in each of them.

Names of classes stand in the figures: they are names of folders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from oddwatch.report.figures import (
    ALARM,
    GRID,
    GROUND,
    SCORE,
    USUAL,
    new_figure,
    png_of,
    thin,
    unit_square,
)
from oddwatch.runs import SPLITS, UNTRAINED, Plane, RunEvaluation
from oddwatch.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SPLIT_COLORS = dict(zip(SPLITS, (SCORE, USUAL, GROUND, ALARM), strict=True))
WAYS = {
    "error": "reconstruction error",
    "embedding": "distance to class centroids, embeddings",
    "latent": "distance to class centroids, latents",
}
_WAY_COLORS = {"error": SCORE, "embedding": "#009E73", "latent": "#CC79A7"}
_ODD_COLORS = (ALARM, "#E69F00", "#CC79A7", "#000000")
_INK = "#333c46"
_DASHES = (0, (4, 3))
_LOG_FROM = 30.0
_CURVE_LOG_FROM = 3.0
_ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False, "fontsize": 8}
"""Of a legend that must not cover curves."""
_ACROSS = 4


def errors_by_split(found: RunEvaluation) -> bytes:
    """Box plots of the error of the clips of each split; dashed: the calibrated threshold."""
    figure, (axes,) = new_figure(7.2, 2.6)
    rows = [(split, found.scores("error", split), SPLIT_COLORS[split]) for split in SPLITS]
    _boxes(axes, [row for row in rows if len(row[1])], found.calibrated)
    axes.set_xlabel(WAYS["error"], fontsize=8.5, color=GROUND)
    return _finished(figure, found)


def errors_by_class(found: RunEvaluation) -> bytes:
    """The same for each class and split, the anomalous classes last."""
    rows = []
    for action in (*_normal(found), *_anomalous(found)):
        for split in SPLITS:
            errors = [c.error for c in found.clips if (c.action, c.split) == (action, split)]
            if errors:
                rows.append((f"{action}, {split}", np.array(errors), SPLIT_COLORS[split]))
    figure, (axes,) = new_figure(7.2, 0.9 + 0.23 * len(rows))
    _boxes(axes, rows, found.calibrated)
    axes.set_xlabel(WAYS["error"], fontsize=8.5, color=GROUND)
    return _finished(figure, found)


def centroid_distances(found: RunEvaluation, space: str) -> bytes:
    """For each normal class: how far from its centroid its own test clips are, and the clips of anomalous classes."""
    odd = _anomalous(found)
    colors = {action: _ODD_COLORS[place % len(_ODD_COLORS)] for place, action in enumerate(odd)}
    rows: list[tuple[str, FloatArray, str]] = []
    groups = []
    for place, action in enumerate(found.classes):
        first = len(rows)
        for other, color in ((action, GROUND), *colors.items()):
            split = "test" if other == action else "anomaly"
            far = [c.distances[space][place] for c in found.clips if (c.action, c.split) == (other, split)]
            if far:
                rows.append((f"{other}, test" if other == action else other, np.array(far), color))
        groups.append((action, first, len(rows)))
    figure, (axes,) = new_figure(7.2, 0.9 + 0.23 * len(rows))
    _boxes(axes, rows, None)
    for action, first, after in groups:
        if first:
            axes.axhline(first - 0.5, color=GRID, linewidth=1.0)
        axes.text(
            1.01,
            (first + after - 1) / 2,
            f"to {_plain(action)}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=_INK,
        )
    axes.set_xlabel(f"distance to the centroid of a class, {space} space", fontsize=8.5, color=GROUND)
    return _finished(figure, found)


def plane(found: RunEvaluation, drawn: Plane) -> bytes:
    """t-SNE of a space: a colour for each normal class, crosses for anomalous clips."""
    from matplotlib import colormaps

    figure, (axes,) = new_figure(7.2, 5.2)
    normal = _normal(found)
    palette = colormaps["tab10" if len(normal) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    clips = [found.clips[i] for i in drawn.clips]
    markers = {"train": "o", "validation": "s", "test": "^"}
    names = []
    for place, action in enumerate(normal):
        color = palette[place % len(palette)]
        for split, marker in markers.items():
            here = np.array([(c.action, c.split) == (action, split) for c in clips], dtype=bool)
            x, y = drawn.places[here].T
            axes.scatter(x, y, s=22, marker=marker, color=color, edgecolors="white", linewidths=0.4)
        names.append(axes.scatter([], [], s=22, color=color, label=_plain(action)))
    for place, action in enumerate(_anomalous(found)):
        here = np.array([c.action == action and c.split == "anomaly" for c in clips], dtype=bool)
        x, y = drawn.places[here].T
        label = f"{_plain(action)} (anomalous)"
        names.append(axes.scatter(x, y, s=30, marker="x+1*"[place % 4], color="#000000", linewidths=0.9, label=label))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    figure.legend(handles=names, loc="outside right center", fontsize=8, frameon=False)
    splits = [axes.scatter([], [], s=22, marker=m, color=GROUND, label=split) for split, m in markers.items()]
    axes.legend(handles=splits, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=8, frameon=False)
    return _finished(figure, found)


def learning_curves(found: RunEvaluation) -> bytes:
    """Losses, the variance of the validation embeddings and the dimensions that their latents spread over, by epoch.
    Dotted: the epoch whose checkpoint was evaluated; shaded: the backbone learns.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = np.array([int(row["epoch"]) for row in found.epochs])
    figure, panels = new_figure(7.2, 5.4, rows=3)
    for axes, names, label in zip(
        panels,
        (("train_loss", "validation_loss"), ("embedding_variance",), ("latent_usage",)),
        ("loss", "embedding variance", "latent usage"),
        strict=True,
    ):
        drawn = []
        for name, color in zip(names, (SCORE, ALARM), strict=False):
            values = np.array([float(row[name] or "nan") for row in found.epochs])
            axes.plot(
                epochs, values, color=color, linewidth=1.6, marker=".", markersize=4, label=name.replace("_", " ")
            )
            drawn.append(values)
        known = np.concatenate(drawn)
        known = known[np.isfinite(known)]
        if label == "loss" and len(known) and known.max() > _CURVE_LOG_FROM * known.min() > 0:
            axes.set_yscale("log")
            _plain_numbers(axes.yaxis)
        learns = epochs[np.array([int(row["tensors_learning"]) > 0 for row in found.epochs])]
        if len(learns):
            axes.axvspan(learns[0] - 0.5, learns[-1] + 0.5, color=USUAL, alpha=0.15, linewidth=0)
        if found.best_epoch is not None:
            axes.axvline(found.best_epoch, color=GROUND, linewidth=1.1, linestyle=":")
        axes.set_ylabel(label, fontsize=8.5, color=GROUND)
        axes.grid(color=GRID, linewidth=0.7)
        axes.set_xlim(-0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=8, frameon=False)
    panels[-1].set_xlabel("epoch", fontsize=8.5, color=GROUND)
    return _finished(figure, found)


def roc(found: RunEvaluation) -> bytes:
    """ROC of anomalous clips against test clips, by error and by distance. Needs clips of both."""
    figure, (axes,) = new_figure(4.4, 4.9)
    axes.plot([0, 1], [0, 1], color=GROUND, linewidth=0.9, linestyle=_DASHES, label="chance")
    for by, scores, labels in _tested(found):
        false_rate, true_rate, _ = roc_curve(labels, scores)
        label = f"{_short(by)}, AUC {roc_auc_score(labels, scores):.3f}"
        axes.plot(*thin(false_rate, true_rate), color=_WAY_COLORS[by], linewidth=1.8, label=label)
    axes.legend(**_ABOVE)
    unit_square(axes, "share of test clips called anomalous", "share of anomalous clips found")
    return _finished(figure, found)


def precision_recall(found: RunEvaluation) -> bytes:
    """Precision over recall of the same."""
    figure, (axes,) = new_figure(4.4, 4.9)
    for place, (by, scores, labels) in enumerate(_tested(found)):
        if not place:
            axes.plot([0, 1], [labels.mean()] * 2, color=GROUND, linewidth=0.9, linestyle=_DASHES, label="chance")
        precision, recall, _ = precision_recall_curve(labels, scores)
        label = f"{_short(by)}, average precision {average_precision_score(labels, scores):.3f}"
        axes.plot(*thin(recall, precision), color=_WAY_COLORS[by], linewidth=1.8, label=label)
    axes.legend(**_ABOVE)
    unit_square(axes, "share of anomalous clips found (recall)", "share of alarms that are right (precision)")
    return _finished(figure, found)


def side_by_side(runs: Sequence[RunEvaluation]) -> bytes:
    """A panel for each run: box plots of the error by split, each on its own scale, with its calibrated threshold;
    those with a frozen backbone first. Of more than three runs, fine-tuned ones stand below the frozen ones of the same
    backbone.
    """
    log = any(_wide(np.array([clip.error for clip in found.clips])) for found in runs)
    rows = _in_rows(runs)
    across = max(map(len, rows))
    figure, panels = new_figure(2.9 * across + 0.4, 2.7 * len(rows), rows=len(rows), columns=across)
    grid = [found for row in rows for found in (*row, *[None] * (across - len(row)))]
    for place, (axes, found) in enumerate(zip(panels, grid, strict=True)):
        if found is None:
            axes.remove()
            continue
        boxes = [(split, found.scores("error", split), SPLIT_COLORS[split]) for split in SPLITS]
        boxes = [box for box in boxes if len(box[1])]
        _boxes(axes, boxes, found.calibrated, log=log, upright=True)
        second = UNTRAINED if found.untrained else _plain(found.backbone)
        title = _plain(found.name) if found.name == found.backbone else f"{_plain(found.name)}\n{second}"
        axes.set_title(title, fontsize=8.5, color=ALARM if found.untrained else _INK)
        if place % across == 0 or grid[place - 1] is None:
            axes.set_ylabel(WAYS["error"], fontsize=8.5, color=GROUND)
    return png_of(figure)


def _in_rows(runs: Sequence[RunEvaluation]) -> list[list[RunEvaluation | None]]:
    """Where the panels of `side_by_side` stand: a column for each backbone, or for each further run of one."""
    frozen = [found for found in runs if found.settings.get("fine_tune", {}).get("tensors", "never") == "never"]
    tuned = [found for found in runs if found not in frozen]
    if len(runs) < _ACROSS:
        return [[*frozen, *tuned]]
    slots: list[dict[tuple[str, int], RunEvaluation]] = [{}, {}]
    for slot, group in zip(slots, (frozen, tuned), strict=True):
        often: Counter[str] = Counter()
        for found in group:
            slot[found.backbone, often[found.backbone]] = found
            often[found.backbone] += 1
    columns = sorted({**slots[0], **slots[1]}, key=lambda key: sum(key in slot for slot in slots), reverse=True)
    rows = []
    for first in range(0, len(columns), _ACROSS):
        some = columns[first : first + _ACROSS]
        rows += [[slot.get(key) for key in some] for slot in slots if any(key in slot for key in some)]
    return rows


def _boxes(
    axes: Axes,
    rows: Sequence[tuple[str, FloatArray, str]],
    threshold: float | None,
    *,
    log: bool | None = None,
    upright: bool = False,
) -> None:
    """A box and all points of each row (name, values, colour), the first at the top or, upright, at the left. log:
    whether the axis is logarithmic; None: where values dwarf their median.
    """
    log = _wide(np.concatenate([values for _, values, _ in rows])) if log is None else log
    rng = np.random.default_rng(0)  # where a point lies across its box says nothing
    options: dict[str, Any] = {
        "orientation": "vertical" if upright else "horizontal",
        "widths": 0.6,
        "showfliers": False,
        "patch_artist": True,
        "medianprops": {"color": _INK, "linewidth": 1.4},
        "whiskerprops": {"color": _INK, "linewidth": 0.8},
        "capprops": {"color": _INK, "linewidth": 0.8},
    }
    made = axes.boxplot([values for _, values, _ in rows], positions=range(len(rows)), **options)
    for box, (_, _, color) in zip(made["boxes"], rows, strict=True):
        box.set(facecolor=color, alpha=0.45, edgecolor=color, linewidth=0.9)
    for place, (_, values, color) in enumerate(rows):
        beside = place + rng.uniform(-0.22, 0.22, len(values))
        x, y = (beside, values) if upright else (values, beside)
        axes.scatter(x, y, s=5, color=color, alpha=0.7, linewidths=0, zorder=3)
    names = [f"{_plain(name)} ({len(values)})" for name, values, _ in rows]
    line: dict[str, Any] = {"color": _INK, "linewidth": 1.0, "linestyle": _DASHES}
    if upright:
        names = [name.replace(" (", "\n(") for name in names]
        axes.set_xticks(range(len(rows)), names, fontsize=7.5)
        if threshold is not None:
            axes.axhline(threshold, **line)
        if log:
            axes.set_yscale("log")
            _plain_numbers(axes.yaxis)
        axes.grid(axis="y", color=GRID, linewidth=0.7)
    else:
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        if threshold is not None:
            axes.axvline(threshold, **line)
        if log:
            axes.set_xscale("log")
            _plain_numbers(axes.xaxis)
        axes.grid(axis="x", color=GRID, linewidth=0.7)


def _plain_numbers(axis: Axis) -> None:
    """200 instead of 2x10^2 on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.10g}" if value < 1e6 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _wide(values: FloatArray) -> bool:
    """Whether they are above 0 and the largest dwarfs their median."""
    return bool(values.min() > 0 and values.max() > _LOG_FROM * np.median(values))


def _tested(found: RunEvaluation) -> list[tuple[str, FloatArray, Any]]:
    """(by, scores, labels) of test and anomalous clips."""
    tested = []
    for by in ("error", *found.spaces):
        normal, odd = found.scores(by, "test"), found.scores(by, "anomaly")
        labels = np.r_[np.zeros(len(normal), bool), np.ones(len(odd), bool)]
        tested.append((by, np.r_[normal, odd], labels))
    return tested


def _normal(found: RunEvaluation) -> list[str]:
    return sorted({clip.action for clip in found.clips if clip.split != "anomaly"})


def _anomalous(found: RunEvaluation) -> list[str]:
    return list(dict.fromkeys(clip.action for clip in found.clips if clip.split == "anomaly"))


def _short(by: str) -> str:
    return "error" if by == "error" else f"distance, {by}"


def _plain(name: str) -> str:
    """Without what matplotlib would take for mathematics."""
    return name.replace("$", r"\$")


def _finished(figure: Figure, found: RunEvaluation) -> bytes:
    if found.untrained:
        figure.suptitle(UNTRAINED, fontsize=8, color=ALARM, x=0.99, ha="right")
    return png_of(figure)
