"""Any scorer on a grid of local embeddings: one score per place, an anomaly map per moment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.base import Explain, Rows, Scorer
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
        rows = np.empty((len(values), values.shape[1] + 2), np.float32)
        rows[:, :-2] = values
        rows[:, -2] = (cells // width + 0.5) / height - 0.5
        rows[:, -1] = (cells % width + 0.5 - width / 2) / height
        return rows

    @staticmethod
    def held_rows(grid: FloatArray) -> tuple[Rows, NDArray[np.bool_]]:
        """Rows of the cells that hold something, in order, and (N, Gh x Gw) which these are."""
        flat = grid.reshape(len(grid), -1, grid.shape[-1])
        held = np.asarray(flat.any(axis=-1), np.bool_)
        return GridScorer.rows(flat[held], np.nonzero(held)[1], (grid.shape[1], grid.shape[2])), held

    def maps(self, grid: FloatArray) -> Rows:
        """(N, Gh, Gw) float32 anomaly maps, as the scorer locates them."""
        return self.scorer.located(self._scored(grid)[0], grid)

    def explained(self, grid: FloatArray, least: float = 0.0) -> tuple[Rows, tuple[Reason | None, ...] | None]:
        """The maps, and for each why its highest cell is high: None for a map of zeros and one that is nowhere as high
        as `least`, and altogether from scorers that cannot say.
        """
        maps, held, explain = self._scored(grid)
        located = self.scorer.located(maps, grid)
        reasons: list[Reason | None] = [None] * len(maps)
        highest = located.reshape(len(maps), -1).max(axis=1)
        high = np.flatnonzero((highest > 0) & (highest >= least))
        if explain and len(high):
            peaks = maps.reshape(len(maps), -1).argmax(axis=1)
            row_of = np.cumsum(held).reshape(held.shape) - 1
            found = explain(row_of[high, peaks[high]])
            if found is None:
                return located, None
            for index, reason in zip(high, found, strict=True):
                reasons[index] = reason
        return located, tuple(reasons)

    def _scored(self, grid: FloatArray) -> tuple[Rows, NDArray[np.bool_], Explain | None]:
        """The maps, (N, Gh x Gw) which cells hold something, and what explains them by number; None for none."""
        rows, held = self.held_rows(grid)
        maps: Rows = np.zeros(held.shape, dtype=np.float32)
        explain: Explain | None = None
        if len(rows):
            maps[held], explain = self.scorer.score_and_explain(rows)
        return maps.reshape(grid.shape[:3]), held, explain
