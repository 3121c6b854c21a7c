"""How high the values of usual video get, and stay for as long as an event has to last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d

from oddwatch.scorers.base import Rows
from oddwatch.types import EVENT_SECONDS


def highest(measured: Rows, moments: NDArray[np.float64] | None, blocks: int) -> Rows:
    """(blocks, a) the highest value that each attribute holds for `EVENT_SECONDS` in contiguous blocks of usual video.

    measured: (n, a) rows in order of time. moments: (n, 2) source and seconds of each row; without them, and where
    nothing was seen for so long in one go, single rows or moments count.
    """
    values = measured
    if moments is not None:
        begins = np.flatnonzero(np.r_[True, (np.diff(moments, axis=0) != 0).any(axis=1)])
        values = _held(np.maximum.reduceat(measured, begins), moments[begins])
    return np.stack([block.max(axis=0) for block in np.array_split(values, blocks) if len(block)])


def _held(values: Rows, moments: NDArray[np.float64]) -> Rows:
    """(m, a) of moments -> (k, a) the least of all in the same `EVENT_SECONDS`, where all of these were seen."""
    source, seconds = moments.T
    steps = np.diff(seconds)[np.diff(source) == 0]
    count = max(round(EVENT_SECONDS / float(np.quantile(steps, 0.25))), 1) if len(steps) else 1
    if count == 1 or len(values) < count:
        return values
    whole = (source[count - 1 :] == source[: 1 - count]) & (
        seconds[count - 1 :] - seconds[: 1 - count] <= EVENT_SECONDS * (1 + 1e-6)
    )
    least = minimum_filter1d(values, count, axis=0, origin=-(count // 2))[: len(whole)]
    return np.asarray(least[whole] if whole.any() else values, np.float32)
