"""Sums over rows kept by place: a map of bins in a frame of one by three picture heights."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Bins, Sums, column
from oddwatch.scorers.base import Rows
from oddwatch.types import FloatArray

BINS = 24
"""Per picture height."""
WIDTHS = 3
"""Picture heights that are kept."""
NEVER = 1e-4
"""Occupancy, as a share of the most frequented place, that is as good as none."""
_BLUR_BINS = 1.2  # about half a person
_TRUSTED = 0.3  # of the mean count of a place: so much of the whole picture's is mixed with each place's own


def bins(rows: Rows, per_height: int = BINS) -> Bins:
    """(n,) which bin each row is in, of a flattened map."""
    y = np.floor((column(rows, "y") + 0.5) * per_height)
    x = np.floor((column(rows, "x") + WIDTHS / 2) * per_height)
    y, x = np.minimum(np.maximum(y, 0), per_height - 1), np.minimum(np.maximum(x, 0), WIDTHS * per_height - 1)
    return np.asarray(y * (WIDTHS * per_height) + x, np.intp)


def placed_sum(rows: Rows, values: FloatArray, per_height: int = BINS) -> NDArray[np.float64]:
    """(per_height, 3 per_height) sum of the values (n,) in each bin."""
    sums = np.bincount(bins(rows, per_height), values.astype(np.float64), per_height * WIDTHS * per_height)
    return np.asarray(sums.reshape(per_height, WIDTHS * per_height), np.float64)


def blurred(sums: NDArray[np.float64], across: float = _BLUR_BINS, down: float = _BLUR_BINS) -> NDArray[np.float64]:
    """Each bin with its neighbours. across, down: bins, standard deviations."""
    return np.asarray(cv2.GaussianBlur(sums, (0, 0), sigmaX=across, sigmaY=down), np.float64)


def occupancy(sums: NDArray[np.float64], across: float = _BLUR_BINS, down: float = _BLUR_BINS) -> NDArray[np.float64]:
    """Smooth share of the most frequented place, `NEVER` to 1. across, down: as of `blurred`."""
    smooth = blurred(np.maximum(sums, 0), across, down)
    return np.asarray(np.maximum(smooth / max(float(smooth.max()), 1e-6), NEVER))


def gaussian_sums(rows: Rows, values: Rows, weights: Rows) -> Sums:
    """For `PlacedGaussian`: values (n,) with weights (n,)."""
    w, v = weights.astype(np.float64), values.astype(np.float64)
    at = np.stack([np.ones_like(w), column(rows, "y"), column(rows, "x")], axis=1)
    return {
        "count": placed_sum(rows, w),
        "first": placed_sum(rows, w * v),
        "second": placed_sum(rows, w * v * v),
        "products": (at * w[:, None]).T @ at,
        "moments": (at * w[:, None]).T @ v,
    }


@dataclass(frozen=True)
class PlacedGaussian:
    """Mean and spread of a value at each place. Over the whole picture the mean is linear in y and x (perspective);
    where much was seen the place has its own, shrunk towards that. mean, spread: (bins, 3 bins).
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    @staticmethod
    def of(sums: Sums, *, least_spread: float, trusted: float = _TRUSTED) -> PlacedGaussian:
        """least_spread: in units of the value. trusted: of the mean count, what stands for the whole picture."""
        count, total = sums["count"], float(sums["count"].sum())
        if total <= 0:
            flat = np.zeros((BINS, WIDTHS * BINS))
            return PlacedGaussian(flat, flat + least_spread)
        trend = np.linalg.lstsq(sums["products"] + 1e-9 * total * np.eye(3), sums["moments"], rcond=None)[0]
        y, x = np.mgrid[0:BINS, 0 : WIDTHS * BINS]
        expected = trend[0] + trend[1] * ((y + 0.5) / BINS - 0.5) + trend[2] * ((x + 0.5) / BINS - WIDTHS / 2)
        values = sums["second"] - 2 * expected * sums["first"] + expected**2 * count  # squared distances from the trend
        variance = max(float(values.sum()) / total, 0.0)
        prior = trusted * total / max(int((count > 0).sum()), 1)
        n = blurred(count) + prior
        off = blurred(sums["first"] - expected * count) / n
        spread = np.sqrt(np.maximum((blurred(values) + prior * variance) / n - off**2, least_spread**2))
        return PlacedGaussian(expected + off, spread)

    def above(self, where: Bins, values: Rows) -> Rows:
        """(n,) standard deviations by which values lie above what is usual where they are, at least 0."""
        return np.asarray(np.maximum(values - self.mean.take(where), 0) / self.spread.take(where), np.float32)

    def usually(self, row: Rows) -> float:
        """The mean where one row (d,) is."""
        return float(self.mean.take(bins(row[None]))[0])
