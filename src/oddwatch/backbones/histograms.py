"""`histograms`: how whatever moves in a clip moves and is shaped, wherever it is. No weights, any camera."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipBackbone, ClipInput, Pixels
from oddwatch.errors import UsageError
from oddwatch.types import Image

_WIDTH, _HEIGHT = 160, 120
_BINS = 8
_STILL_PX = 0.4
"""Flow shorter than this many pixels per frame is no movement."""
_COARSE = 4
_LEVELS = (1, 2, 4)
_BOX = 24
_WHOLE = (0.0, 0.0, _WIDTH / _COARSE, _HEIGHT / _COARSE)
_BOX_DEVIATIONS = 1.0
_LEAST_DEVIATION = 2.0
_THIRDS = 3
_SEGMENTS = {"moving": ((0, 1, 2), (0,), (1,), (2,)), "picture": ((0, 1, 2),)}
"""Which thirds of a clip are pooled together."""
_PARTS = (slice(0, 9), slice(9, 25), slice(25, 33))
"""Channels of HOF (the last one: stands still), of MBH in x and in y, and of HOG."""
_PER_SEGMENT = 33 * sum(side * side for side in _LEVELS)

_Map = NDArray[np.float32]
_CELL = np.arange(_HEIGHT)[:, None] // _COARSE * (_WIDTH // _COARSE) + np.arange(_WIDTH) // _COARSE
_CELL *= _BINS
"""Where the bins of a pixel's cell begin."""


class HistogramsBackbone(ClipBackbone):
    """Histograms of flow (HOF), of its derivatives (MBH) and of gradients where something moves (HOG).

    Flow is DIS at 160 x 120 px between frames that follow each other in the clip, less its median, so that a camera may
    turn. Eight directions, each pixel shared by the two nearest. All are pooled in a pyramid of 1, 4 and 16 cells of
    the box one standard deviation around the centre of movement, over the whole clip and over its thirds; the
    histograms of a kind are divided by their sum and the root is taken (RootSIFT, Arandjelovic and Zisserman 2012). So
    neither the place, nor the size, nor the contrast of who moves matters. For clips that show one action. Options: see
    `ClipBackbone`, but `size_px` is fixed; and pool: moving, or picture for the plain descriptor, in which cells are
    those of the picture, gradients count wherever they are, and the whole clip is one (693 values).
    """

    record = BackboneRecord(
        name="histograms",
        summary="no weights: how what moves in a clip moves and is shaped; for clips of one action, camera may turn",
        vector_size=_PER_SEGMENT * len(_SEGMENTS["moving"]),
        grid_size=None,
        paper="Dalal, Triggs and Schmid, Human Detection Using Oriented Histograms of Flow and Appearance, ECCV 2006; "
        "Wang et al., Dense Trajectories and Motion Boundary Descriptors for Action Recognition, IJCV 2013",
    )
    input = ClipInput(16, _HEIGHT, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def __init__(self, *, pool: str = "moving", **options: Any) -> None:
        super().__init__(**options)
        if pool not in _SEGMENTS:
            raise ValueError(f"pool is {' or '.join(_SEGMENTS)}, got {pool!r}")
        self._pool = pool
        self.record = replace(type(self).record, vector_size=_PER_SEGMENT * len(_SEGMENTS[pool]))
        if self.input.size_px != _HEIGHT:
            raise UsageError(f"histograms look at pictures {_HEIGHT} px high, no other: leave out size_px")
        if self.input.frames <= _THIRDS:
            raise UsageError(f"histograms need clips of more than {_THIRDS} frames, got {self.input.frames}")

    def options(self) -> dict[str, Any]:
        return {"pool": self._pool, **super().options()}

    def prepare(self, image: Image) -> Pixels:
        """(H, W, 3) uint8 -> (120, 160) float32, gray 0..255."""
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(gray, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA), dtype=np.float32)

    def embed(self, clips: Pixels) -> tuple[Pixels, Pixels | None]:
        """(N, 2772) of clips (N, T, 120, 160), prepared; each kind's squares add up to 1, or are 0. No grid."""
        return np.stack([_described(clip.astype(np.uint8), self._pool) for clip in clips]), None


