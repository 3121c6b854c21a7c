"""How the light has changed between two pictures: a cloud's shadow, a lamp that fails, an exposure set anew.

Light changes the brightness of a wide neighbourhood by the same factor, what moves hides some of it (ratios of
brightness as in Land and McCann, Lightness and retinex theory, 1971).
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Image

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

_COARSE_PX = 16
_AROUND = 5  # of these: less than half of them are of somebody who walks
_DARK = 8.0  # grey levels added to both: what is black stays so in any light
_STEPS, _SAME_LIGHT = 32.0, 128  # steps per doubling, and of none: the median filter takes bytes
_RECENT_SECONDS = 1.0  # in which the edge of a cloud's shadow passes by more than half of a neighbourhood
_UNKNOWN_SECONDS = 0.85  # after the first pair: what the edge of a shadow has passed is not wide yet
_ANOTHER = 2  # steps, a twentieth: less moves nothing
_WIDE = 0.08  # of the picture: less may be something large
_MARGIN = (3, 3)  # tiles: the edge of a shadow is ahead of what the neighbourhood says
_FEW = (5, 5)  # px
_NEAR = (5, 5)  # cells of 4 px: a thing and its edges
_SAME = 0.5  # share of the variance that is as usual, from which the texture is
_TEXTURE = 1.0  # variance: with less there is none to know a place by
_LEFT_OVER = 9.0  # variance: 3 grey levels that are not


class RecentLight:
    """Of one stream, up to a gap: where it is another than it was."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._past: deque[tuple[float, Map]] = deque()
        self._last: tuple[Image, Map] | None = None

    def changed(self, now: Image, before: Image, seconds: float) -> Mask | None:
        """(H / 8, W / 8) where it has changed since the frame before or in the last second; None: nowhere, or not over
        an area so wide that it must be light. In the first second it may have changed anywhere.

        now, before: (H, W) uint8. seconds: time of this frame, later than that of the last call.
        """
        while self._past and seconds - self._past[0][0] > _RECENT_SECONDS:
            self._past.popleft()
        others = [self._last[1] if self._last is not None and self._last[0] is before else coarse(before)]
        others += [self._past[0][1]] if self._past else []
        tiles = coarse(now)
        self._past.append((seconds, tiles))
        self._last = now, tiles
        size = now.shape[1] // 8, now.shape[0] // 8
        self._began = seconds if self._began is None else self._began
        if seconds - self._began < _UNKNOWN_SECONDS:
            return np.ones(size[::-1], np.bool_)
        steps = np.stack([_steps(other, tiles, _AROUND) for other in others]).astype(np.int16)
        another = (np.abs(steps - _SAME_LIGHT).max(axis=0) > _ANOTHER).astype(np.uint8)
        if another.mean() < _WIDE:
            return None
        wide = cv2.dilate(another, np.ones(_MARGIN, np.uint8))
        return np.asarray(cv2.resize(wide, size, interpolation=cv2.INTER_NEAREST) > 0, np.bool_)


def evened(before: Image, now: Image) -> Image:
    """The frame before in the light of this one, which changes little from one place to the next.

    now, before: (H, W) uint8.
    """
    gain = gains(coarse(before), coarse(now), _AROUND)
    return _in_light(before, cv2.resize(gain, (now.shape[1], now.shape[0]), interpolation=cv2.INTER_LINEAR))


def relit(before: Image, now: Image) -> Image:
    """The frame before, each few pixels as light as in this one: they differ where another thing is seen, hardly where
    the edge of a shadow has passed. What is out of focus looks alike then: only for where the light has changed.

    now, before: (H, W) uint8.
    """
    a, b = (cv2.blur(one, _FEW).astype(np.float32) + np.float32(_DARK) for one in (before, now))
    return _in_light(before, b / a)


def gains(before: Map, now: Map, around: int) -> Map:
    """By what factor the light of each tile has grown: the median over so many times as many tiles around it. As
    `in_light` applies it.

    now, before: (h, w) mean brightness.
    """
    return _factors(cv2.blur(_steps(before, now, around).astype(np.float32), (3, 3)))


def gains_along(before: Map, now: Map, along: int) -> NDArray[np.float32]:
    """(w,) the same of a few rows (h, w) at a border: the median over so many times a column's means along it."""
    rows = _logs(before.mean(axis=0, keepdims=True), now.mean(axis=0, keepdims=True))
    wide = cv2.copyMakeBorder(rows, along // 2, along // 2, along // 2, along // 2, cv2.BORDER_REFLECT_101)
    return _factors(cv2.medianBlur(wide, along)[along // 2, along // 2 : -(along // 2)])


def _logs(before: Map, now: Map) -> NDArray[np.uint8]:
    """How much lighter each tile alone has become, in steps from `_SAME_LIGHT`."""
    ratio = (now + np.float32(_DARK)) / (before + np.float32(_DARK))
    return np.asarray(np.clip(np.rint(_SAME_LIGHT + _STEPS * np.log2(ratio)), 0, 255), np.uint8)


def _factors(steps: NDArray[Any]) -> Map:
    return np.asarray(np.exp2((steps.astype(np.float32) - np.float32(_SAME_LIGHT)) / np.float32(_STEPS)), np.float32)


def _steps(before: Map, now: Map, around: int) -> NDArray[np.uint8]:
    steps = _logs(before, now)
    beyond = around // 2  # mirrored: who stands at the border does not stand beyond it, too
    wide = cv2.copyMakeBorder(steps, beyond, beyond, beyond, beyond, cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.medianBlur(wide, around)[beyond:-beyond, beyond:-beyond], np.uint8)


def in_light(picture: Map, gain: Map) -> Map:
    """What it would be where the light has grown by this factor."""
    return np.asarray((picture + np.float32(_DARK)) * gain - np.float32(_DARK), np.float32)


def alike(now: Map, usual: Map) -> Mask:
    """Where the texture is the same but for its brightness and contrast: a shadow hides nothing.

    Correlation of neighbourhoods, as Jacques and others test for shadows (Background subtraction and shadow detection
    in grayscale video sequences, SIBGRAPI 2005), and what a best fit leaves of them. now, usual: (h, w).
    """
    mean_now, mean_usual = cv2.blur(now, _NEAR), cv2.blur(usual, _NEAR)
    of_now = np.maximum(cv2.blur(now * now, _NEAR) - mean_now * mean_now, 0)
    of_usual = np.maximum(cv2.blur(usual * usual, _NEAR) - mean_usual * mean_usual, 0)
    of_both = cv2.blur(now * usual, _NEAR) - mean_now * mean_usual
    explained = of_both * np.abs(of_both) / (of_usual + 1e-3)
    return np.asarray((explained > np.maximum(_SAME * of_now, _TEXTURE)) & (of_now - explained < _LEFT_OVER), np.bool_)


def coarse(image: Image | Map) -> Map:
    """Mean brightness of tiles of 16 px of a picture (H, W)."""
    size = image.shape[1] // 8, image.shape[0] // 8  # six times as fast with a whole factor first
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    size = max(image.shape[1] // _COARSE_PX, 1), max(image.shape[0] // _COARSE_PX, 1)
    return cv2.resize(small, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _in_light(image: Image, gain: NDArray[Any]) -> Image:
    return np.asarray(np.clip(np.rint(in_light(image.astype(np.float32), gain)), 0, 255), np.uint8)
