"""`attributes`: faster, elsewhere, another way or longer than usual: what a guard would say, each by a density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from oddwatch.scorers.base import Arrays, Rows, Scorer, checked
from oddwatch.scorers.knn import coreset
from oddwatch.types import FloatArray

ATTRIBUTES = ("speed", "velocity", "direction", "place", "rest")
COLUMNS = ("speed", "right", "down", "moving", "edges_0", "edges_45", "edges_90", "edges_135", "stays", "y", "x")
"""The columns of the `motion` backbone's grid, with location."""

_BINS = 24  # of the occupancy maps, per frame height
_WIDTHS = 3  # their width, in frame heights
_BLUR_BINS = 1.2  # about half a person
_PARTS = 4  # contiguous parts of the usual video, each measured against the others
_EXTREME_SHARE = 0.0005  # of the held-out rows, whose mean is an attribute's 1
_FLOORS = np.array([3.0, 0.3, 0.7, 0.7, 0.8], dtype=np.float32)  # what an attribute is at least measured against
_CLEAR = 0.3  # moving share from which the velocity of a window is that of what moves in it
_LITTLE = 0.1  # added to a moving share before dividing by it
_WEIGHT = 1.5  # of what the others exceed 1 by
_WAYS = 8  # directions
_TRUSTED = 0.02  # of the mean occupancy, what a place must have seen before its own directions count
_NEVER = 1e-4  # occupancy, as a share of the most frequented place, that is as good as none
_SPEED, _RIGHT, _DOWN, _MOVING, _STAYS, _Y, _X = (
    COLUMNS.index(name) for name in ("speed", "right", "down", "moving", "stays", "y", "x")
)
_MEMORY_ROWS = 20_000


class AttributesScorer(Scorer):
    """How unusual is what moves or rests in a window: its speed, and what four other attributes exceed the usual by.

    - speed: standard deviations above what is usual there; the usual changes linearly over the picture (perspective).
    - velocity: distance of (velocity, place) to the nearest of `memory` usual ones: another way than usual there.
    - direction: log of how much more often things moved the most usual way there than this way.
    - place: moving share x -log(how often something moved there).
    - rest: share in which something new rests x -log(how often something rested there).

    Each is divided by the mean of the highest 0.05% of usual rows, measured on contiguous parts of time by densities of
    the other parts, and not by less than a floor; so 1 is unusual for a window. The score is the speed, which ranks all
    that moves, plus 1.5 times what each other attribute exceeds 1 by: below it they only tell usual from usual. memory:
    velocities remembered. place_weight: how much a frame height counts beside the usual velocity. In the spirit of
    Singh et al., EVAL, CVPR 2023. `attributes` gives them one by one.
    """

    name = "attributes"
    summary = "speed, velocity, direction, place and rest, each against what is usual there; for fixed cameras"
    paper = "in the spirit of Singh et al., EVAL: Explainable Video Anomaly Localization, CVPR 2023"
    columns: ClassVar[tuple[str, ...]] = COLUMNS

    def __init__(self, *, memory: int = 500, place_weight: float = 3.0, seed: int = 42) -> None:
        if memory < 1 or not place_weight >= 0:
            raise ValueError(f"memory is at least 1, place_weight at least 0, got {memory} and {place_weight}")
        self.options: dict[str, Any] = {"memory": memory, "place_weight": place_weight, "seed": seed}
        self._usual: _Usual | None = None

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        """See `Scorer.fit`. groups also say which rows are neighbours in time; without them the order of rows does."""
        rows = checked(x, columns=len(COLUMNS), at_least=2)
        order = np.arange(len(rows)) if groups is None else np.lexsort((groups[:, 1], groups[:, 0]))
        held_out = [
            _measure(self._fit(rows[np.setdiff1d(order, part)]), rows[part])
            for part in np.array_split(order, _PARTS)
            if 0 < len(part) < len(rows)
        ]
        measured = np.sort(np.concatenate(held_out), axis=0)
        extreme = measured[-max(round(_EXTREME_SHARE * len(measured)), 1) :].mean(axis=0, dtype=np.float32)
        self._scale = np.maximum(extreme, _FLOORS)
        self._usual = self._fit(rows)
        return self

    def attributes(self, x: FloatArray) -> Rows:
        """(n, 5) the attributes `ATTRIBUTES`, >= 0, each in units of its usual extreme."""
        if self._usual is None:
            raise ValueError("score before fit")
        return np.asarray(_measure(self._usual, checked(x, columns=len(COLUMNS))) / self._scale, dtype=np.float32)

    def score(self, x: FloatArray) -> FloatArray:
        found = self.attributes(x)
        return np.asarray(found[:, 0] + _WEIGHT * np.maximum(found[:, 1:] - 1, 0).sum(axis=1), dtype=np.float64)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._usual is None:
            raise ValueError("state before fit")
        arrays = {f.name: getattr(self._usual, f.name) for f in fields(self._usual)}
        return {**arrays, "scale": self._scale}, {}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._usual = _Usual(**{f.name: np.asarray(arrays[f.name], dtype=np.float32) for f in fields(_Usual)})
        self._scale = np.asarray(arrays["scale"], dtype=np.float32)
        return self

    def _fit(self, rows: Rows) -> _Usual:
        o = self.options
        place = np.stack([np.ones(len(rows), np.float32), rows[:, _Y], rows[:, _X]], axis=1)
        moves = rows[:, _MOVING] > _LITTLE
        if not moves.any():
            moves[:] = True
        trend = np.linalg.lstsq(place[moves], rows[moves, _SPEED], rcond=None)[0]
        spread = (rows[moves, _SPEED] - place[moves] @ trend).std()
        clear = rows[rows[:, _MOVING] > _CLEAR] if (rows[:, _MOVING] > _CLEAR).any() else rows[moves]
        pace = max(float(np.sqrt(np.square(_velocity(clear)).sum(axis=1).mean())), 1e-6)
        units = np.array([1 / pace, o["place_weight"]], dtype=np.float32)
        rng = np.random.default_rng(o["seed"])
        if len(clear) > _MEMORY_ROWS:
            clear = clear[np.sort(rng.choice(len(clear), _MEMORY_ROWS, replace=False))]
        points = _velocity_and_place(clear, units)
        return _Usual(
            trend=trend.astype(np.float32),
            spread=np.array([max(spread, 1e-6)], dtype=np.float32),
            units=units,
            memory=points[coreset(points, o["memory"], o["seed"])],
            ways=_ways(rows, pace),
            moved=_occupancy(rows, _MOVING),
            rested=_occupancy(rows, _STAYS),
        )


