"""`dwell`: somebody stays here longer than usual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddwatch.scorers.attributes.base import Attribute, Sums, Usual, column
from oddwatch.scorers.attributes.placed import PlacedGaussian, gaussian_sums
from oddwatch.scorers.base import Rows

_LEAST_SPREAD = 0.5  # in logs: about half as long again


class Dwell(Attribute):
    """Standard deviations of log(1 + seconds of presence) above what is usual there."""

    name = "dwell"
    floor = 4.0

    def sums(self, rows: Rows) -> Sums:
        dwell = column(rows, "dwell")
        return gaussian_sums(rows, dwell, np.asarray(dwell > 0, np.float32))

    def usual(self, sums: Sums) -> Usual:
        return _UsualDwell(PlacedGaussian.of(sums, least_spread=_LEAST_SPREAD))


@dataclass(frozen=True)
class _UsualDwell(Usual):
    here: PlacedGaussian

    def measure(self, rows: Rows) -> Rows:
        return self.here.above(rows, column(rows, "dwell"))

    def says(self, row: Rows) -> str:
        seconds, usually = np.expm1(float(column(row[None], "dwell")[0])), np.expm1(self.here.usually(row))
        return f"somebody or something has stayed here for {seconds:.0f} s, usual are {usually:.0f} s"
