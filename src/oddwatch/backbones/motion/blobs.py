"""How tall and how wide the thing is that moves in a cell: connected moving cells are one thing."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
_MOVES = 0.3  # share of a cell
_JOINT = np.ones((3, 3), np.uint8)


def blob_sizes(moving: Map) -> Map:
    """(h, w, 2) height and width, in picture heights, of the blob in or next to each cell; 0 where there is none.

    moving: (h, w) share of each cell that moves.
    """
    sizes = np.zeros((*moving.shape, 2), np.float32)
    mask = (moving > _MOVES).astype(np.uint8)
    if not mask.any():
        return sizes
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _JOINT)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    table = np.zeros((len(stats), 2), np.float32)
    table[1:] = stats[1:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]] / len(moving)
    sizes[:] = table[labels]
    return np.asarray(cv2.dilate(sizes, _JOINT), np.float32)