@dataclass(frozen=True)
class _Usual:
    """Densities of usual rows. trend (3,) and spread (1,): of the speed over (1, y, x). units (2,): of velocity and of
    place in memory (m, 4). ways (8, bins, 3 bins): share of each direction there as a share of the most usual. moved,
    rested: (bins, 3 bins) occupancy, 0..1, of the picture in a frame of 1 by 3 heights.
    """

    trend: Rows
    spread: Rows
    units: Rows
    memory: Rows
    ways: Rows
    moved: Rows
    rested: Rows

    @cached_property
    def tree(self) -> KDTree:
        """Of `memory`. In four dimensions it is several times as fast as a matrix of all distances."""
        return KDTree(self.memory)


def _measure(usual: _Usual, rows: Rows) -> Rows:
    """(n, 5) attributes before scaling, >= 0."""
    expected = usual.trend[0] + rows[:, _Y] * usual.trend[1] + rows[:, _X] * usual.trend[2]
    speed = np.maximum(rows[:, _SPEED] - expected, 0) / usual.spread[0]
    points = _velocity_and_place(rows, usual.units)
    distance = usual.tree.query(points)[0]
    velocity = distance * np.minimum(rows[:, _MOVING] / _CLEAR, 1)
    bins = _bins(rows)
    place = rows[:, _MOVING] * -np.log(np.maximum(usual.moved[bins], _NEVER))
    rest = rows[:, _STAYS] * -np.log(np.maximum(usual.rested[bins], _NEVER))
    direction = _purpose(rows, 1 / usual.units[0]) * -np.log(np.maximum(usual.ways[_heading(rows), *bins], _NEVER))
    return np.stack([speed, velocity, direction, place, rest], axis=1).astype(np.float32)


def _velocity(rows: Rows) -> Rows:
    """(n, 2) of what moves in the window, not diluted by what does not."""
    velocity: Rows = rows[:, [_RIGHT, _DOWN]] / (rows[:, [_MOVING]] + _LITTLE)
    return velocity


def _velocity_and_place(rows: Rows, units: Rows) -> Rows:
    # Across the picture people are everywhere; up and down it, lanes and perspective change within a person's height.
    return np.concatenate([_velocity(rows) * units[0], rows[:, [_Y]] * units[1], rows[:, [_X]] * units[1] / 2], axis=1)


def _heading(rows: Rows) -> NDArray[np.intp]:
    """(n,) which of 8 directions."""
    angle = np.arctan2(rows[:, _DOWN], rows[:, _RIGHT])
    return np.round(angle * _WAYS / (2 * np.pi)).astype(np.intp) % _WAYS


def _purpose(rows: Rows, pace: float) -> Rows:
    """(n,) 0..1: how clearly the window shows something that goes somewhere rather than moves on the spot."""
    speed = np.linalg.norm(_velocity(rows), axis=1)
    return np.asarray(np.minimum(rows[:, _MOVING] / _CLEAR, 1) * np.minimum(speed / (pace / 2), 1))


def _ways(rows: Rows, pace: float) -> Rows:
    """(8, bins, 3 bins) how often things went each way there, as a share of the most usual way there.

    Where little was seen the picture's own directions stand in.
    """
    counts: Rows = np.zeros((_WAYS, _BINS, _WIDTHS * _BINS), dtype=np.float32)
    np.add.at(counts, (_heading(rows), *_bins(rows)), _purpose(rows, pace))
    counts = np.asarray((np.roll(counts, 1, axis=0) + 2 * counts + np.roll(counts, -1, axis=0)) / 4, dtype=np.float32)
    counts = np.stack([cv2.GaussianBlur(c, (0, 0), _BLUR_BINS) for c in counts]).astype(np.float32)
    total = counts.sum(axis=0)
    trusted = _TRUSTED * total[total > 0].mean() if total.any() else 1.0
    anywhere = counts.sum(axis=(1, 2)) / max(float(counts.sum()), 1e-6)
    counts += trusted * anywhere[:, None, None]
    return np.asarray(counts / np.maximum(counts.max(axis=0), 1e-6), dtype=np.float32)


def _bins(rows: Rows) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    y = np.floor((rows[:, _Y] + 0.5) * _BINS).astype(np.intp)
    x = np.floor((rows[:, _X] + _WIDTHS / 2) * _BINS).astype(np.intp)
    return np.clip(y, 0, _BINS - 1), np.clip(x, 0, _WIDTHS * _BINS - 1)


def _occupancy(rows: Rows, column: int) -> Rows:
    """(bins, 3 bins) how much of `column` there was where, as a share of the most frequented place."""
    counts = np.zeros((_BINS, _WIDTHS * _BINS), dtype=np.float32)
    np.add.at(counts, _bins(rows), rows[:, column])
    smooth = cv2.GaussianBlur(counts, (0, 0), _BLUR_BINS)
    return np.asarray(smooth / max(float(smooth.max()), 1e-6))
