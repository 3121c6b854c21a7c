"""`ground`: standing where nobody stands usually."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.attributes.placed import NEVER, WIDTHS
from oddwatch.scorers.base import Rows

_BINS = 48  # per picture height: a tenth of a person, across the ways of people
_BLUR = (3.0, 1.0)  # bins, standard deviation across the picture and up and down: perspective makes depth small


class Ground(Attribute):
    """Feet x -log(how often there were feet there, as a share of the most frequented ground).

    Who walks behind or before a path is as high in the picture as those on it, but for the feet.
    """

    name = "ground"
    floor = 2.0

    def sums(self, rows: Rows) -> Sums:
        seen = np.bincount(_bins(rows), column(rows, "stands").astype(np.float64), _BINS * WIDTHS * _BINS)
        return {"stood": np.asarray(seen.reshape(_BINS, WIDTHS * _BINS), np.float64)}

    def usual(self, sums: Sums) -> Usual:
        if not (sums["stood"] > 0).any():  # of short videos: nobody knows the place well enough to see feet
            return _UsualGround(np.ones_like(sums["stood"]))
        smooth = cv2.GaussianBlur(np.maximum(sums["stood"], 0), (0, 0), sigmaX=_BLUR[0], sigmaY=_BLUR[1])
        return _UsualGround(np.asarray(np.maximum(smooth / max(float(smooth.max()), 1e-6), NEVER), np.float64))


@dataclass(frozen=True)
class _UsualGround(Usual):
    """shares: (bins, 3 bins) occupancy."""

    shares: NDArray[np.float64]

    def measure(self, rows: Rows, where: Bins) -> Rows:
        return np.asarray(column(rows, "stands") * -np.log(self.shares.take(_bins(rows))), np.float32)

    def says(self, row: Rows) -> str:
        share = float(self.shares.take(_bins(row[None]))[0])
        if share <= NEVER:
            return "nobody has stood here in all that was learned"
        return f"people stand here {1 / share:,.0f} times less often than where most do"


def _bins(rows: Rows) -> Bins:
    y, x = np.floor((column(rows, "y") + 0.5) * _BINS), np.floor((column(rows, "x") + WIDTHS / 2) * _BINS)
    return np.asarray(np.clip(y, 0, _BINS - 1) * (WIDTHS * _BINS) + np.clip(x, 0, WIDTHS * _BINS - 1), np.intp)
