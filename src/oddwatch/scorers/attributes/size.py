"""`size` and `shape`: larger, or lying flatter, than what moves here usually."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.attributes.placed import PlacedGaussian, gaussian_sums
from oddwatch.scorers.base import Rows

_MOVES = 0.2  # moving share of a window that shows the blob
_LEAST = 1e-3  # picture heights, of a side
_LEAST_SPREAD = 0.15  # in logs: 15%


class _Blob(Attribute):
    floor = 3.0

    def sums(self, rows: Rows) -> Sums:
        return gaussian_sums(rows, self.value(rows), _there(rows))

    def usual(self, sums: Sums) -> Usual:
        return _UsualBlob(PlacedGaussian.of(sums, least_spread=_LEAST_SPREAD), self.value, self.sentence)

    @staticmethod
    @abstractmethod
    def value(rows: Rows) -> Rows:
        """(n,) what is compared, a log."""

    @staticmethod
    @abstractmethod
    def sentence(times: float) -> str:
        """times: the usual."""


class Size(_Blob):
    """Standard deviations of the log of the moving blob's area above what is usual there."""

    name = "size"

    @staticmethod
    def value(rows: Rows) -> Rows:
        return np.asarray(np.log(_side(rows, "height") * _side(rows, "width")), np.float32)

    @staticmethod
    def sentence(times: float) -> str:
        return f"{times:.1f}x the usual size here"


class Shape(_Blob):
    """Standard deviations of the log of the moving blob's width by its height above what is usual there."""

    name = "shape"

    @staticmethod
    def value(rows: Rows) -> Rows:
        return np.asarray(np.log(_side(rows, "width") / _side(rows, "height")), np.float32)

    @staticmethod
    def sentence(times: float) -> str:
        return f"{times:.1f}x as wide for its height as usual here"


@dataclass(frozen=True)
class _UsualBlob(Usual):
    here: PlacedGaussian
    value: Callable[[Rows], Rows]
    sentence: Callable[[float], str]

    def measure(self, rows: Rows, where: Bins) -> Rows:
        return self.here.above(where, self.value(rows)) * _there(rows)

    def says(self, row: Rows) -> str:
        return self.sentence(float(np.exp(self.value(row[None])[0] - self.here.usually(row))))


def _side(rows: Rows, name: str) -> Rows:
    return np.asarray(np.maximum(column(rows, name), _LEAST), np.float32)


def _there(rows: Rows) -> Rows:
    return np.asarray((column(rows, "moving") > _MOVES) & (column(rows, "height") > _LEAST), np.float32)
