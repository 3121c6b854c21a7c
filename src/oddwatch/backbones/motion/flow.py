"""Velocity of every second pixel between two frames, measured only where something has changed.

Dense inverse search (DIS, Kroeger et al., ECCV 2016) down to full resolution and without its variational refinement: on
UCSD Ped2's training frames a frame warped by that flow misses changed pixels by 6.9 grey levels, by 8.2 with the
refinement, and by 12.2 with OpenCV's MEDIUM preset (`benchmarks/flow.py`). The noise that the refinement would have
removed goes in the means over windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.motion.leaps import follow_leaps
from oddwatch.types import Image

Map = NDArray[np.float32]

_TILE_PX = 8
_CHANGED = 10  # grey levels, after a mean over 3 x 3 px: above the noise of cameras
_MARGIN = (5, 5)  # tiles around a changed one: patches and pyramids look beyond it
_LEAST_PX = 96  # side of a piece: smaller ones have too few levels in their pyramid to follow anything quick
_CALL_PX = 2000  # what a call costs in pixels
_WHOLE = 0.8  # share of the picture from which pieces gain nothing
_SHAKEN = 0.5  # share of changed tiles from which the picture may move as a whole
_EVEN = (5, 5)


class Level(NamedTuple):
    """stride_px: distance of the patches. descents: steps of each."""

    stride_px: int
    descents: int


LEVELS = {"fine": Level(4, 16), "fast": Level(6, 8)}


@dataclass(frozen=True)
class Field:
    """velocity: (H / 2, W / 2, 2) px per frame to the right and down. measured: share of the picture it took."""

    velocity: Map
    measured: float


class Flow:
    """Buffers of one thread."""

    def __init__(self, level: str) -> None:
        chosen = LEVELS[level]
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._dis.setFinestScale(0)
        self._dis.setVariationalRefinementIterations(0)
        self._dis.setPatchStride(chosen.stride_px)
        self._dis.setGradientDescentIterations(chosen.descents)

    def __call__(self, now: Image, before: Image) -> Field:
        """On THIS frame's grid, less the shift of the whole picture (shake); 0 where nothing changed.

        now, before: (H, W) uint8, sides multiples of 8, at least 16.
        """
        height, width = now.shape
        velocity = np.zeros((height // 2, width // 2, 2), np.float32)
        changed = _changed(now, before)
        if not changed.any():
            return Field(velocity, 0.0)
        near = np.asarray(cv2.dilate(changed, np.ones(_MARGIN, np.uint8)), np.uint8)
        pieces = _pieces(near, width, height)
        area = sum(_area(p) for p in pieces) / now.size
        if area > _WHOLE or changed.mean() > _SHAKEN:
            whole = self._velocity(now, before)
            follow_leaps(whole, now, before)
            return Field(whole - np.median(whole[::4, ::4].reshape(-1, 2), axis=0).astype(np.float32), 1.0)
        for left, top, right, bottom in pieces:
            part = np.s_[top // 2 : bottom // 2, left // 2 : right // 2]
            found = self._velocity(now[top:bottom, left:right].copy(), before[top:bottom, left:right].copy())
            tiles = near[top // _TILE_PX : bottom // _TILE_PX, left // _TILE_PX : right // _TILE_PX]
            inside = cv2.resize(tiles, (found.shape[1], found.shape[0]), interpolation=cv2.INTER_NEAREST) > 0
            for channel in range(2):  # ten times as fast as indexing pairs with a mask
                np.copyto(velocity[part][..., channel], found[..., channel], where=inside)
        follow_leaps(velocity, now, before)
        return Field(velocity, area)

    def _velocity(self, now: Image, before: Image) -> Map:
        flow = self._dis.calc(now, before, None)
        half = cv2.resize(flow, (now.shape[1] // 2, now.shape[0] // 2), interpolation=cv2.INTER_AREA)
        return np.asarray(-cv2.blur(half, _EVEN), np.float32)


Piece = tuple[int, int, int, int]


def _changed(now: Image, before: Image) -> NDArray[np.uint8]:
    """(H / 8, W / 8) 1 where a tile holds a pixel that changed by more than the noise."""
    difference = cv2.blur(cv2.absdiff(now, before), (3, 3))
    most = cv2.dilate(difference, np.ones((_TILE_PX, _TILE_PX), np.uint8), anchor=(0, 0))
    return np.asarray(most[::_TILE_PX, ::_TILE_PX] > _CHANGED, np.uint8)


def _pieces(near: NDArray[np.uint8], width: int, height: int) -> list[Piece]:
    """Boxes left, top, right, bottom in px, whole tiles, that hold all marked tiles; those are joined of which one is
    cheaper than two.
    """
    boxes = [
        (*_long_enough(left, left + w, width), *_long_enough(top, top + h, height))
        for left, top, w, h, _ in cv2.connectedComponentsWithStats(near, connectivity=8)[2][1:].tolist()
    ]
    pieces: list[Piece] = []
    for left, right, top, bottom in boxes:
        piece = left, top, right, bottom
        while True:
            cheaper = next((p for p in pieces if _area(_joined(p, piece)) <= _area(p) + _area(piece) + _CALL_PX), None)
            if cheaper is None:
                break
            pieces.remove(cheaper)
            piece = _joined(cheaper, piece)
        pieces.append(piece)
    return pieces


def _long_enough(first: int, last: int, length_px: int) -> tuple[int, int]:
    """Tiles first..last-1 in px, grown to the least side a piece has, inside a picture of this length."""
    missing = max(_LEAST_PX // _TILE_PX - (last - first), 0)
    first -= missing // 2
    last += missing - missing // 2
    shift = max(-first, 0) - max(last - length_px // _TILE_PX, 0)
    return max(first + shift, 0) * _TILE_PX, min(last + shift, length_px // _TILE_PX) * _TILE_PX


def _joined(one: Piece, other: Piece) -> Piece:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _area(piece: Piece) -> int:
    return (piece[2] - piece[0]) * (piece[3] - piece[1])
