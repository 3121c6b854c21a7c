"""`density`: how little usual there is near the direction of a row. A part of `blend`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Normaliser, Rows, Scorer, checked
from oddwatch.types import FloatArray

NEAREST = 4
LEAST_WIDTH = 1e-6
_CHUNK = 1024


class DensityScorer(Scorer):
    """-log of a Gaussian kernel density (Parzen 1962) of rows normalised by `length` (`Normaliser`).

    The score is -log(mean over usual rows u of exp(-|x - u|^2 / 2w)), w the median over usual rows of the squared
    distance to the fourth nearest, itself counted. Only a part of a blend: it keeps every row that it learned from.
    """

    name = "density"
    summary = "kernel density of usual directions"
    paper = "Parzen, On estimation of a probability density function and mode, 1962"

    def __init__(self) -> None:
        self.options = {}
        self._rows: Rows | None = None

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        rows = checked(x, at_least=2)
        self._normaliser = Normaliser.of(rows, "length")
        self._rows = self._normaliser(rows)
        nth = min(NEAREST, len(rows)) - 1
        nearest = [np.partition(d, nth, axis=1)[:, nth] for d in _squared(self._rows, self._rows)]
        self._width = max(float(np.median(np.concatenate(nearest))), LEAST_WIDTH)
        return self

    def score(self, x: FloatArray) -> FloatArray:
        from scipy.special import logsumexp

        if self._rows is None:
            raise ValueError("score before fit")
        rows = self._normaliser(checked(x, columns=self._normaliser.columns))
        parts = [logsumexp(d / (-2 * self._width), axis=1) for d in _squared(rows, self._rows)]
        found = np.log(len(self._rows)) - np.concatenate([*parts, np.zeros(0)])
        return np.asarray(np.maximum(found, 0), dtype=np.float64)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._rows is None:
            raise ValueError("state before fit")
        arrays = {"rows": self._rows, "width": np.array([self._width])}
        return {**arrays, "mean": self._normaliser.mean, "scale": self._normaliser.scale}, {}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._rows = np.asarray(arrays["rows"], dtype=np.float32)
        self._width = float(arrays["width"][0])
        self._normaliser = Normaliser(arrays["mean"], arrays["scale"], how="length")
        return self


def _squared(rows: Rows, usual: Rows) -> Iterator[FloatArray]:
    """(m, len(usual)) squared distances for each chunk of rows, in double precision: widths can be small."""
    known = usual.astype(np.float64)
    lengths = (known**2).sum(1)
    for first in range(0, len(rows), _CHUNK):
        part = rows[first : first + _CHUNK].astype(np.float64)
        yield np.maximum((part**2).sum(1)[:, None] + lengths - 2 * part @ known.T, 0)
