"""`centroid`: how far from the nearest class centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Rows, Scorer, checked
from oddwatch.types import FloatArray


class CentroidScorer(Scorer):
    """Euclidean distance to the nearest class mean; one class when there are no labels.

    An embedding farther than a threshold from ALL class centroids is anomalous (Randellini 2023).

    >>> import numpy as np
    >>> scorer = CentroidScorer().fit(np.array([[0.0, 0.0], [10.0, 0.0]]), labels=["walk", "run"])
    >>> scorer.score(np.array([[9.0, 0.0]])), scorer.nearest(np.array([[9.0, 0.0]]))
    (array([1.]), ['run'])
    """

    name = "centroid"
    summary = "distance to the nearest class centroid (one class without labels); the simplest baseline"
    paper = "Randellini, Video anomaly detection with pretrained space-time models, 2023"

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self._centres: Rows | None = None
        self.classes: tuple[str, ...] = ()

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        rows = checked(x, at_least=1)
        names = np.asarray(labels if labels is not None else ["usual"] * len(rows))
        if names.shape != (len(rows),):
            raise ValueError(f"{len(rows)} rows need as many labels, got {len(names)}")
        self.classes = tuple(str(name) for name in np.unique(names))
        self._centres = np.stack([rows[names == name].mean(0, dtype=np.float64) for name in self.classes]).astype(
            np.float32
        )
        return self

    def distances(self, x: FloatArray) -> FloatArray:
        """(n, classes) distance to each class centroid, in the order of `classes`."""
        if self._centres is None:
            raise ValueError("score before fit")
        rows = checked(x, columns=self._centres.shape[1])
        return np.stack([np.linalg.norm(rows - c, axis=1) for c in self._centres], axis=1).astype(np.float64)

    def score(self, x: FloatArray) -> FloatArray:
        nearest: FloatArray = self.distances(x).min(1)
        return nearest

    def nearest(self, x: FloatArray) -> list[str]:
        """The class whose centroid is nearest, per row."""
        return [self.classes[i] for i in self.distances(x).argmin(1)]

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._centres is None:
            raise ValueError("state before fit")
        return {"centres": self._centres}, {"classes": list(self.classes)}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._centres = np.asarray(arrays["centres"], dtype=np.float32)
        self.classes = tuple(meta["classes"])
        return self
