"""How much goes on around a window: bodies have edges inside, which their shadows have not."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Image

Map = NDArray[np.float32]

_WIDE, _HIGH = 5, 4  # windows: how far a crowd reaches
_DARK = 8.0  # grey levels added to the brightness: in the dark there are no edges to speak of
_WHITE = 255.0
_PRESENT = 0.1  # moving share of a window in which somebody is


def crowd(edges: Map, moving: Map, gray: Image, window_cells: int) -> Map:
    """(h, w) square root of the mean contrast of moving edges in a neighbourhood of 5 by 4 windows, where somebody is.

    Contrast is strength by brightness (Weber): a cloud does not thin a crowd. edges: (4, h, w) mean strength 0..1 in
    each window, of each orientation. moving: (h, w) share of the window. gray: (H, W).
    """
    wide = _WIDE * window_cells, _HIGH * window_cells
    cells = cv2.resize(gray, (moving.shape[1], moving.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)
    contrast = edges.sum(axis=0) / ((cv2.blur(cells, wide) + np.float32(_DARK)) / np.float32(_WHITE))
    around = cv2.blur(contrast, wide, borderType=cv2.BORDER_CONSTANT)
    return np.where(moving > _PRESENT, np.sqrt(np.maximum(around, 0)), 0).astype(np.float32)
