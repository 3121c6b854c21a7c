"""Velocity between two frames: what leaps further than its own size, and what only seems to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from oddwatch.backbones.motion.flow import LEVELS, Flow
from oddwatch.types import Image

HEIGHT, WIDTH = 24, 12
"""Of what moves, in px of 240 x 360."""
TOP, LEFT = 100, 100


def clouds(height: int, width: int, *, seed: int, contrast: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    found = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(contrast * found / found.std(), np.float32)


def picture(left: int | None) -> Image:
    """Something small before textured ground, or the ground alone."""
    gray = 120 + clouds(240, 360, seed=0, contrast=30)
    if left is not None:
        gray[TOP : TOP + HEIGHT, left : left + WIDTH] = 60 + clouds(HEIGHT, WIDTH, seed=1, contrast=45)
    return np.asarray(np.clip(gray, 0, 255), np.uint8)


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("leap_px", [4, -12, 20, -36, 44])
def test_a_small_thing_is_followed_as_far_as_an_eighth_of_the_picture(level: str, leap_px: int) -> None:
    velocity = Flow(level)(picture(LEFT + leap_px), picture(LEFT)).velocity
    inside = np.s_[TOP // 2 : (TOP + HEIGHT) // 2, (LEFT + leap_px) // 2 : (LEFT + leap_px + WIDTH) // 2]
    found = np.median(velocity[inside].reshape(-1, 2), axis=0)
    np.testing.assert_allclose(found, (leap_px, 0), atol=3)  # its borders are mixed with the ground


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_what_comes_or_goes_leaps_nowhere(level: str) -> None:
    """The ground that appears looks like other ground, but nothing went away there."""
    for now, before in ((picture(None), picture(LEFT)), (picture(LEFT), picture(None))):
        velocity = Flow(level)(now, before).velocity
        assert np.hypot(velocity[..., 0], velocity[..., 1]).max() < 12
