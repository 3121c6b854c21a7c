"""What a window of about a person's size holds: how fast, which way, how much of it moves, how its edges lie."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Image

Map = NDArray[np.float32]

CELL_PX = 4
"""Windows are measured at places this far apart, in working pixels."""
ANGLES = (0, 45, 90, 135)
CHANNELS = ("speed", "right", "down", "moving", *(f"edges_{angle}" for angle in ANGLES))
_NEAR_PX = 7  # half-size pixels over which the velocity of a cell is decided, about a limb


@dataclass(frozen=True)
class Windows:
    """means: (8, H / 4, W / 4) `CHANNELS`, px per frame. moving: (H / 4, W / 4) share of each cell alone. velocity:
    (2, H / 4, W / 4) of what dominates each cell, in cells per frame.
    """

    means: Map
    moving: Map
    velocity: Map


def measure(flow: Map, gray: Image, *, window_px: float, moving_px: float) -> Windows:
    """flow: (H / 2, W / 2, 2) px per frame. gray: (H, W). moving_px: flow above which a pixel moves."""
    height, width = flow.shape[:2]
    size = width // 2, height // 2
    top, bottom = _rows(flow)
    side = max(round(window_px / CELL_PX), 1)
    if top == bottom:
        empty = np.zeros((len(CHANNELS), size[1], size[0]), np.float32)
        return Windows(empty, empty[0], empty[:2])
    part = flow[top:bottom]
    right, down = cv2.split(part)
    # Not cv2.magnitude: it rounds by where in memory its input lies, so the same frames gave other bits at times.
    squared = right * right + down * down
    speed = np.sqrt(squared)
    moving = (speed > moving_px).astype(np.float32)
    cells = np.zeros((len(CHANNELS) + 2, size[1], size[0]), np.float32)
    inside = size[0], (bottom - top) // 2
    within = cells[:, top // 2 : bottom // 2]
    for index, values in enumerate([speed, right, down, moving, *_edges(gray, moving, top, bottom)]):
        within[index] = cv2.resize(values, inside, interpolation=cv2.INTER_AREA)
    near = (_NEAR_PX, _NEAR_PX)
    weight = cv2.blur(squared, near) + 1e-3
    for index, values in enumerate([right, down]):
        dominant = cv2.blur(values * squared, near) / weight
        within[len(CHANNELS) + index] = cv2.resize(dominant, inside, interpolation=cv2.INTER_AREA) / CELL_PX
    means = np.empty_like(cells[: len(CHANNELS)])
    for one, mean in zip(cells, means, strict=False):
        cv2.blur(one, (side, side), dst=mean)
    return Windows(means, cells[3], cells[len(CHANNELS) :])


def _rows(flow: Map) -> tuple[int, int]:
    """The rows that hold some flow, and a few around them, as whole cells."""
    held = np.flatnonzero(flow.reshape(len(flow), -1).any(axis=1))
    if not len(held):
        return 0, 0
    return max(int(held[0]) - _NEAR_PX, 0) // 2 * 2, min(int(held[-1]) + 1 + _NEAR_PX + 1, len(flow)) // 2 * 2


def _edges(gray: Image, moving: Map, top: int, bottom: int) -> list[Map]:
    """Strength 0..1 of moving edges in each of `ANGLES`, at half size, rows top..bottom (after HOG, Dalal and Triggs,
    CVPR 2005).
    """
    half = cv2.resize(gray, (gray.shape[1] // 2, gray.shape[0] // 2), interpolation=cv2.INTER_AREA)
    first, last = max(top - 1, 0), min(bottom + 1, len(half))
    rows = np.s_[top - first : top - first + bottom - top]
    right = cv2.Sobel(half[first:last], cv2.CV_32F, 1, 0)[rows]
    down = cv2.Sobel(half[first:last], cv2.CV_32F, 0, 1)[rows]
    squares = right * right, down * down
    norm = squares[0] + squares[1] + 1e-6
    strength = moving * np.sqrt(norm) / 255
    # cos(2 (a - b)) from the gradient itself, without angles: opposite gradients are one orientation.
    level, slanted = strength * (squares[0] - squares[1]) / norm, strength * (2 * right * down) / norm
    return [np.maximum(one, 0, dtype=np.float32) for one in (level, slanted, -level, -slanted)]
