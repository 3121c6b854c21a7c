"""`blend`: three ways in which the direction of an embedding can be far from usual ones, on one scale, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Normaliser, Rows, Scorer, checked
from oddwatch.scorers.gaussian import GaussianScorer
from oddwatch.scorers.knn import KnnScorer
from oddwatch.types import FloatArray

_PARTS = 4  # contiguous parts of the usual video, each scored by what learned from the others
_SHARE = 0.8  # of the variance of usual rows that the subspace holds
_LEAST_SPREAD = 1e-6
_CHUNK = 4096


class BlendScorer(Scorer):
    """Mean of `knn`, `gaussian` and the distance from a subspace, all three of the direction of embeddings.

    knn sees what is far from every usual moment, gaussian what is odd in view of how usual values vary together, and
    the subspace (principal components that hold 80% of the variance, the linear form of an autoencoder) what the usual
    cannot be mixed to. Rows are normalised by `length` (`Normaliser`). The three are on different scales, so each is
    standardised by mean and deviation of what it scores held-out usual rows: contiguous parts of time, each scored by
    what learned from the others (fewer than 8 rows are too few for that: they are scored by what learned from all).
    The score is log(1 + e^z) of their mean z: in the order of z, near z where that is large, and never below 0.
    neighbours, memory: of `knn`.

    No one of them is trusted alone: which is best depends on the network and on what happens. docs/results.md has what
    was compared, and on what.
    """

    name = "blend"
    summary = "nearest usual moments, usual spread and usual subspace, averaged; for embeddings of pretrained networks"
    max_rows = 4_000  # it fits five times, and a coreset of a large memory is slow

    def __init__(self, *, neighbours: int = 3, memory: int = 2000, seed: int = 42) -> None:
        self.options: dict[str, Any] = {"neighbours": neighbours, "memory": memory, "seed": seed}
        self._parts = self._build()
        self._scale: FloatArray | None = None
        """(2, 3) mean and deviation of what each part scores held-out usual rows."""

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        """See `Scorer.fit`. groups also say which rows are neighbours in time; without them the order of rows does."""
        rows = checked(x, at_least=2)
        order = np.arange(len(rows)) if groups is None else np.lexsort((groups[:, 1], groups[:, 0]))
        self._parts = self._build()
        if len(rows) < 2 * _PARTS:
            held_out = _scores([part.fit(rows) for part in self._parts], rows)
        else:
            cuts = np.array_split(order, _PARTS)
            held_out = np.concatenate(
                [_scores([p.fit(np.delete(rows, cut, axis=0)) for p in self._build()], rows[cut]) for cut in cuts]
            )
        self._scale = np.stack([held_out.mean(0), np.maximum(held_out.std(0), _LEAST_SPREAD)])
        for part in self._parts:
            part.fit(rows, groups=groups)
        return self

    def score(self, x: FloatArray) -> FloatArray:
        if self._scale is None:
            raise ValueError("score before fit")
        mean, spread = self._scale
        z = ((_scores(self._parts, x) - mean) / spread).mean(axis=1)
        return np.asarray(np.logaddexp(0, z), dtype=np.float64)

    def origins(self, x: FloatArray) -> FloatArray:
        """(n, 2) source index and seconds of the nearest remembered row; -1 when `fit` got no groups."""
        if self._scale is None:
            raise ValueError("score before fit")
        knn = self._parts[0]
        assert isinstance(knn, KnnScorer)
        return knn.origins(x)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._scale is None:
            raise ValueError("state before fit")
        arrays = {f"{p.name}.{name}": value for p in self._parts for name, value in p.state()[0].items()}
        return {**arrays, "scale": self._scale}, {}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        for part in self._parts:
            prefix = f"{part.name}."
            part.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}, {})
        self._scale = np.asarray(arrays["scale"], dtype=np.float64)
        return self

    def _build(self) -> list[Scorer]:
        return [KnnScorer(normalise="length", **self.options), GaussianScorer(normalise="length"), SubspaceScorer()]


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
        count = int(np.searchsorted(np.cumsum(values), _SHARE * values.sum()) + 1) if values.sum() > 0 else 0
        axes = vectors[:, :count]
        self._axes: Rows = (normal.T @ axes / np.sqrt(values[:count]) if few else axes).T.astype(np.float32)
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


def _scores(parts: Sequence[Scorer], rows: FloatArray) -> FloatArray:
    """(n, 3) what each part scores, a chunk of rows at a time: each part makes copies of what it is given."""
    chunks = [rows[i : i + _CHUNK] for i in range(0, max(len(rows), 1), _CHUNK)]
    return np.concatenate([np.stack([part.score(chunk) for part in parts], axis=1) for chunk in chunks])
