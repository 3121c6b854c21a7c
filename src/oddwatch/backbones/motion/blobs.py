"""How tall and how wide the thing is that moves in a cell: connected moving cells are one thing."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
_MOVES = 0.3  # share of a cell
_JOINT = np.ones((3, 3), np.uint8)


def blob_sizes(moving: Map) -> Map:
    """(2, h, w) height and width, in picture heights, of the blob in or next to each cell; 0 where there is none.

    moving: (h, w) share of each cell that moves.
    """
    mask = (moving > _MOVES).astype(np.uint8)
    if not mask.any():
        return np.zeros((2, *moving.shape), np.float32)
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _JOINT)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    table = np.zeros((2, len(stats)), np.float32)
    table[:, 1:] = stats[1:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]].T / len(moving)
    return np.stack([np.asarray(cv2.dilate(side[labels], _JOINT), np.float32) for side in table])
