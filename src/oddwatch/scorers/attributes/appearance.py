"""`appearance`: the edges of what moves lie otherwise than usual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.base import Rows

_EDGES = ("edges_0", "edges_45", "edges_90", "edges_135")
_CLEAR = 0.3  # moving share of a window whose edges are those of what moves
_LEAST_SPREAD = 0.01


class Appearance(Attribute):
    """Mahalanobis distance of the strengths of moving edges in 4 orientations from their usual mean."""

    name = "appearance"
    floor = 5.0

    def sums(self, rows: Rows) -> Sums:
        edges = _edges(rows)[column(rows, "moving") > _CLEAR]
        with_one = np.concatenate([np.ones((len(edges), 1)), edges], axis=1)
        return {"products": with_one.T @ with_one}

    def usual(self, sums: Sums) -> Usual:
        products = sums["products"]
        n = max(float(products[0, 0]), 1.0)
        mean = products[0, 1:] / n
        covariance = products[1:, 1:] / n - np.outer(mean, mean) + _LEAST_SPREAD**2 * np.eye(len(_EDGES))
        return _UsualAppearance(mean, np.asarray(np.linalg.pinv(covariance, hermitian=True), np.float64))


@dataclass(frozen=True)
class _UsualAppearance(Usual):
    mean: NDArray[np.float64]
    precision: NDArray[np.float64]

    def measure(self, rows: Rows, where: Bins) -> Rows:
        off = _edges(rows) - self.mean
        squared = np.einsum("ni,ij,nj->n", off, self.precision, off)
        return np.asarray(np.sqrt(np.maximum(squared, 0)) * (column(rows, "moving") > _CLEAR), np.float32)

    def says(self, row: Rows) -> str:
        return "it looks otherwise than what moves here usually"


def _edges(rows: Rows) -> NDArray[np.float64]:
    return np.stack([column(rows, name) for name in _EDGES], axis=1).astype(np.float64)
