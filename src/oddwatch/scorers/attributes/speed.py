"""`speed`: faster than what moves here usually."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.attributes.placed import PlacedGaussian, gaussian_sums
from oddwatch.scorers.base import Rows

_MOVES = 0.1  # moving share of a window that has a speed
_LEAST_SPREAD = 1e-4  # frame heights per second
_TRUSTED = 3.0  # speeds differ little by place and quick people pass everywhere, so the whole picture counts for much


class Speed(Attribute):
    """Standard deviations of the mean speed of a window above what is usual there."""

    name = "speed"
    floor = 3.0

    def sums(self, rows: Rows) -> Sums:
        moving = column(rows, "moving") > _MOVES
        whole = gaussian_sums(rows, column(rows, "speed"), np.asarray(moving, np.float32))
        # Windows that hold much of what moves know its speed best.
        own = gaussian_sums(rows, _own(rows), np.asarray(moving * np.square(column(rows, "moving")), np.float32))
        return {**whole, **{f"own_{key}": value for key, value in own.items()}}

    def usual(self, sums: Sums) -> Usual:
        own = {key.removeprefix("own_"): value for key, value in sums.items() if key.startswith("own_")}
        return _UsualSpeed(
            PlacedGaussian.of(sums, least_spread=_LEAST_SPREAD, trusted=_TRUSTED),
            PlacedGaussian.of(own, least_spread=_LEAST_SPREAD, trusted=_TRUSTED),
        )


@dataclass(frozen=True)
class _UsualSpeed(Usual):
    """here: mean speed of windows. own: speed of what moves in them, for the sentence."""

    here: PlacedGaussian
    own: PlacedGaussian

    def measure(self, rows: Rows, where: Bins) -> Rows:
        return self.here.above(where, column(rows, "speed"))

    def says(self, row: Rows) -> str:
        return f"{float(_own(row[None])[0]) / max(self.own.usually(row), 1e-3):.1f}x the usual speed here"


def _own(rows: Rows) -> Rows:
    """(n,) speed of what moves, not diluted by what does not."""
    return np.asarray(column(rows, "speed") / np.maximum(column(rows, "moving"), _MOVES), np.float32)
