"""How the light has changed between two pictures: a cloud's shadow, a lamp that fails, an exposure set anew.

Light changes the brightness of neighbours by the same factor, what moves hides some of them (ratios of brightness as in
Land and McCann, Lightness and retinex theory, 1971).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Image

Map = NDArray[np.float32]

_TILE_PX = 8
_AROUND = 9  # tiles
_DARK = 8.0  # grey levels added to both: what is black stays so in any light
_STEPS = 64.0  # per doubling: the median filter takes bytes
_FEW = (5, 5)  # px
_NEAR = (5, 5)  # cells of 4 px: a thing and its edges
_SAME = 0.5  # share of the variance that is as usual, from which the texture is
_LEFT_OVER = 9.0  # variance: 3 grey levels that are not


def evened(before: Image, now: Image) -> Image:
    """The frame before in the light of this one, which changes little from one place to the next.

    now, before: (H, W) uint8.
    """
    gain = gains(before.astype(np.float32), now.astype(np.float32), _TILE_PX)
    return _times(before, cv2.resize(gain, (now.shape[1], now.shape[0]), interpolation=cv2.INTER_LINEAR))


def relit(before: Image, now: Image) -> Image:
    """The frame before, each few pixels as light as in this one: they differ where another thing is seen, hardly where
    the edge of a shadow has passed.

    now, before: (H, W) uint8.
    """
    return _times(before, (cv2.blur(now, _FEW).astype(np.float32) + _DARK) / (cv2.blur(before, _FEW) + _DARK))


def gains(before: Map, now: Map, tile: int) -> Map:
    """(H / tile, W / tile) by what factor light has grown around each tile of so many cells: the median of small tiles,
    less than half of which are of somebody who walks there.
    """
    size = max(now.shape[1] // tile, 1), max(now.shape[0] // tile, 1)
    a, b = (cv2.resize(i, size, interpolation=cv2.INTER_AREA).astype(np.float32) + _DARK for i in (before, now))
    steps = np.clip(np.rint(128 + _STEPS * np.log2(b / a)), 0, 255).astype(np.uint8)
    beyond = _AROUND // 2  # mirrored: who stands at the border does not stand beyond it, too
    wide = cv2.copyMakeBorder(steps, beyond, beyond, beyond, beyond, cv2.BORDER_REFLECT_101)
    around = cv2.medianBlur(wide, _AROUND)[beyond:-beyond, beyond:-beyond]
    even = cv2.blur(around.astype(np.float32), (3, 3))
    return np.asarray(np.exp2((even - 128) / _STEPS), np.float32)


def alike(now: Map, usual: Map) -> NDArray[np.bool_]:
    """Where the texture is the same but for its brightness and contrast: a shadow hides nothing.

    Correlation of neighbourhoods, as Jacques and others test for shadows (Background subtraction and shadow detection in
    grayscale video sequences, SIBGRAPI 2005), and what a best fit leaves of them. now, usual: (h, w).
    """
    mean_now, mean_usual = cv2.blur(now, _NEAR), cv2.blur(usual, _NEAR)
    of_now = np.maximum(cv2.blur(now * now, _NEAR) - mean_now * mean_now, 0)
    of_usual = np.maximum(cv2.blur(usual * usual, _NEAR) - mean_usual * mean_usual, 0)
    of_both = cv2.blur(now * usual, _NEAR) - mean_now * mean_usual
    explained = of_both * np.abs(of_both) / (of_usual + 1e-3)
    return np.asarray((explained > _SAME * of_now) & (of_now - explained < _LEFT_OVER), np.bool_)


def _times(image: Image, gain: Map) -> Image:
    return np.asarray(cv2.multiply(image, gain, dtype=cv2.CV_8U), np.uint8)
