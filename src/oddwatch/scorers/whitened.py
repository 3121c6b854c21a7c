"""`whitened`: how unlike the most similar usual moments, where differences within a kind of behaviour count little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Normaliser, Rows, Scorer, checked
from oddwatch.scorers.knn import coreset, squared_distances
from oddwatch.types import FloatArray

FLOOR = 1e-6
"""Variance in every direction that is always added, as a share of the mean variance of the rows."""

_LEAST_LENGTH = 1e-3


class WhitenedScorer(Scorer):
    """Mean distance of directions to the `neighbours` nearest of at most `memory` usual rows, after whitening what
    varies WITHIN a class.

    Columns are standardised, rows divided by their length, and turned to the at most `dimensions` principal axes of the
    usual rows. There the covariance within classes, shrunk after Ledoit and Wolf (2004), is made the identity: what
    differs between moments of one class (who, how fast, from where) says little, what is the same in all of them says
    much. Whitened rows are divided by their length again, so distances (0 to 2) rank as those of the cosine do. With
    one class, or without labels, it is plain whitening. To the distance of a standardised row more than twice as long
    as any usual one, by how much it is is added: directions alone would miss what is odd by its size.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> kinds = np.repeat([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], 50, axis=0)
    >>> usual = kinds + rng.normal(size=(100, 3)) * (0.05, 0.05, 0.5)
    >>> scorer = WhitenedScorer().fit(usual, labels=["a"] * 50 + ["b"] * 50)
    >>> low, high = scorer.score(np.array([[1.0, 0.0, 0.5], [-1.0, -1.0, 0.0]]))
    >>> bool(low < high)
    True
    """

    name = "whitened"
    summary = "nearest usual moments after whitening what varies within a class; for labelled classes of usual clips"
    paper = (
        "Hatch, Kajarekar and Stolcke, Within-Class Covariance Normalization for SVM-based Speaker Recognition, 2006"
    )
    max_rows = 30_000

    def __init__(self, *, neighbours: int = 10, dimensions: int = 400, memory: int = 2000, seed: int = 42) -> None:
        if min(neighbours, dimensions, memory) < 1:
            raise ValueError(
                f"neighbours, dimensions and memory are at least 1, got {neighbours}, {dimensions} and {memory}"
            )
        self.options: dict[str, Any] = {
            "neighbours": neighbours,
            "dimensions": dimensions,
            "memory": memory,
            "seed": seed,
        }
        self._memory: Rows | None = None

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        rows = checked(x, at_least=2)
        if labels is not None and len(labels) != len(rows):
            raise ValueError(f"{len(labels)} labels for {len(rows)} rows")
        normaliser = Normaliser.of(rows)
        standardised = normaliser(rows).astype(np.float64)
        directions = _directions(standardised)
        mean = directions.mean(0)
        axes = _principal_axes(directions - mean, self.options["dimensions"])
        turned = (directions - mean) @ axes
        _, kinds = np.unique(np.zeros(len(rows)) if labels is None else np.asarray(labels), return_inverse=True)
        counts = np.bincount(kinds)
        means = np.stack([np.bincount(kinds, weights=column) / counts for column in turned.T], axis=1)
        whiten = _whitening(turned - means[kinds], floor=FLOOR * float(turned.var()))
        self._normaliser = normaliser
        # In the order in which they are read back: the last bits of a product depend on it.
        self._mean = np.ascontiguousarray(mean, dtype=np.float32)
        self._projection = np.ascontiguousarray(axes @ whiten, dtype=np.float32)
        self._longest = max(float(np.linalg.norm(standardised, axis=1).max()), _LEAST_LENGTH)
        whitened = self._whitened(normaliser(rows))
        self._memory = whitened[coreset(whitened, self.options["memory"], self.options["seed"])]
        return self

    def score(self, x: FloatArray) -> FloatArray:
        if self._memory is None:
            raise ValueError("score before fit")
        standardised = self._normaliser(checked(x, columns=self._normaliser.columns))
        rows = self._whitened(standardised)
        k = min(self.options["neighbours"], len(self._memory))
        parts = [np.sqrt(np.partition(d, k - 1, axis=1)[:, :k]).mean(1) for d in squared_distances(rows, self._memory)]
        if not parts:
            return np.zeros(0)
        longer = np.linalg.norm(standardised.astype(np.float64), axis=1) / (2 * self._longest) - 1
        return np.asarray(np.concatenate(parts) + np.maximum(longer, 0), dtype=np.float64)

    def _whitened(self, standardised: Rows) -> Rows:
        turned = (_directions(standardised) - self._mean) @ self._projection
        return np.asarray(_directions(turned), dtype=np.float32)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._memory is None:
            raise ValueError("state before fit")
        own = {"memory": self._memory, "projection": self._projection, "direction": self._mean}
        return {**own, "mean": self._normaliser.mean, "scale": self._normaliser.scale}, {"longest": self._longest}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._normaliser = Normaliser(arrays["mean"], arrays["scale"], how="columns")
        self._longest = float(meta["longest"])
        self._memory = np.asarray(arrays["memory"], dtype=np.float32)
        self._projection = np.asarray(arrays["projection"], dtype=np.float32)
        self._mean = np.asarray(arrays["direction"], dtype=np.float32)
        return self


def _directions(rows: FloatArray) -> FloatArray:
    """Each row divided by its length; one of zeros stays so."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def _principal_axes(centred: FloatArray, most: int) -> FloatArray:
    """(d, r) of rows (n, d): as many as the rows span, at most `most`; one at least."""
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    spanned = int((sizes > 1e-6 * max(float(sizes[0]), 1e-12)).sum())
    return np.asarray(axes[: max(min(spanned, most), 1)].T)


def _whitening(residuals: FloatArray, *, floor: float) -> FloatArray:
    """(r, r) that makes the shrunk covariance of residuals (n, r) the identity."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(residuals, assume_centered=True)
    variances, axes = np.linalg.eigh(np.atleast_2d(covariance))
    return np.asarray(axes / np.sqrt(np.maximum(variances, 0) + max(floor, 1e-12)))
