"""`ground`: standing where nobody stands usually."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.attributes.placed import NEVER, bins, occupancy, placed_sum
from oddwatch.scorers.base import Rows

_BINS = 48  # per picture height: a tenth of a person, across the ways of people
_ACROSS, _DOWN = 3.0, 1.0  # bins, standard deviations: perspective makes depth small


class Ground(Attribute):
    """Feet x -log(how often there were feet there, as a share of the most frequented ground).

    Who walks behind or before a path is as high in the picture as those on it, but for the feet.
    """

    name = "ground"
    floor = 2.0

    def sums(self, rows: Rows) -> Sums:
        return {"stood": placed_sum(rows, column(rows, "stands"), _BINS)}

    def usual(self, sums: Sums) -> Usual:
        if not (sums["stood"] > 0).any():  # of short videos: nobody knows the place well enough to see feet
            return _UsualGround(np.ones_like(sums["stood"]))
        return _UsualGround(occupancy(sums["stood"], _ACROSS, _DOWN))


@dataclass(frozen=True)
class _UsualGround(Usual):
    """shares: (48, 144) occupancy."""

    shares: NDArray[np.float64]

    def measure(self, rows: Rows, where: Bins) -> Rows:
        return np.asarray(column(rows, "stands") * -np.log(self.shares.take(bins(rows, _BINS))), np.float32)

    def says(self, row: Rows) -> str:
        share = float(self.shares.take(bins(row[None], _BINS))[0])
        if share <= NEVER:
            return "nobody has stood here in all that was learned"
        return f"people stand here {1 / share:,.0f} times less often than where most do"
