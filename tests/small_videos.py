"""Small rendered videos for tests: textured figures walk to the right before a wall; one may do something else."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Image
from oddwatch.video import VideoWriter

FPS = 10.0
SIZE_PX = (160, 120)
ODD_SECONDS = (2.5, 5.5)
"""When the odd one is in the picture."""
ODD_LOOKS = 99
"""What the odd one looks like, of many ways."""


@lru_cache
def _texture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(np.clip(128 + 45 * clouds / clouds.std(), 0, 255), np.uint8)


def figure(looks: int = ODD_LOOKS) -> NDArray[np.uint8]:
    """(30, 16) grey: one that walks, or does something else."""
    return _texture(30, 16, looks)


def images(
    seconds: float, *, seed: int, odd: str | None = None, looks: int = ODD_LOOKS, size_px: tuple[int, int] = SIZE_PX
) -> Iterator[Image]:
    """Frames at 10 per second. odd: `left` or `fast`, what an additional figure does during `ODD_SECONDS`; looks: see
    `figure`.
    """
    rng = np.random.default_rng(seed)
    width, height = size_px
    wall = _texture(height, width, 0)
    walkers = [
        (start, rng.uniform(38, 62), rng.uniform(24, 32), i) for i, start in enumerate(np.arange(-8, seconds, 2.0))
    ]
    for frame in range(int(seconds * FPS)):
        t = frame / FPS
        image = wall.copy()
        for start, top, pace, i in walkers:
            _draw(image, -16 + pace * (t - start), top, seed=100 + i % 7)
        first, last = ODD_SECONDS
        if odd == "left" and first <= t < last:
            _draw(image, width - 30 * (t - first), 50, seed=looks)
        elif odd == "fast" and first <= t < last:
            _draw(image, (60 * (t - first)) % (width + 16) - 16, 50, seed=looks)
        noisy = np.clip(image + rng.normal(0, 1, image.shape), 0, 255).astype(np.uint8)
        yield np.repeat(noisy[:, :, None], 3, axis=2)


def _draw(image: NDArray[np.uint8], left: float, top: float, *, seed: int) -> None:
    if not -17 < left < image.shape[1]:
        return
    shown = figure(seed)
    matrix = np.array([[1, 0, left], [0, 1, top]])
    size = image.shape[1], image.shape[0]
    mask = cv2.warpAffine(np.full_like(shown, 255), matrix, size) > 127
    image[mask] = np.asarray(cv2.warpAffine(shown, matrix, size))[mask]


def write(path: Path, seconds: float, *, seed: int, **options: Any) -> Path:
    """The same as an mp4. options: of `images`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=FPS) as video:
        for image in images(seconds, seed=seed, **options):
            video.write(image)
    return path
