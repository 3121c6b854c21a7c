"""What falls through a picture does not move in it, who walks behind does."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from oddwatch.backbones.motion.flow import LEVELS, Flow
from oddwatch.types import Image

HEIGHT, WIDTH = 240, 360
TOP, TALL, WIDE = 100, 32, 14


def seen(left: int | None = None) -> Image:
    """Soft ground, somebody at `left` px before it."""
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)).astype(np.float32), (0, 0), 4)
    picture = 130 + 10 * soft / soft.std()
    if left is not None:
        inside = cv2.GaussianBlur(rng.normal(size=(TALL, WIDE)).astype(np.float32), (0, 0), 1.5)
        picture[TOP : TOP + TALL, left : left + WIDE] = 60 + 25 * inside / inside.std()
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def snow(picture: Image, *, seed: int) -> Image:
    """400 flakes, 1 to 3 px across."""
    picture = picture.copy()
    for x, y, large in np.random.default_rng(seed).random((400, 3)):
        centre = round(x * WIDTH * 16), round(y * HEIGHT * 16)
        cv2.circle(picture, centre, round((0.5 + large) * 16), 236, -1, cv2.LINE_AA, 4)
    return picture


def rain(picture: Image, *, seed: int) -> Image:
    """400 streaks, a pixel wide."""
    drops = np.zeros_like(picture)
    for x, y, large in np.random.default_rng(seed).random((400, 3)):
        end = round(x * WIDTH + 2), round(y * HEIGHT + 6 + 14 * large)
        cv2.line(drops, (round(x * WIDTH), round(y * HEIGHT)), end, 30, 1, cv2.LINE_AA)
    return np.asarray(cv2.add(picture, drops), np.uint8)


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("falls", [snow, rain])
def test_what_falls_does_not_move_and_who_walks_behind_does(level: str, falls: Callable[..., Image]) -> None:
    nobody = Flow(level)(falls(seen(), seed=1), falls(seen(), seed=2)).velocity
    assert (np.hypot(nobody[..., 0], nobody[..., 1]) > 0.2).mean() < 0.1
    velocity = Flow(level)(falls(seen(124), seed=1), falls(seen(120), seed=2)).velocity
    middle = velocity[(TOP + 8) // 2 : (TOP + TALL - 8) // 2, 128 // 2 : 134 // 2].reshape(-1, 2)
    np.testing.assert_allclose(np.median(middle, axis=0), (4, 0), atol=1)


def test_where_nothing_falls_the_picture_is_as_it_was() -> None:
    now = seen(124)
    assert Flow("fine")(now, seen(120)).image is now


def test_what_falls_has_no_edges() -> None:
    now = snow(seen(), seed=1)
    image = Flow("fine")(now, snow(seen(), seed=2)).image
    assert cv2.absdiff(image, seen()).mean() < 0.25 * cv2.absdiff(now, seen()).mean() + 2
