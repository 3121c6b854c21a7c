"""`place`: where nothing moves usually."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.attributes.placed import NEVER, bins, occupancy, placed_sum
from oddwatch.scorers.base import Rows


class Place(Attribute):
    """Moving share x -log(how often something moved there, as a share of the most frequented place)."""

    name = "place"
    floor = 0.7

    def sums(self, rows: Rows) -> Sums:
        return {"moved": placed_sum(rows, column(rows, "moving"))}

    def usual(self, sums: Sums) -> Usual:
        return _UsualPlace(occupancy(sums["moved"]))


@dataclass(frozen=True)
class _UsualPlace(Usual):
    """shares: (bins, 3 bins) occupancy."""

    shares: NDArray[np.float64]

    def measure(self, rows: Rows, where: Bins) -> Rows:
        return np.asarray(column(rows, "moving") * -np.log(self.shares.take(where)), np.float32)

    def says(self, row: Rows) -> str:
        share = float(self.shares.take(bins(row[None]))[0])
        if share <= NEVER:
            return "nothing has moved here in all that was learned"
        return f"things move here {1 / share:,.0f} times less often than where most do"
