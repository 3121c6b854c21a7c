"""`scene`: more of the picture is another than usual: the camera was moved, the light has gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.base import Rows

_LEAST_SPREAD = 0.03  # share of the picture


class Scene(Attribute):
    """Standard deviations of the changed share of the picture above the usual one."""

    name = "scene"
    floor = 5.0

    def sums(self, rows: Rows) -> Sums:
        changed = column(rows, "changed").astype(np.float64)
        return {"moments": np.array([len(changed), changed.sum(), (changed**2).sum()])}

    def usual(self, sums: Sums) -> Usual:
        n, first, second = sums["moments"]
        mean = first / max(n, 1.0)
        return _UsualScene(float(mean), float(np.sqrt(max(second / max(n, 1.0) - mean**2, _LEAST_SPREAD**2))))


@dataclass(frozen=True)
class _UsualScene(Usual):
    mean: float
    spread: float

    def measure(self, rows: Rows, where: Bins) -> Rows:
        return np.asarray(np.maximum(column(rows, "changed") - self.mean, 0) / self.spread, np.float32)

    def says(self, row: Rows) -> str:
        return f"{float(column(row[None], 'changed')[0]):.0%} of the whole picture is another"
