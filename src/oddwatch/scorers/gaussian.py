"""`gaussian`: how far from the usual mean, in units of the usual spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Normaliser, Rows, Scorer, checked, require_normalisation
from oddwatch.types import FloatArray

FLOOR = 1e-6
"""Variance in every direction that is always added, so that S can be inverted where all rows are alike."""


class GaussianScorer(Scorer):
    """Mahalanobis distance sqrt((x - m)' S^-1 (x - m)) with a covariance S shrunk towards a multiple of the identity.

    Rows are normalised first (`Normaliser`); with `columns` the shrinkage does not depend on units. Shrinkage after
    Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, J. Multivariate Analysis
    2004. normalise: columns, length or none.

    >>> import numpy as np
    >>> usual = np.random.default_rng(0).normal(size=(1000, 2))
    >>> scorer = GaussianScorer().fit(usual)
    >>> [round(float(s)) for s in scorer.score(np.array([[0.0, 0.0], [0.0, 5.0]]))]
    [0, 5]
    """

    name = "gaussian"
    summary = "Mahalanobis distance with a shrunk covariance; fast, good with little video"
    paper = "Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004"

    def __init__(self, *, normalise: str = "columns") -> None:
        require_normalisation(normalise)
        self.options: dict[str, Any] = {"normalise": normalise}
        self._normaliser: Normaliser | None = None

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        rows = checked(x, at_least=2)
        normaliser = Normaliser.of(rows, self.options["normalise"])
        normal = normaliser(rows).astype(np.float64)
        self._root, self._axes, self._rest = _wide(normal) if len(rows) < rows.shape[1] else _tall(normal)
        self._normaliser = normaliser
        return self

    def score(self, x: FloatArray) -> FloatArray:
        if self._normaliser is None:
            raise ValueError("score before fit")
        rows = self._normaliser(checked(x, columns=self._normaliser.columns))
        far = np.linalg.norm(rows @ self._root.T, axis=1)
        if len(self._axes):
            outside = np.linalg.norm(rows - (rows @ self._axes.T) @ self._axes, axis=1)
            far = np.hypot(far, self._rest * outside)
        return np.asarray(far, dtype=np.float64)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._normaliser is None:
            raise ValueError("state before fit")
        kept = {"root": self._root, "axes": self._axes, "rest": np.array(self._rest)}
        return {**kept, "mean": self._normaliser.mean, "scale": self._normaliser.scale}, {}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._root = np.asarray(arrays["root"], dtype=np.float32)
        self._axes = np.asarray(arrays["axes"], dtype=np.float32)
        self._rest = float(arrays["rest"])
        self._normaliser = Normaliser(arrays["mean"], arrays["scale"], how=self.options["normalise"])
        return self


def _tall(rows: FloatArray) -> tuple[Rows, Rows, float]:
    """As `_wide`, for at least as many rows as columns: the root is that of all directions."""
    from scipy.linalg import solve_triangular
    from sklearn.covariance import LedoitWolf

    model = LedoitWolf(store_precision=False, assume_centered=True).fit(rows)
    # S = L L', so the distance is |L^-1 (x - m)|.
    factor = np.linalg.cholesky(model.covariance_ + FLOOR * np.eye(len(model.covariance_)))
    root = solve_triangular(factor, np.eye(len(factor)), lower=True)
    return _as_read(root), np.zeros((0, rows.shape[1]), dtype=np.float32), 0.0


def _wide(rows: FloatArray) -> tuple[Rows, Rows, float]:
    """root (k, D), axes (k, D) and rest of (n, D) rows that are fewer than their columns: S is known in the k
    directions that they spread over and is a multiple of the identity outside, so nothing of D x D is made. The
    distance is the hypotenuse of |root x| and rest times the length of x outside of the axes.
    """
    from scipy.linalg import eigh

    count, columns = rows.shape
    values, vectors = eigh(rows @ rows.T)
    spread = values > values[-1] * count * np.finfo(np.float64).eps
    values, vectors = values[spread], vectors[:, spread]
    axes = (rows.T @ vectors / np.sqrt(values)).T
    # The shrinkage of Ledoit and Wolf by traces alone, which are those of the n x n product.
    variance = values / count
    mean = variance.sum() / columns
    apart = (variance**2).sum() / columns - mean**2
    noise = ((rows**2).sum(axis=1) ** 2).sum() / count - (variance**2).sum()
    shrunk = min(noise / (columns * count), apart) / apart if apart > 0 else 0.0
    outside = shrunk * mean + FLOOR
    root = axes / np.sqrt((1 - shrunk) * variance + outside)[:, None]
    return _as_read(root), _as_read(axes), float(1 / np.sqrt(outside))


def _as_read(rows: FloatArray) -> Rows:
    """In the order in which it is read back: the last bits of a product depend on it."""
    return np.ascontiguousarray(rows, dtype=np.float32)
