"""The figures of a report, as PNG bytes. Draws no text that a user gave: captions belong to the page.

Matplotlib's object interface only: no global state, so that it is safe in threads and nothing stays behind.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from oddwatch.report.wording import clock, number
from oddwatch.types import Event, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind people can tell apart.
SCORE = "#0072B2"
ALARM = "#D55E00"
TRUTH = "#F0E442"
GROUND = "#5b6673"
GRID = "#e6eaee"
USUAL = "#56B4E9"

_DPI = 200
_MOST_POINTS = 1500
_TINY = 1e-30  # what is smaller counts as 0
_LOG_FROM = 12.0
"""How far above the threshold scores may lie before their axis becomes logarithmic."""


@dataclass(frozen=True, eq=False)
class Scale:
    """The score axis that all timelines share. low is above 0 when it is logarithmic."""

    low: float
    high: float
    is_log: bool


def score_scale(tracks: Sequence[FloatArray], threshold: float) -> Scale:
    """One axis for all videos, so that they can be compared; logarithmic when scores dwarf the threshold."""
    highest = max([threshold, *(float(s.max()) for s in tracks if len(s))])
    if highest < _TINY:
        return Scale(0.0, 1.0, False)
    if highest <= _LOG_FROM * threshold or threshold < highest * 1e-9:
        return Scale(0.0, highest * 1.12, False)
    return Scale(threshold / 30, highest * (highest / threshold) ** 0.15, True)


def timeline(
    seconds: FloatArray,
    scores: FloatArray,
    *,
    truth: Sequence[tuple[float, float]],
    events: Sequence[tuple[Event, bool]],
    threshold: float,
    scale: Scale,
) -> bytes:
    """Scores of one video over its time. truth: (start, end) of what happened; events: with whether to draw it hollow
    (a false alarm).
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure, (axes,) = new_figure(5.4, 1.9)
    for start, end in truth:
        axes.axvspan(start, end, color=TRUTH, alpha=0.45, linewidth=0)
    axes.axhline(threshold, color=GROUND, linewidth=1.0, linestyle=(0, (4, 3)))
    x, y = envelope(seconds, scores)
    axes.plot(x, np.clip(y, scale.low, None), color=SCORE, linewidth=1.1, solid_joinstyle="round")
    top = axes.get_xaxis_transform()
    for event, is_false in events:
        span = [event.start_seconds, max(event.end_seconds, event.start_seconds + 0.004 * _span(seconds))]
        if not is_false:
            axes.plot(span, [0.955, 0.955], color=ALARM, linewidth=5, solid_capstyle="butt", transform=top)
        else:
            for level in (0.985, 0.925):
                axes.plot(span, [level, level], color=ALARM, linewidth=1.1, solid_capstyle="butt", transform=top)
            for side in span:
                axes.plot([side, side], [0.925, 0.985], color=ALARM, linewidth=1.1, transform=top)
    if scale.is_log:
        axes.set_yscale("log")
    axes.set_ylim(scale.low, scale.high)
    begin = float(seconds[0]) if len(seconds) else 0.0
    axes.set_xlim(begin, begin + (_span(seconds) or 1.0))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value).removesuffix(".0")))
    if not scale.is_log:
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("score", fontsize=8.5, color=GROUND)
    return png_of(figure)


