"""`knn`: how far from the most similar usual moments that were remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Normaliser, Rows, Scorer, checked, require_normalisation
from oddwatch.types import FloatArray

_CHUNK = 4096
_TABLE_ROWS = 6_000  # 144 MB


class KnnScorer(Scorer):
    """Mean Euclidean distance to the `neighbours` nearest rows of a memory of at most `memory` usual rows.

    The memory is a greedy k-centre coreset of the normalised rows (Sener and Savarese, ICLR 2018; as a memory bank
    Roth et al., PatchCore, CVPR 2022): it keeps the rare usual as well as the frequent. Each remembered row keeps its
    source and time: `origins` tells them for the nearest one. normalise: columns, length or none (`Normaliser`); with
    length, distances rank as those of the cosine do.

    >>> import numpy as np
    >>> scorer = KnnScorer(neighbours=1).fit(np.array([[0.0], [1.0], [2.0]]))
    >>> bool(scorer.score(np.array([[1.0]]))[0] < 1e-3 < scorer.score(np.array([[9.0]]))[0])
    True
    """

    name = "knn"
    summary = "distance to the nearest remembered usual moments (coreset); for usual behaviour of many kinds"
    paper = "Roth et al., Towards Total Recall in Industrial Anomaly Detection (PatchCore), CVPR 2022"
    max_rows = 30_000

    def __init__(self, *, neighbours: int = 3, memory: int = 2000, normalise: str = "columns", seed: int = 42) -> None:
        if neighbours < 1 or memory < 1:
            raise ValueError(f"neighbours and memory are at least 1, got {neighbours} and {memory}")
        require_normalisation(normalise)
        self.options: dict[str, Any] = {
            "neighbours": neighbours,
            "memory": memory,
            "normalise": normalise,
            "seed": seed,
        }
        self._memory: Rows | None = None

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        rows = checked(x, at_least=1)
        self._normaliser = Normaliser.of(rows, self.options["normalise"])
        scaled = self._normaliser(rows)
        chosen = coreset(scaled, self.options["memory"], self.options["seed"])
        self._memory = scaled[chosen]
        origins = np.full((len(rows), 2), -1.0) if groups is None else np.asarray(groups, dtype=np.float64)
        if origins.shape != (len(rows), 2):
            raise ValueError(f"groups are ({len(rows)}, 2), got shape {origins.shape}")
        self._origins = origins[chosen]
        return self

    def score(self, x: FloatArray) -> FloatArray:
        rows, memory = self._rows(x)
        k = min(self.options["neighbours"], len(memory))
        parts = [np.sqrt(np.partition(d, k - 1, axis=1)[:, :k]).mean(1) for d in squared_distances(rows, memory)]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    def origins(self, x: FloatArray) -> FloatArray:
        """(n, 2) source index and seconds of the nearest remembered row; -1 when `fit` got no groups."""
        rows, memory = self._rows(x)
        nearest = [d.argmin(1) for d in squared_distances(rows, memory)]
        return self._origins[np.concatenate(nearest)] if nearest else np.zeros((0, 2))

    def _rows(self, x: FloatArray) -> tuple[Rows, Rows]:
        if self._memory is None:
            raise ValueError("score before fit")
        return self._normaliser(checked(x, columns=self._normaliser.columns)), self._memory

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._memory is None:
            raise ValueError("state before fit")
        arrays = {"memory": self._memory, "origins": self._origins}
        return {**arrays, "mean": self._normaliser.mean, "scale": self._normaliser.scale}, {}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._memory = np.asarray(arrays["memory"], dtype=np.float32)
        self._origins = np.asarray(arrays["origins"], dtype=np.float64)
        self._normaliser = Normaliser(arrays["mean"], arrays["scale"], how=self.options["normalise"])
        return self


def squared_distances(rows: Rows, memory: Rows) -> Iterator[Rows]:
    """(m, len(memory)) squared distances for each chunk of rows in order, by one matrix product each."""
    length = (memory * memory).sum(1)
    for first in range(0, len(rows), _CHUNK):
        part = rows[first : first + _CHUNK]
        squared = length - 2 * (part @ memory.T) + (part * part).sum(1)[:, None]
        yield np.maximum(squared, 0, out=squared)


def coreset(rows: Rows, size: int, seed: int) -> Any:
    """(min(n, size),) indices of a greedy k-centre coreset: each next row is the one farthest from those chosen."""
    if len(rows) <= size:
        return np.arange(len(rows))
    chosen = np.empty(size, dtype=np.int64)
    chosen[0] = np.random.default_rng(seed).integers(len(rows))
    length = (rows * rows).sum(1)
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    # One product of matrices is far cheaper than many with one row each.
    table = rows @ rows.T if len(rows) <= _TABLE_ROWS else None
    for i in range(1, size):
        last = chosen[i - 1]
        products = rows @ rows[last] if table is None else table[last]
        np.minimum(nearest, length - 2 * products + length[last], out=nearest)
        chosen[i] = nearest.argmax()
    return chosen
