"""`gaussian`: how far from the usual mean, in units of the usual spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Normaliser, Scorer, checked, require_normalisation
from oddwatch.types import FloatArray

FLOOR = 1e-6
"""Variance in every direction that is always added."""


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
        from scipy.linalg import solve_triangular
        from sklearn.covariance import LedoitWolf

        rows = checked(x, at_least=2)
        normaliser = Normaliser.of(rows, self.options["normalise"])
        model = LedoitWolf(store_precision=False, assume_centered=True).fit(normaliser(rows).astype(np.float64))
        # A floor keeps S invertible where all rows are alike. S = L L', so the distance is |L^-1 (x - m)|.
        factor = np.linalg.cholesky(model.covariance_ + FLOOR * np.eye(len(model.covariance_)))
        root = solve_triangular(factor, np.eye(len(factor)), lower=True)
        # In the order in which it is read back: the last bits of a product depend on it.
        self._root = np.ascontiguousarray(root, dtype=np.float32)
        self._normaliser = normaliser
        return self

    def score(self, x: FloatArray) -> FloatArray:
        if self._normaliser is None:
            raise ValueError("score before fit")
        rows = self._normaliser(checked(x, columns=self._normaliser.columns))
        return np.asarray(np.linalg.norm(rows @ self._root.T, axis=1), dtype=np.float64)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._normaliser is None:
            raise ValueError("state before fit")
        return {"root": self._root, "mean": self._normaliser.mean, "scale": self._normaliser.scale}, {}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._root = np.asarray(arrays["root"], dtype=np.float32)
        self._normaliser = Normaliser(arrays["mean"], arrays["scale"], how=self.options["normalise"])
        return self
