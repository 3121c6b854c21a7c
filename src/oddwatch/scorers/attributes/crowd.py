"""`crowd`: more of the neighbourhood is taken up than usual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddwatch.scorers.attributes.base import Attribute, Sums, Usual, column
from oddwatch.scorers.attributes.placed import PlacedGaussian, gaussian_sums
from oddwatch.scorers.base import Rows

_LEAST_SPREAD = 0.02  # share of the neighbourhood


class Crowd(Attribute):
    """Standard deviations of the share of the wider neighbourhood in which somebody is above what is usual there."""

    name = "crowd"
    floor = 4.0

    def sums(self, rows: Rows) -> Sums:
        crowd = column(rows, "crowd")
        return gaussian_sums(rows, crowd, np.asarray(crowd > 0, np.float32))

    def usual(self, sums: Sums) -> Usual:
        return _UsualCrowd(PlacedGaussian.of(sums, least_spread=_LEAST_SPREAD))


@dataclass(frozen=True)
class _UsualCrowd(Usual):
    here: PlacedGaussian

    def measure(self, rows: Rows) -> Rows:
        return self.here.above(rows, column(rows, "crowd"))

    def says(self, row: Rows) -> str:
        times = float(column(row[None], "crowd")[0]) / max(self.here.usually(row), 1e-3)
        return f"{times:.1f}x as much going on around here as usual"
