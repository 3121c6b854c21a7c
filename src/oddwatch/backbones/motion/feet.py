"""Where what is there stands on the ground: who walks behind a path is as high in the picture as those on it, but for
the feet.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]

_JOINT = (3, 1)  # cells: what has a gap so low is one
_LARGE, _TALL = 10, 4  # cells in all, and of height: somebody far away; what is smaller has no feet
_BELOW = 7  # cells in which nothing is, else it is a gap: who is cut off by the border stands outside
_STEP = (5, 5)  # cells: how far feet get from one moment to the next
_SURE_SECONDS = 3.0  # feet that were there for so long are no noise
_LOST = 2.0  # a second without them undoes so many
_PAIR, _SHARE = (5, 3), 1 / 5  # cells around, and the share of them that a pair of feet takes up


class Feet:
    """Of one stream, in cells."""

    def __init__(self) -> None:
        self._stood: Map | None = None

    def update(self, present: Map, seconds: float) -> Map:
        """(h, w) 0..1, how much of a pair of feet is around each cell, the less the shorter they have been there.

        present: (h, w) 1 where somebody or something is, and 0 elsewhere. seconds: since the last call.
        """
        now = _lowest(present)
        before = np.zeros_like(now) if self._stood is None else self._stood
        near = cv2.dilate(before, np.ones(_STEP, np.uint8))
        lost = np.maximum(before - np.float32(_LOST * seconds), 0)
        self._stood = np.where(now > 0, np.minimum(near + np.float32(seconds), _SURE_SECONDS), lost).astype(np.float32)
        around = cv2.blur(self._stood, _PAIR, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(np.minimum(around / np.float32(_SURE_SECONDS * _SHARE), 1), np.float32)


def _lowest(present: Map) -> Map:
    """(h, w) 1 where what is large enough ends below, and 0 elsewhere."""
    whole = cv2.morphologyEx(present.astype(np.uint8), cv2.MORPH_CLOSE, np.ones(_JOINT, np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
    large = (stats[:, cv2.CC_STAT_AREA] >= _LARGE) & (stats[:, cv2.CC_STAT_HEIGHT] >= _TALL)
    large[0] = False  # the ground
    below = np.ones_like(whole)
    below[:-_BELOW] = 0
    for down in range(1, _BELOW + 1):
        below[:-down] = np.maximum(below[:-down], whole[down:])
    return np.asarray(large[labels] & (below == 0), np.float32)
