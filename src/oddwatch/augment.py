"""Random changes of a clip that leave what happens in it as it is: one draw for a clip, the same for all its frames.

Knows nothing of networks: clips in and out are (T, H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Image

VERSION = 1
"""Counts up when the same seed gives other pixels than before."""

OFTEN, HALF = 0.6, 0.5
GRID_CELLS, GRID_LIMIT = 5, 0.4
DEGREES = 5.0
SHIFT = 50.0
BRIGHTNESS = CONTRAST = 0.2
CLAHE_LIMITS, CLAHE_TILES = (1.0, 4.0), (8, 8)
DROPPED_SHARE = 0.02
BLUR_PX = (2, 4)


@dataclass(frozen=True)
class Draw:
    """What is done to one clip, in this order; None: it is left out.

    grid: widths of columns and heights of rows of a grid, in units of equal ones, that are stretched to equal sizes.
    degrees: rotation, counter-clockwise. shift: added to red, green, blue (of 255). gain, bias: contrast is multiplied,
    brightness (of 1) added. clahe: limit of adaptive histogram equalisation of the lightness. dropped: values (0, 255)
    that 2% of the pixels are each set to. blur_px: side of a box filter. seed: of which pixels are dropped.
    """

    grid: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    degrees: float | None = None
    shift: tuple[float, float, float] | None = None
    gain_bias: tuple[float, float] | None = None
    clahe: float | None = None
    dropped: tuple[int, ...] = ()
    blur_px: int | None = None
    seed: int = 0


def draw(*, seed: int, clip: str, view: int) -> Draw:
    """The draw of one view of a clip: always the same for the same three, whatever else was drawn before.

    Grid distortion 0.4, rotation up to 5 degrees, RGB shift up to 50, brightness and contrast 0.2 and CLAHE with a
    probability of 0.6 each; pixel dropout to 0, to 255 and a blur of 2 to 4 px with 0.5 each (Randellini 2023).
    """
    rng = _generator("pixels", seed, clip, view)
    # Everything is drawn, then left out or not: a change of one probability does not change the others' draws.
    grid = 1 + rng.uniform(-GRID_LIMIT, GRID_LIMIT, (2, GRID_CELLS))
    degrees = rng.uniform(-DEGREES, DEGREES)
    shift = rng.uniform(-SHIFT, SHIFT, 3)
    gain, bias = 1 + rng.uniform(-CONTRAST, CONTRAST), rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    clahe = rng.uniform(*CLAHE_LIMITS)
    blur_px = int(rng.integers(BLUR_PX[0], BLUR_PX[1] + 1))
    pixels = int(rng.integers(2**32))
    often, half = rng.uniform(size=5) < OFTEN, rng.uniform(size=3) < HALF
    columns, rows = (tuple(map(float, sizes)) for sizes in grid)
    return Draw(
        grid=(columns, rows) if often[0] else None,
        degrees=float(degrees) if often[1] else None,
        shift=(float(shift[0]), float(shift[1]), float(shift[2])) if often[2] else None,
        gain_bias=(float(gain), float(bias)) if often[3] else None,
        clahe=float(clahe) if often[4] else None,
        dropped=tuple(value for value, wanted in zip((0, 255), half[:2], strict=True) if wanted),
        blur_px=blur_px if half[2] else None,
        seed=pixels,
    )


def augment(images: Image, drawn: Draw) -> Image:
    """(T, H, W, 3) uint8 -> the same shape and type. After each step values are rounded to the nearest and kept in
    0..255. What comes in from beyond the edge is mirrored.
    """
    height, width = images.shape[1:3]
    masks = np.random.default_rng(drawn.seed).uniform(size=(2, height, width)) < DROPPED_SHARE
    found = images
    if drawn.grid is not None:
        across, down = (_edges(sizes, side) for sizes, side in zip(drawn.grid, (width, height), strict=True))
        x, y = np.meshgrid(across, down)
        found = _each(found, lambda image: cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))
    if drawn.degrees is not None:
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), drawn.degrees, 1.0)
        size = (width, height)
        found = _each(found, lambda image: cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REFLECT_101))
    if drawn.shift is not None:
        found = _mapped(found, np.arange(256.0)[:, None] + drawn.shift)
    if drawn.gain_bias is not None:
        gain, bias = drawn.gain_bias
        found = _mapped(found, np.repeat(np.arange(256.0)[:, None] * gain + 255 * bias, 3, axis=1))
    if drawn.clahe is not None:
        equalise = cv2.createCLAHE(drawn.clahe, CLAHE_TILES)
        found = _each(found, lambda image: _equalised(image, equalise))
    for value in drawn.dropped:
        found = np.where(masks[int(value > 0), ..., None], np.uint8(value), found)
    if (side := drawn.blur_px) is not None:
        found = _each(found, lambda image: cv2.blur(image, (side, side)))
    return found


def random_crop(images: Image, *, scale_px: tuple[int, int], size_px: int, seed: int, clip: str, view: int) -> Image:
    """(T, H, W, 3) uint8 -> (T, size_px, size_px, 3): the short side scaled to a random length from `scale_px` (both
    included), then a square at a random place, one draw for all frames. Bilinear, without antialiasing.

    Raises ValueError when the shortest side would be smaller than the square.
    """
    low, high = scale_px
    if not size_px <= low <= high:
        raise ValueError(f"scale_px is two lengths from {size_px} up, got {low} to {high}")
    rng = _generator("crop", seed, clip, view)
    short = int(rng.integers(low, high + 1))
    height, width = images.shape[1:3]
    scaled = (
        max(round(width * short / min(height, width)), short),
        max(round(height * short / min(height, width)), short),
    )
    left, top = (int(rng.integers(side - size_px + 1)) for side in scaled)
    resized = _each(images, lambda image: cv2.resize(image, scaled, interpolation=cv2.INTER_LINEAR))
    return resized[:, top : top + size_px, left : left + size_px]


def _generator(what: str, seed: int, clip: str, view: int) -> np.random.Generator:
    digest = hashlib.sha256(repr((what, seed, clip, view)).encode(errors="surrogateescape")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def _edges(sizes: tuple[float, ...], side: int) -> NDArray[np.float32]:
    """Where each pixel of a side comes from: cells of these sizes, stretched to equal ones."""
    ends = np.cumsum((0.0, *sizes))
    places = np.interp(np.linspace(0, 1, side), np.linspace(0, 1, len(ends)), ends / ends[-1])
    return np.asarray(places * (side - 1), dtype=np.float32)


def _each(images: Image, change: Any) -> Image:
    return np.stack([change(np.ascontiguousarray(image)) for image in images])


def _mapped(images: Image, table: NDArray[np.float64]) -> Image:
    """Each colour through its column of a table (256, 3)."""
    values = np.clip(np.rint(table), 0, 255).astype(np.uint8)[:, None]
    return _each(images, lambda image: cv2.LUT(image, values.reshape(1, 256, 3)))


def _equalised(image: Image, equalise: Any) -> Image:
    lightness, a, b = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    return np.asarray(cv2.cvtColor(cv2.merge([equalise.apply(lightness), a, b]), cv2.COLOR_LAB2RGB), dtype=np.uint8)
