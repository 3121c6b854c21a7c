"""How much goes on around a window: bodies have edges inside, which their shadows have not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]

_WIDE = 5  # windows: how far a crowd reaches
_PRESENT = 0.1  # moving share of a window in which somebody is


def crowd(edges: Map, moving: Map, window_cells: int) -> Map:
    """(h, w) square root of the mean strength of moving edges in the five times wider neighbourhood, where somebody is.

    edges: (4, h, w) mean strength 0..1 in each window, of each orientation. moving: (h, w) share of the window.
    """
    wide = _WIDE * window_cells, _WIDE * window_cells
    around = cv2.blur(edges.sum(axis=0), wide, borderType=cv2.BORDER_CONSTANT)
    return np.where(moving > _PRESENT, np.sqrt(np.maximum(around, 0)), 0).astype(np.float32)
