"""What an attribute is: sums over usual rows, how unusual a row is by them, and a sentence that says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.base import Rows

COLUMNS = (
    *("speed", "right", "down", "moving", "edges_0", "edges_45", "edges_90", "edges_135"),
    *("height", "width", "course_right", "course_down", "crowd"),
    *("left", "taken", "dwell", "present", "stands", "changed", "y", "x"),
)
"""The columns of the `motion` backbone's grid, with location."""

Bins = NDArray[np.intp]
"""(n,) where each row is: an index into a flattened map of places."""

Sums = dict[str, NDArray[np.float64]]
"""Of usual rows. Those of two sets of rows add up to those of both together, up to rounding."""


def column(rows: Rows, name: str) -> Rows:
    """(n,) one column."""
    values: Rows = rows[:, COLUMNS.index(name)]
    return values


class Usual(ABC):
    """What is usual of one attribute."""

    @abstractmethod
    def measure(self, rows: Rows, where: Bins) -> Rows:
        """(n,) float32 >= 0, 0 for the most usual. where: `placed.bins` of the rows, which most attributes need."""

    @abstractmethod
    def says(self, row: Rows) -> str:
        """How one row (d,) differs from the usual, for somebody who watches the camera."""


class Attribute(ABC):
    """One way to be unusual. floor: the least that `measure` must reach to be worth an alarm."""

    name: ClassVar[str]
    floor: ClassVar[float]

    @abstractmethod
    def sums(self, rows: Rows) -> Sums:
        """Of usual rows (n, d)."""

    @abstractmethod
    def usual(self, sums: Sums) -> Usual:
        """What the sums say."""
