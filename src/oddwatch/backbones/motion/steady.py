"""Takes out of a frame by how much the whole picture has moved since, up to a few pixels: a pole in the wind.

A step of Lucas and Kanade (An iterative image registration technique, IJCAI 1981) for all of the picture at once; where
the camera shakes, one at a quarter of the size before it and another after. A tenth of a pixel changes the outline of a
window by more grey levels than somebody in gray changes the pavement.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Image

_COARSE = 4
_ROWS = 120  # at most so many are looked at, and columns accordingly
_SOBEL = 8  # gain of the filter
_FLAT = (1.0, 1.0, 1e-3, 1e-3)  # added to the mean squares: where there are no slopes nothing has moved
_LEAST_PX = 0.05  # less changes nothing, and moving a picture blurs it a little
_ENOUGH = 0.2  # of the picture: with less, all of it is looked at
_MOST_PX = 6.0  # from there on the steps do not know

Shift = NDArray[np.float32]
"""(2,) px to the right and down."""
_NONE = np.zeros(2, np.float32)


def steadied(before: Image, now: Image, still: NDArray[np.uint8], *, far: bool) -> Image:
    """The frame before, as the camera would have seen it from where it looks now; itself where it did not move.

    now, before: (H, W) uint8. still: (H / 8, W / 8), 1 for a tile by which the camera is judged and 0 for another. far:
    it may be more than a pixel. What comes in at a border is taken from this frame: nothing is known of it.
    """
    return moved(before, now, offset(before, now, still, far=far))


def offset(before: Image, now: Image, still: NDArray[np.uint8], *, far: bool = False, steps: int = 1) -> Shift:
    """By how much the frame before has to be moved to lie on this one, 0 where that is next to nothing. Arguments: as
    in `steadied`; still of any size.
    """
    shift, everywhere = _NONE, np.ones_like(still)
    if still.mean() < _ENOUGH:
        still = everywhere
    if far:
        size = max(now.shape[1] // _COARSE, 1), max(now.shape[0] // _COARSE, 1)
        a, b = (np.asarray(cv2.resize(i, size, interpolation=cv2.INTER_AREA), np.uint8) for i in (now, before))
        shift = _known(_COARSE * _step(a, b, everywhere))  # what is still has changed, too
    for _ in range(steps + far):
        shift = _known(shift + _step(now, moved(before, now, shift), still))
    return shift


def _step(now: Image, before: Image, still: NDArray[np.uint8]) -> Shift:
    """Least squares of the change of each pixel on its slopes, its brightness and 1: light and exposure change, too."""
    both = cv2.addWeighted(now, 0.5, before, 0.5, 0)
    apart = -(-now.shape[0] // _ROWS)
    every = np.s_[::apart, ::apart]
    height, width = now[every].shape
    counts = np.flatnonzero(cv2.resize(still, (width, height), interpolation=cv2.INTER_NEAREST))
    known = [(one[every].reshape(-1)[counts] / _SOBEL).astype(np.float32) for one in (*cv2.spatialGradient(both), both)]
    x = np.stack([*known, np.ones_like(known[0])])
    change = cv2.subtract(before[every], now[every], dtype=cv2.CV_32F).reshape(-1)[counts]
    flat = np.diag(_FLAT) * max(len(change), 1)
    return np.linalg.solve(x @ x.T + flat, x @ change)[:2].astype(np.float32)


def _known(shift: Shift) -> Shift:
    return shift if _LEAST_PX <= float(np.hypot(*shift)) <= _MOST_PX else _NONE


def moved(before: Image, now: Image, shift: Shift) -> Image:
    """The frame before, moved; what comes in at a border is taken from `now`."""
    if not shift.any():
        return before
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    size = before.shape[1], before.shape[0]
    found = cv2.warpAffine(before, matrix, size, now.copy(), cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
    return np.asarray(found, np.uint8)
