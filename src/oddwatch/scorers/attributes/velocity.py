"""`velocity`: quicker or another way than anything that moves here usually."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.base import Rows

CLEAR = 0.3
"""Moving share from which the velocity of a window is that of what moves in it."""
_LITTLE = 0.1  # added to a moving share before dividing by it
_SLOWEST, _RATIO, _SPEEDS = 0.015, 1.45, 12  # frame heights per second, from one bin of speed to the next, bins
_WAYS = 12
_BINS, _WIDTHS = 12, 3  # places per picture height; picture heights
_SHAPE = (_SPEEDS, _WAYS, _BINS, _WIDTHS * _BINS)
_PLACE_WEIGHT = 3.0  # of a picture height, beside the usual velocity
_SELDOM = 2e-5  # of what was seen: a bin with less is not usual yet
_MOST = 1500  # bins that are remembered, those seen most
_LEAF = 16  # of them in a leaf of the tree: found in 0.60 ms a moment, with SciPy's usual 10 in 0.69


class Velocity(Attribute):
    """Distance of (velocity, place) to the nearest usual one, velocities in units of the usual one.

    The usual ones are means over bins of speed, direction and place. The velocity is that of what moves in the window,
    not diluted by what does not. Across the picture people are everywhere; up and down it, lanes and perspective change
    within a person's height: so places count half as much across.
    """

    name = "velocity"
    floor = 1.0

    def sums(self, rows: Rows) -> Sums:
        clear = rows[column(rows, "moving") > CLEAR]
        values = np.concatenate([np.ones((len(clear), 1)), _velocity_and_place(clear)], axis=1)
        where = np.ravel_multi_index(_bins(clear), _SHAPE)
        size = int(np.prod(_SHAPE))
        seen = np.stack([np.bincount(where, one, size) for one in values.T])
        return {"seen": seen, "energy": np.array([np.square(values[:, 1:3]).sum()])}

    def usual(self, sums: Sums) -> Usual:
        count = sums["seen"][0]
        total = float(count.sum())
        pace = float(np.sqrt(max(float(sums["energy"][0]) / max(total, 1.0), 1e-12)))
        units = np.array([1 / pace, 1 / pace, _PLACE_WEIGHT, _PLACE_WEIGHT / 2])
        often = np.flatnonzero(count > _SELDOM * total)
        often = often[np.argsort(-count[often], kind="stable")[:_MOST]]
        if not len(often):
            return _UsualVelocity(scipy.spatial.KDTree(np.zeros((1, 4))), units)
        return _UsualVelocity(
            scipy.spatial.KDTree((sums["seen"][1:, often] / count[often]).T * units, leafsize=_LEAF), units
        )


@dataclass(frozen=True)
class _UsualVelocity(Usual):
    known: scipy.spatial.KDTree
    units: NDArray[np.float64]

    def measure(self, rows: Rows, where: Bins) -> Rows:
        distance = self.known.query(_velocity_and_place(rows) * self.units)[0]
        return np.asarray(distance * np.minimum(column(rows, "moving") / CLEAR, 1), np.float32)

    def says(self, row: Rows) -> str:
        point = (_velocity_and_place(row[None]) * self.units)[0]
        nearest = np.asarray(self.known.data)[self.known.query(point)[1]]
        times = np.hypot(point[0], point[1]) / max(float(np.hypot(nearest[0], nearest[1])), 1e-2)
        if point[:2] @ nearest[:2] > 0 and times > 1:
            return f"{times:.1f}x as fast as the nearest to it that is usual here"
        return "nothing goes that way here usually"


def _velocity_and_place(rows: Rows) -> NDArray[np.float64]:
    """(n, 4): right, down, y, x."""
    share = column(rows, "moving") + _LITTLE
    found = [column(rows, "right") / share, column(rows, "down") / share, column(rows, "y"), column(rows, "x")]
    return np.stack(found, axis=1).astype(np.float64)


def _bins(rows: Rows) -> tuple[NDArray[np.intp], ...]:
    points = _velocity_and_place(rows)
    speed = np.log(np.maximum(np.hypot(points[:, 0], points[:, 1]), 1e-6) / _SLOWEST) / np.log(_RATIO)
    way = np.arctan2(points[:, 1], points[:, 0]) * _WAYS / (2 * np.pi)
    y, x = (points[:, 2] + 0.5) * _BINS, (points[:, 3] + _WIDTHS / 2) * _BINS
    return (
        np.clip(np.floor(speed), 0, _SPEEDS - 1).astype(np.intp),
        np.round(way).astype(np.intp) % _WAYS,
        np.clip(np.floor(y), 0, _BINS - 1).astype(np.intp),
        np.clip(np.floor(x), 0, _WIDTHS * _BINS - 1).astype(np.intp),
    )
