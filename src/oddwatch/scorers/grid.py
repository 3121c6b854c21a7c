"""Any scorer on a grid of local embeddings: one score per place, an anomaly map per moment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.base import Rows, Scorer
from oddwatch.types import FloatArray, Reason


class GridScorer:
    """Scores each cell of (N, Gh, Gw, d) with one row scorer that also sees where the cell is.

    Location is context: the cell's y and x, in grid heights from the middle, are two more columns of its row. A cell
    whose values are all 0 holds nothing: it is not learned from and its score is 0.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @staticmethod
    def rows(values: FloatArray, cells: NDArray[np.integer[Any]], shape: tuple[int, int]) -> Rows:
        """Rows (m, d + 2) from the values (m, d) of cells (m,) of a flattened grid of `shape` (Gh, Gw)."""
        height, width = shape
        y, x = (cells // width + 0.5) / height - 0.5, (cells % width + 0.5 - width / 2) / height
        return np.concatenate([values, y[:, None], x[:, None]], axis=1).astype(np.float32)

    def maps(self, grid: FloatArray) -> Rows:
        """(N, Gh, Gw) float32 anomaly maps."""
        flat = grid.reshape(len(grid), -1, grid.shape[-1])
        held = flat.any(axis=-1)
        maps = np.zeros(held.shape, dtype=np.float32)
        if held.any():
            maps[held] = self.scorer.score(self.rows(flat[held], np.nonzero(held)[1], (grid.shape[1], grid.shape[2])))
        return maps.reshape(grid.shape[:3])

    def reasons(self, grid: FloatArray, maps: Rows) -> tuple[Reason | None, ...] | None:
        """For each map (N, Gh, Gw) of a grid why its highest cell is high; None for a map of zeros, and altogether from
        scorers that cannot say.
        """
        flat, peaks = grid.reshape(len(grid), -1, grid.shape[-1]), maps.reshape(len(maps), -1).argmax(axis=1)
        high = np.flatnonzero(maps.any(axis=(1, 2)))
        rows = self.rows(flat[high, peaks[high]], peaks[high], (grid.shape[1], grid.shape[2]))
        found = self.scorer.explain(rows) if len(rows) else []
        if found is None:
            return None
        reasons: list[Reason | None] = [None] * len(maps)
        for index, reason in zip(high, found, strict=True):
            reasons[index] = reason
        return tuple(reasons)
