"""What the parts of a blend score, from products of rows alone: hundreds of fits on few rows, each in milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.base import Rows
from oddwatch.scorers.density import LEAST_WIDTH, NEAREST
from oddwatch.scorers.gaussian import FLOOR
from oddwatch.scorers.subspace import SHARE
from oddwatch.types import FloatArray

Indices = NDArray[np.int64]
NAMES = ("density", "gaussian", "knn", "subspace")
QUARTERS = 4
"""Contiguous parts in time of usual rows, each scored by what learned from the others, to standardise a part."""
LEAST_SPREAD = 1e-6


class Products:
    """Scores of some rows by what learned from others, as the scorers of `NAMES` give them on rows of any width.

    All four depend on products of normalised rows only, and those of any selection follow from one table. With the
    eigenvalues and vectors of the (n, n) products of what teaches, a distance from principal components or by a shrunk
    covariance needs no (d, d) matrix.
    """

    def __init__(self, rows: Rows, *, neighbours: int) -> None:
        wide = rows.astype(np.float64)
        self._length = np.linalg.norm(wide, axis=1)
        direction = wide / np.where(self._length > 0, self._length, 1.0)[:, None]
        self._table = direction @ direction.T
        self._columns = rows.shape[1]
        self._neighbours = neighbours

    def standardised(self, teach: Indices, asked: Indices) -> FloatArray:
        """(len(asked), 4) scores in deviations of held-out scores from their mean. teach: in order of time."""
        held_out = np.concatenate(
            [self.scores(np.setdiff1d(teach, cut), cut) for cut in np.array_split(teach, QUARTERS)]
        )
        spread = np.maximum(held_out.std(0), LEAST_SPREAD)
        return np.asarray((self.scores(teach, asked) - held_out.mean(0)) / spread)

    def scores(self, teach: Indices, asked: Indices) -> FloatArray:
        """(len(asked), 4) scores of the rows `asked` by what learned from the rows `teach`."""
        from scipy.linalg import eigh
        from scipy.special import logsumexp

        count, columns = len(teach), self._columns + 1
        known, new, own = self._normalised(teach, asked)
        lengths = np.diag(known)
        squared = np.maximum(own[:, None] + lengths - 2 * new, 0)
        k = min(self._neighbours, count)
        knn = np.sqrt(np.partition(squared, k - 1, axis=1)[:, :k]).mean(1)

        among = np.maximum(lengths[:, None] + lengths - 2 * known, 0)
        nth = min(NEAREST, count) - 1
        width = max(float(np.median(np.partition(among, nth, axis=1)[:, nth])), LEAST_WIDTH)
        density = np.log(count) - logsumexp(squared / (-2 * width), axis=1)

        values, vectors = eigh(known)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        some = int((values > 1e-9 * values[0]).sum())
        values, along = values[:some], (new @ vectors[:, :some]) ** 2 / values[:some]
        inside = int(np.searchsorted(np.cumsum(values), SHARE * values.sum()) + 1) if some else 0
        subspace = np.sqrt(np.maximum(own - along[:, :inside].sum(1), 0))

        # Ledoit and Wolf's shrinkage, whose sums over products of columns are sums over products of rows.
        mean = lengths.sum() / count / columns
        squares = (known**2).sum() / count**2
        distance = squares / columns - mean**2
        error = min(((lengths**2).sum() / count - squares) / count / columns, distance)
        shrinkage = error / distance if error > 0 else 0.0
        floor = shrinkage * mean + FLOOR
        weights = 1 / ((1 - shrinkage) * values / count + floor) - 1 / floor
        gaussian = np.sqrt(np.maximum(own / floor + along @ weights, 0))
        return np.stack([density, gaussian, knn, subspace], axis=1)

    def _normalised(self, teach: Indices, asked: Indices) -> tuple[FloatArray, FloatArray, Any]:
        """Products of normalised rows (`Normaliser` with `length`): (n, n) of teach, (m, n) of asked with teach, (m,)
        of each of asked with itself.
        """
        by_mean = self._table[:, teach].mean(1)
        of_mean = by_mean[teach].mean()
        usual = self._length[teach]
        length = (self._length - usual.mean()) / _scale(usual.var(), np.abs(usual).max())
        variance = (np.diag(self._table)[teach].mean() - of_mean) / self._columns
        scale = _scale(variance, 1.0) ** 2

        def products(a: Any, b: Any) -> FloatArray:
            centred = self._table[a, b] - by_mean[a] - by_mean[b] + of_mean
            return np.asarray(centred / scale + length[a] * length[b])

        return products(teach[:, None], teach), products(asked[:, None], teach), products(asked, asked)


def _scale(variance: float, largest: float) -> float:
    """Standard deviation, 1 for the rounding of a constant."""
    return float(np.sqrt(variance)) if variance > (1e-6 * largest) ** 2 else 1.0
