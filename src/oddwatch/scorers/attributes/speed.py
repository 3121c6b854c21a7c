"""`speed`: faster than what moves here usually."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddwatch.scorers.attributes.base import Attribute, Sums, Usual, column
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
        return gaussian_sums(rows, column(rows, "speed"), np.asarray(column(rows, "moving") > _MOVES, np.float32))

    def usual(self, sums: Sums) -> Usual:
        return _UsualSpeed(PlacedGaussian.of(sums, least_spread=_LEAST_SPREAD, trusted=_TRUSTED))


@dataclass(frozen=True)
class _UsualSpeed(Usual):
    here: PlacedGaussian

    def measure(self, rows: Rows) -> Rows:
        return self.here.above(rows, column(rows, "speed"))

    def says(self, row: Rows) -> str:
        times = float(column(row[None], "speed")[0]) / max(self.here.usually(row), 1e-3)
        return f"{times:.1f}x the usual speed here"
