"""A mean over time that is carried ALONG the motion, so that swinging limbs even out without delay.

The last mean is moved to where its contents have gone and blended with the new value; a place that its contents have
left lets go of them faster. The first means are plain means of what there is: of less than later ones.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]

STEP_SECONDS = 0.1
"""The weight of a new value is given for values that come so far apart."""
_LEFT = 0.5  # of the mean's speed: with less, what was here has gone


class Carried:
    """The mean of one stream, forwards in time, or backwards with velocities of the other sign.

    count: a plain mean of so many values varies as much as this one; at most `values_of` the weight.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._mean: Map | None = None
        self._steps, self.count = 0, 0.0

    def step(self, windows: Map, velocity: Map, seconds: float) -> Map:
        """The mean now. windows: (c, h, w), the first channel is the speed. velocity: (2, h, w) of what each cell
        holds, in cells per `seconds`, the time since the last call.
        """
        self._steps += 1
        least = 1 - (1 - self._weight) ** (seconds / STEP_SECONDS)
        weight = np.float32(max(least, 1 / self._steps))
        self.count = min(self._steps, values_of(least)) if least > 0 else self._steps
        if self._mean is None:
            self._mean = windows
            height, width = windows.shape[1:]
            self._x, self._y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
            return windows
        if not (windows.any() or self._mean.any()):
            return self._mean
        moved = _at(self._mean, self._x - velocity[0], self._y - velocity[1]) if velocity.any() else self._mean
        gone = windows[0] < _LEFT * moved[0]
        self._mean = np.asarray(moved + np.where(gone, (1 + weight) / 2, weight) * (windows - moved), np.float32)
        return self._mean

    def forget(self) -> None:
        """What was carried is of another time."""
        self._mean = None
        self._steps, self.count = 0, 0.0


def values_of(weight: float) -> float:
    """An exponential mean with this weight varies as much as a plain one of so many values."""
    return 2 / weight - 1


def _at(mean: Map, x: Map, y: Map) -> Map:
    """mean (c, h, w) read at x, y (h, w)."""
    parts = [cv2.merge(list(mean[i : i + 4])) for i in range(0, len(mean), 4)]  # remap takes at most 4 channels
    moved = [cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in parts]
    return np.stack([channel for part in moved for channel in cv2.split(part)])