def envelope(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same curve in at most 1,500 points: the lowest and the highest of each stretch, so that no peak is lost."""
    if len(x) <= _MOST_POINTS:
        return x, y
    edges = np.linspace(0, len(x), _MOST_POINTS // 2, endpoint=False).astype(int)
    pairs = np.stack([np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)], axis=1)
    return np.repeat(x[edges], 2), pairs.ravel()


def roc(scores: FloatArray, labels: NDArray[np.bool_], threshold: float) -> bytes:
    """ROC curve of all frames together, with the point of the alert threshold. labels holds both classes."""
    false_rate, true_rate, _ = roc_curve(labels, scores)
    figure, (axes,) = new_figure(4.0, 3.7)
    axes.plot([0, 1], [0, 1], color=GROUND, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.plot(*thin(false_rate, true_rate), color=SCORE, linewidth=1.8)
    above = scores >= threshold
    axes.plot(above[~labels].mean(), above[labels].mean(), **_MARK)
    axes.legend(["chance", f"all frames, AUC {roc_auc_score(labels, scores):.3f}", "at the alert threshold"], **LEGEND)
    unit_square(axes, "share of usual frames that alarm (false positives)", "share of unusual frames that alarm")
    return png_of(figure)


def rocs(curves: Sequence[tuple[str, FloatArray]], labels: NDArray[np.bool_]) -> bytes:
    """ROC curves of several scorers, each (name, scores (N,)), the first on top. labels hold both classes."""
    from matplotlib import colormaps

    figure, (axes,) = new_figure(5.6, 5.2)
    axes.plot([0, 1], [0, 1], color=GROUND, linewidth=0.9, linestyle=(0, (4, 3)), label="chance")
    others = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for place, (name, scores) in enumerate(curves):
        false_rate, true_rate, _ = roc_curve(labels, scores)
        color, width = (ALARM, 2.2) if place == 0 else (others[(place - 1) % len(others)], 1.0)
        label = f"{name}, AUC {roc_auc_score(labels, scores):.3f}"
        axes.plot(*thin(false_rate, true_rate), color=color, linewidth=width, zorder=3 - bool(place), label=label)
    axes.legend(**LEGEND)
    unit_square(axes, "share of usual frames that alarm (false positives)", "share of unusual frames that alarm")
    return png_of(figure)


def precision_recall(scores: FloatArray, labels: NDArray[np.bool_], threshold: float) -> bytes:
    """Precision over recall of all frames together, as `roc`."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    figure, (axes,) = new_figure(4.0, 3.7)
    axes.plot([0, 1], [labels.mean()] * 2, color=GROUND, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.plot(*thin(recall, precision), color=SCORE, linewidth=1.8)
    above = scores >= threshold
    names = ["chance", f"all frames, average precision {average_precision_score(labels, scores):.3f}"]
    if above.any():
        axes.plot(above[labels].mean(), labels[above].mean(), **_MARK)
        names.append("at the alert threshold")
    axes.legend(names, **LEGEND)
    unit_square(axes, "share of unusual frames that alarm (recall)", "share of alarms that are right (precision)")
    return png_of(figure)


@dataclass(frozen=True, eq=False)
class Group:
    """Scores (n,) that belong together, at least one."""

    name: str
    scores: FloatArray
    color: str


def distribution(groups: Sequence[Group], threshold: float) -> bytes:
    """How scores are spread in each group, one below the other on one axis."""
    everything = np.concatenate([group.scores for group in groups])
    high = max(float(everything.max()), threshold) * 1.05
    high = high if high >= _TINY else 1.0
    low = _lowest_on_log_axis(everything, high)
    bins = np.linspace(0, high, 61) if low is None else np.geomspace(low, high, 61)
    figure, rows = new_figure(8.6, 0.5 + 0.95 * len(groups), rows=len(groups))
    for axes, group in zip(rows, groups, strict=True):
        scores = group.scores
        counts, _ = np.histogram(np.clip(scores, bins[0], bins[-1]), bins)
        axes.stairs(counts / len(scores), bins, fill=True, color=group.color)
        axes.axvline(threshold, color=GROUND, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(0, max(counts.max() / len(scores) * 1.08, 1e-9))
        axes.set_xlim(bins[0], bins[-1])
        if low is not None:
            axes.set_xscale("log")
        above = float((scores >= threshold).mean())
        says = (
            f"{group.name}  (n = {len(scores):,}, median {number(float(np.median(scores)))}, {_percent(above)} alarm)"
        )
        axes.set_title(says, loc="left", fontsize=8.5, color="#333c46", pad=3)
    rows[-1].set_xlabel(
        "score" if low is None else "score (logarithmic; lower ones are counted at the left end)",
        fontsize=8.5,
        color=GROUND,
    )
    for axes in rows[:-1]:
        axes.tick_params(labelbottom=False)
    return png_of(figure)


def stacked_bars(names: Sequence[str], parts: Sequence[str], counts: Sequence[Sequence[int]]) -> bytes:
    """A bar for each name, cut into parts: counts[name][part]. At most four parts. Names are folders or identifiers."""
    figure, (axes,) = new_figure(7.2, 0.9 + 0.32 * len(names))
    left = np.zeros(len(names))
    for part, color, values in zip(parts, (SCORE, USUAL, GROUND, ALARM), zip(*counts, strict=True), strict=False):
        width = np.asarray(values, dtype=float)
        axes.barh(range(len(names)), width, left=left, color=color, label=part, height=0.7)
        for row, n in enumerate(values):
            if n:
                middle = left[row] + n / 2
                axes.text(middle, row, str(n), ha="center", va="center", fontsize=7.5, color="white")
        left += width
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("clips", fontsize=8.5, color=GROUND)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 + 0.35 / (0.32 * len(names) + 0.3)),
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    return png_of(figure)


def _lowest_on_log_axis(scores: FloatArray, high: float) -> float | None:
    """Where a logarithmic axis should begin; None when a linear one shows the scores well."""
    positive = scores[scores >= _TINY]
    if not len(positive) or high < 30 * float(np.median(positive)):
        return None
    return max(float(np.quantile(positive, 0.005)), high * 1e-9)


def _percent(value: float) -> str:
    return f"{value:.0%}" if value in (0.0, 1.0) or 0.1 <= value <= 0.9 else f"{value:.2%}"


_MARK: dict[str, Any] = {
    "marker": "o",
    "color": ALARM,
    "markersize": 7,
    "markeredgecolor": "white",
    "linestyle": "none",
}
LEGEND: dict[str, Any] = {"loc": "lower right", "frameon": True, "framealpha": 0.9, "edgecolor": "none", "fontsize": 8}


def _span(seconds: FloatArray) -> float:
    return float(seconds[-1] - seconds[0]) if len(seconds) else 0.0


def thin(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """At most 6,000 points of a curve."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), 4 * _MOST_POINTS)).astype(int))
    return x[keep], y[keep]


def unit_square(axes: Axes, x_label: str, y_label: str) -> None:
    """Both axes from 0 to 1, equally long."""
    axes.set_xlim(-0.015, 1.015)
    axes.set_ylim(-0.015, 1.015)
    axes.set_aspect("equal")
    if figure := axes.get_figure(root=True):
        figure.set_layout_engine("compressed")  # the constrained one cuts off the labels of a square
    axes.set_xlabel(x_label, fontsize=8.5, color=GROUND)
    axes.set_ylabel(y_label, fontsize=8.5, color=GROUND)
    axes.grid(color=GRID, linewidth=0.7)


def new_figure(
    width_inches: float, height_inches: float, *, rows: int = 1, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure with axes in the style of the report, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), dpi=_DPI, layout="constrained", facecolor="white")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color("#9aa5b1")
        one.tick_params(labelsize=8, colors="#9aa5b1", labelcolor="#333c46", width=0.8, length=3, which="both")
        one.set_axisbelow(True)
    return figure, axes


def png_of(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
