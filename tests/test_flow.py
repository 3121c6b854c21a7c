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


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_what_comes_in_at_the_border_does_not_come_from_another_part_of_itself(level: str) -> None:
    """Somebody whose parts look alike comes in from the right: what is seen of him first was nowhere before."""
    part_px = 24
    part = 60 + clouds(part_px, 40, seed=1, contrast=20)
    body = np.concatenate([part] * 3) + clouds(3 * part_px, 40, seed=2, contrast=4)

    def with_seen(width: int) -> Image:
        gray = picture(None)
        gray[TOP : TOP + len(body), 360 - width :] = np.clip(body[:, :width], 0, 255)
        return gray

    velocity = Flow(level)(with_seen(28), with_seen(12)).velocity
    assert np.abs(velocity[..., 1]).max() < part_px / 2


def noisy(gray: Image, sigma: float, *, seed: int) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, gray.shape)
    return np.asarray(np.clip(gray + noise, 0, 255), np.uint8)


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("sigma", [0.0, 4.0, 8.0, 12.0])
def test_noise_moves_nothing_and_hides_nothing_that_moves(level: str, sigma: float) -> None:
    flow, leap_px = Flow(level), 5
    still = flow(noisy(picture(None), sigma, seed=1), noisy(picture(None), sigma, seed=2)).velocity
    assert (np.hypot(still[..., 0], still[..., 1]) > 0.2).mean() < 0.02
    now = noisy(picture(LEFT + leap_px), sigma, seed=3)
    velocity = flow(now, noisy(picture(LEFT), sigma, seed=4)).velocity
    inside = np.s_[TOP // 2 : (TOP + HEIGHT) // 2, (LEFT + leap_px) // 2 : (LEFT + leap_px + WIDTH) // 2]
    np.testing.assert_allclose(np.median(velocity[inside].reshape(-1, 2), axis=0), (leap_px, 0), atol=2)
    moving = np.hypot(velocity[..., 0], velocity[..., 1]) > 0.2
    assert moving.mean() < 0.12  # the margin around it


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_shake_in_noise_is_taken_out(level: str) -> None:
    ground = np.asarray(np.clip(120 + clouds(240, 370, seed=0, contrast=30), 0, 255), np.uint8)
    now, before = (noisy(ground[:, x : x + 360], 8, seed=x) for x in (0, 3))
    velocity = Flow(level)(np.ascontiguousarray(now), np.ascontiguousarray(before)).velocity
    assert np.abs(np.median(velocity.reshape(-1, 2), axis=0)).max() < 0.3


@pytest.mark.parametrize("sigma", [6.0, 8.0, 12.0])
def test_something_bright_that_moves_in_noise_is_no_shake(sigma: float) -> None:
    def with_bright(left: int) -> Image:
        gray = picture(None)
        gray[60:100, left : left + 24] = 230
        gray[150:166, left + 30 : left + 70] = 250
        return noisy(gray, sigma, seed=left)

    velocity = Flow("fine")(with_bright(105), with_bright(100)).velocity
    assert (np.hypot(velocity[..., 0], velocity[..., 1]) > 0.2).mean() < 0.1


@pytest.mark.parametrize("gain", [0.9, 1.08, 1.12])
@pytest.mark.parametrize("light", [(60, 180), (40, 220)])
def test_another_exposure_of_a_lit_wall_is_no_shake(light: tuple[int, int], gain: float) -> None:
    wall = np.tile(np.linspace(*light, 360, dtype=np.float32), (240, 1)) + clouds(240, 360, seed=0, contrast=3)
    now, before = (np.asarray(np.clip(wall * times, 0, 255), np.uint8) for times in (gain, 1))
    velocity = Flow("fine")(now, before).velocity
    assert (np.hypot(velocity[..., 0], velocity[..., 1]) > 0.2).mean() < 0.1
