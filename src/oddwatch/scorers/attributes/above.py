"""A column that is above what is usual at its place, where there is any of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.attributes.placed import PlacedGaussian, gaussian_sums
from oddwatch.scorers.base import Rows


class Above(Attribute):
    """Standard deviations of the column of its name above what is usual there. power: of the column, that is compared:
    above 1, what is high counts for more. least_spread: in units of that.
    """

    least_spread: ClassVar[float]
    power: ClassVar[int] = 1

    def sums(self, rows: Rows) -> Sums:
        values = column(rows, self.name) ** self.power
        return gaussian_sums(rows, values, np.asarray(values > 0, np.float32))

    def usual(self, sums: Sums) -> Usual:
        return _UsuallyBelow(
            PlacedGaussian.of(sums, least_spread=self.least_spread), self.name, self.power, self.sentence
        )

    @staticmethod
    @abstractmethod
    def sentence(now: float, usually: float) -> str:
        """Both in units of the column."""


@dataclass(frozen=True)
class _UsuallyBelow(Usual):
    here: PlacedGaussian
    name: str
    power: int
    sentence: Callable[[float, float], str]

    def measure(self, rows: Rows, where: Bins) -> Rows:
        return self.here.above(where, column(rows, self.name) ** self.power)

    def says(self, row: Rows) -> str:
        usually = max(self.here.usually(row), 0.0) ** (1 / self.power)
        return self.sentence(float(column(row[None], self.name)[0]), usually)
