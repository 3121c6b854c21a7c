"""What a scorer is: rows of numbers in, anomaly scores out. HIGH = ANOMALOUS. A scorer never thresholds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from oddwatch.errors import NotEnoughVideoError
from oddwatch.types import FloatArray

Arrays = dict[str, FloatArray]
Rows = NDArray[np.float32]


class Scorer(ABC):
    """Learns usual rows and scores new ones. Hyperparameters are keywords of the constructor, kept in `options`.

    Rows are (n, d) floats: one embedding each. Scores are (n,) float64, finite, >= 0.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    max_rows: int = 60_000
    """More rows than this add time to a fit rather than knowledge; whoever has more passes a sample."""

    columns: ClassVar[tuple[str, ...]] = ()
    """Names of the columns that it needs, for scorers that know what they look at; empty: any rows will do."""

    options: dict[str, Any]

    @abstractmethod
    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        """Learn from usual rows x (n, d). labels: class of each row, for scorers that use it. groups: (n, 2) source
        index and seconds of each row, for scorers that can show where a row came from. Raises NotEnoughVideoError.
        """

    @abstractmethod
    def score(self, x: FloatArray) -> FloatArray:
        """(n,) float64 scores of rows x (n, d). Raises ValueError before `fit` and for another d."""

    @abstractmethod
    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """What was learned, as arrays and JSON."""

    @abstractmethod
    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        """Inverse of `state`, on a scorer built with the same options."""


def checked(x: FloatArray, *, columns: int | None = None, at_least: int = 0) -> Rows:
    """x as (n, d) float32. Raises ValueError for another shape or values that are not finite, NotEnoughVideoError for
    fewer than `at_least` rows.
    """
    rows = np.asarray(x, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"rows are (n, d), got shape {rows.shape}")
    if columns is not None and rows.shape[1] != columns:
        raise ValueError(f"learned from rows of {columns} values, got rows of {rows.shape[1]}")
    if not np.isfinite(rows).all():
        raise ValueError("rows hold values that are not finite")
    if len(rows) < at_least:
        raise NotEnoughVideoError(
            f"{len(rows)} embeddings are too few to learn from, {at_least} are needed: give more video"
        )
    return rows


class Standardiser:
    """Each column to mean 0 and standard deviation 1 of the rows it was made from; a constant one is only centred."""

    def __init__(self, mean: FloatArray, scale: FloatArray) -> None:
        self.mean = np.asarray(mean, dtype=np.float32)
        self.scale = np.asarray(scale, dtype=np.float32)

    @staticmethod
    def of(rows: FloatArray) -> Standardiser:
        """From usual rows (n, d)."""
        deviation = rows.std(0, dtype=np.float64)
        tiny = 1e-6 * np.abs(rows).max(0)  # float32 rounding of a constant
        return Standardiser(rows.mean(0, dtype=np.float64), np.where(deviation > tiny, deviation, 1.0))

    def __call__(self, rows: FloatArray) -> Rows:
        result: Rows = (rows - self.mean) / self.scale
        return result