def _described(clip: NDArray[np.uint8], pool: str) -> Pixels:
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    maps = []
    for before, after in pairwise(clip):
        moved = np.asarray(flow.calc(before, after, np.zeros((*before.shape, 2), np.float32)), np.float32)
        maps.append(
            _oriented(before, moved - np.median(moved, axis=(0, 1)).astype(np.float32), moving_edges=pool == "moving")
        )
    thirds = [np.mean(part, axis=0) for part in np.array_split(np.stack(maps), _THIRDS)]
    box = _box(np.mean([third[..., -1] for third in thirds], axis=0)) if pool == "moving" else _WHOLE
    cut = [_cut_out(third[..., :-1], box) for third in thirds]
    pooled = [_pyramid(np.mean([cut[i] for i in segment], axis=0)) for segment in _SEGMENTS[pool]]
    cells = np.concatenate(pooled)
    parts = [cells[:, part] for part in _PARTS]
    return np.concatenate([np.sqrt(part / max(float(part.sum()), 1e-9)).ravel() for part in parts])


def _oriented(gray: NDArray[np.uint8], flow: _Map, *, moving_edges: bool) -> _Map:
    """(30, 40, 34) means over 4 x 4 px: `_PARTS`, then the speed."""
    u, v = flow[..., 0], flow[..., 1]
    speed = np.hypot(u, v)
    shades = gray.astype(np.float32)
    moving = np.asarray(speed / max(float(speed.max()), 1e-6) if moving_edges else np.ones_like(speed), np.float32)
    channels = [
        _directions(u, v),
        _coarse(speed < _STILL_PX),
        _directions(_sobel(u, 1, 0), _sobel(u, 0, 1)),
        _directions(_sobel(v, 1, 0), _sobel(v, 0, 1)),
        _directions(_sobel(shades, 1, 0) * moving, _sobel(shades, 0, 1) * moving),
        _coarse(speed),
    ]
    return np.concatenate(channels, axis=2, dtype=np.float32)


def _directions(x: _Map, y: _Map) -> _Map:
    """(30, 40, 8) means of the length of (x, y), each shared by the two directions next to it."""
    length = np.hypot(x, y)
    angle = np.arctan2(y, x) * np.float32(_BINS / (2 * np.pi))
    lower = np.floor(angle)
    share = angle - lower
    bins = lower.astype(np.int64) % _BINS
    sums = np.bincount((_CELL + bins).ravel(), weights=(length * (1 - share)).ravel(), minlength=_CELL[-1, -1] + _BINS)
    above = (bins + 1) % _BINS
    sums += np.bincount((_CELL + above).ravel(), weights=(length * share).ravel(), minlength=_CELL[-1, -1] + _BINS)
    shape = _HEIGHT // _COARSE, _WIDTH // _COARSE, _BINS
    return np.asarray(sums.reshape(shape) / _COARSE**2, np.float32)


def _coarse(values: NDArray[Any]) -> _Map:
    """(30, 40, 1) means."""
    cells = values.reshape(_HEIGHT // _COARSE, _COARSE, _WIDTH // _COARSE, _COARSE)
    return np.asarray(cells.mean((1, 3))[..., None], np.float32)


def _sobel(image: _Map, x: int, y: int) -> _Map:
    return np.asarray(cv2.Sobel(image, cv2.CV_32F, x, y, scale=0.25), np.float32)


def _box(speed: _Map) -> tuple[float, float, float, float]:
    """x, y, width and height of where it moves, in cells of the map."""
    weight = speed / max(float(speed.sum()), 1e-9)
    y, x = np.mgrid[: speed.shape[0], : speed.shape[1]]
    middle_x, middle_y = float((weight * x).sum()), float((weight * y).sum())
    around_x = _BOX_DEVIATIONS * max(float((weight * (x - middle_x) ** 2).sum()) ** 0.5, _LEAST_DEVIATION)
    around_y = _BOX_DEVIATIONS * max(float((weight * (y - middle_y) ** 2).sum()) ** 0.5, _LEAST_DEVIATION)
    return middle_x - around_x, middle_y - around_y, 2 * around_x, 2 * around_y


def _cut_out(maps: _Map, box: tuple[float, float, float, float]) -> _Map:
    """(24, 24, C): the box, what is outside of the picture as zeros."""
    x, y, width, height = box
    matrix = np.array([[width / _BOX, 0, x], [0, height / _BOX, y]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = [cv2.warpAffine(maps[..., i], matrix, (_BOX, _BOX), flags=flags) for i in range(maps.shape[2])]
    return np.stack(cut, axis=2)


def _pyramid(maps: _Map) -> _Map:
    """(21, C): means over 1, 4 and 16 cells, each level as heavy as the others."""
    levels = []
    for side in _LEVELS:
        size = _BOX // side
        means = maps.reshape(side, size, side, size, -1).mean((1, 3))
        levels.append(means.reshape(side * side, -1) / (side * side))
    return np.concatenate(levels)
