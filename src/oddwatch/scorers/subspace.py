"""`subspace`: how far from all mixtures of the usual. A part of `blend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Normaliser, Rows, Scorer, checked
from oddwatch.types import FloatArray

SHARE = 0.8  # of the variance of usual rows that the subspace holds


class SubspaceScorer(Scorer):
    """Distance of the direction of a row from the subspace of the principal components that hold 80% of the variance.

    Only a part of a blend: it cannot see how far a row lies within the subspace.
    """

    name = "subspace"
    summary = "distance from the subspace of usual directions"

    def __init__(self) -> None:
        self.options = {}
        self._normaliser: Normaliser | None = None

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        from scipy.linalg import eigh

        rows = checked(x, at_least=2)
        normaliser = Normaliser.of(rows, "length")
        normal = normaliser(rows).astype(np.float64)
        # The smaller of the two products has the same eigenvalues, and vectors that are one product away.
        few = len(normal) < normal.shape[1]
        values, vectors = eigh(normal @ normal.T if few else normal.T @ normal)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        count = int(np.searchsorted(np.cumsum(values), SHARE * values.sum()) + 1) if values.sum() > 0 else 0
        axes = vectors[:, :count]
        axes = normal.T @ axes / np.sqrt(values[:count]) if few else axes
        # In the order in which it is read back: the last bits of a product depend on it.
        self._axes: Rows = np.ascontiguousarray(axes.T, dtype=np.float32)
        self._normaliser = normaliser
        return self

    def score(self, x: FloatArray) -> FloatArray:
        if self._normaliser is None:
            raise ValueError("score before fit")
        rows = self._normaliser(checked(x, columns=self._normaliser.columns))
        return np.asarray(np.linalg.norm(rows - (rows @ self._axes.T) @ self._axes, axis=1), dtype=np.float64)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._normaliser is None:
            raise ValueError("state before fit")
        return {"axes": self._axes, "mean": self._normaliser.mean, "scale": self._normaliser.scale}, {}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._axes = np.asarray(arrays["axes"], dtype=np.float32)
        self._normaliser = Normaliser(arrays["mean"], arrays["scale"], how="length")
        return self
