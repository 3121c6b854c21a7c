"""What a scorer is: rows of numbers in, anomaly scores out. HIGH = ANOMALOUS. A scorer never thresholds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from oddwatch.errors import NotEnoughVideoError
from oddwatch.types import FloatArray, Reason

Arrays = dict[str, FloatArray]
Rows = NDArray[np.float32]
Explain = Callable[[NDArray[np.intp]], list[Reason] | None]
"""Indices of rows -> why each has its score; None from scorers that cannot say."""
PIXELS = ("pixels",)
"""The `columns` of a scorer whose rows are the pixels of clips."""


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

    run_of_moments: ClassVar[int] = 0
    """A sample of grids keeps so many moments that follow each other together, with all of their rows; 0: none."""

    options: dict[str, Any]

    told: Callable[[float], None] | None = None
    """Called during `fit` with the share that is done, by scorers that take long."""

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

    def survey(self, usual: Iterable[tuple[Rows, FloatArray]]) -> None:  # noqa: B027 - most know all from the sample
        """After `fit`, for scorers that ask how far usual video goes, of which a sample shows too little.

        usual: all of its rows (n, d) in order of time, whole moments at a time, and their groups (n, 2) as in `fit`.
        """

    def located(self, maps: Rows, grid: FloatArray) -> Rows:
        """Anomaly maps (N, Gh, Gw) with what windows say put where in them it is, for scorers that know: each with the
        same maximum. grid: (N, Gh, Gw, d) that they are the scores of.
        """
        return maps

    def scale_as(self, whole: Self) -> None:  # noqa: B027 - most have nothing to take
        """Put scores in the units of a scorer that was fitted on more of the same video: what a part of it scores by
        a scorer of the rest is then comparable with what that one scores. By default scores have no units of their own.
        """

    def explain(self, x: FloatArray) -> list[Reason] | None:
        """Why each of the rows x (n, d) has its score; None from scorers that cannot say."""
        return None

    def score_and_explain(self, x: FloatArray) -> tuple[FloatArray, Explain]:
        """The scores of rows x (n, d), and what explains some of them: for scorers that need not measure twice then."""
        return self.score(x), lambda at: self.explain(x[at])

    def says(self) -> str:
        """What became of it in `fit`, in short; empty when there is nothing to say."""
        return ""

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


NORMALISATIONS = ("columns", "length", "none")


class Normaliser:
    """Makes rows comparable, by one of `NORMALISATIONS`, to what it saw in usual rows.

    columns: each column to mean 0 and standard deviation 1, for columns in units of their own. length: for embeddings
    of a network, in which the direction says more of what is seen than the length: the row divided by its length, all
    columns together to mean 0 and a mean variance of 1, and the length, standardised, as one more column among them.
    none: all columns together to mean 0 and a mean variance of 1. What is constant is only centred.
    """

    def __init__(self, mean: FloatArray, scale: FloatArray, *, how: str) -> None:
        self.mean = np.asarray(mean, dtype=np.float32)
        self.scale = np.asarray(scale, dtype=np.float32)
        self._length = how == "length"

    @staticmethod
    def of(rows: Rows, how: str = "columns") -> Normaliser:
        """From usual rows (n, d)."""
        rows = _direction_and_length(rows) if how == "length" else rows
        variance = rows.var(0, dtype=np.float64)
        tiny = (1e-6 * np.abs(rows).max(0)) ** 2  # float32 rounding of a constant
        if how != "columns":
            together = slice(-1) if how == "length" else slice(None)
            variance[together], tiny[together] = variance[together].mean(), tiny[together].max()
        return Normaliser(rows.mean(0, dtype=np.float64), np.sqrt(np.where(variance > tiny, variance, 1.0)), how=how)

    def __call__(self, rows: Rows) -> Rows:
        """(n, d), with `length` (n, d + 1)."""
        result: Rows = ((_direction_and_length(rows) if self._length else rows) - self.mean) / self.scale
        return result

    @property
    def columns(self) -> int:
        """d of the rows that it takes."""
        return len(self.mean) - self._length


def require_normalisation(how: str) -> None:
    """Raises ValueError for a name that is not in `NORMALISATIONS`."""
    if how not in NORMALISATIONS:
        raise ValueError(f"normalise is {', '.join(NORMALISATIONS[:-1])} or {NORMALISATIONS[-1]}, got {how!r}")


def _direction_and_length(rows: Rows) -> Rows:
    """(n, d + 1) each row divided by its length (one of zeros stays so), and the length."""
    length = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.concatenate([rows / np.where(length > 0, length, 1.0), length], axis=1).astype(np.float32)
