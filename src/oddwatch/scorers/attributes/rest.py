"""`left` and `taken`: something rests that was not there, or has gone that was, where that is not usual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.attributes.placed import occupancy, placed_sum
from oddwatch.scorers.base import Rows


class Left(Attribute):
    """Share in which something new rests x -log(how often something rested there)."""

    name = "left"
    floor = 2.0
    _sentence: ClassVar[str] = "something rests here that was not here"

    def sums(self, rows: Rows) -> Sums:
        return {"seen": placed_sum(rows, column(rows, self.name))}

    def usual(self, sums: Sums) -> Usual:
        return _UsualRest(self.name, occupancy(sums["seen"]), self._sentence)


class Taken(Left):
    """Share in which something has gone x -log(how often something went there)."""

    name = "taken"
    _sentence = "something is gone that was here"


@dataclass(frozen=True)
class _UsualRest(Usual):
    name: str
    shares: NDArray[np.float64]
    sentence: str

    def measure(self, rows: Rows, where: Bins) -> Rows:
        return np.asarray(column(rows, self.name) * -np.log(self.shares.take(where)), np.float32)

    def says(self, row: Rows) -> str:
        return self.sentence
