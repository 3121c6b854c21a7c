"""What a camera that sways does to a picture, and how much of it is taken out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from oddwatch.backbones.motion.background import CHANNELS, SETTLE_SECONDS, Background
from oddwatch.backbones.motion.flow import Flow
from oddwatch.backbones.motion.steady import steadied
from oddwatch.types import Image

HEIGHT, WIDTH = 240, 320
STILL = np.ones((HEIGHT // 8, WIDTH // 8), np.uint8)
INSIDE = np.s_[8:-8, 8:-8]


def ground() -> NDArray[np.float32]:
    """Soft outlines and some sharp ones, of a ground larger than the picture."""
    noise = np.random.default_rng(0).normal(size=(HEIGHT + 40, WIDTH + 40)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    found = np.asarray(110 + 20 * soft / soft.std(), np.float32)
    found[60:100, 60:200:20] += 90
    found[60:100, 61:200:20] += 90
    return found


def seen(right: float = 0, down: float = 0, noise: float = 0, seed: int = 1) -> Image:
    """The ground when the camera has turned so that all of it moved by (right, down) px."""
    matrix = np.array([[1.0, 0, right - 20], [0, 1, down - 20]])
    picture = cv2.warpAffine(ground(), matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
    picture = picture + np.random.default_rng(seed).normal(0, noise, picture.shape) if noise else picture
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def apart(one: Image, other: Image) -> float:
    return float(cv2.absdiff(one[INSIDE], other[INSIDE]).astype(np.float32).mean())


@pytest.mark.parametrize(
    ("right", "down", "far", "left"),
    [(0.1, 0, False, 0.5), (-0.4, 0.3, False, 0.4), (1.5, -1, True, 0.4), (-3.5, 3, True, 0.4)],
)
def test_what_a_camera_sways_is_taken_out(right: float, down: float, far: bool, left: float) -> None:
    before, now = seen(), seen(right, down)
    assert apart(steadied(before, now, STILL, far=far), now) < left * apart(before, now)


def test_noise_hides_no_sway_and_is_none() -> None:
    before, now = seen(noise=8), seen(0.5, 0.2, noise=8, seed=2)
    matrix = np.array([[1, 0, 0.5], [0, 1, 0.2]])
    wanted = np.asarray(cv2.warpAffine(before, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR), np.uint8)
    assert apart(steadied(before, now, STILL, far=False), wanted) < 0.4 * apart(before, wanted)
    assert steadied(before, seen(noise=8, seed=3), STILL, far=False) is before


def test_only_what_is_still_counts() -> None:
    """Half of the picture moves by 2 px, the camera does not."""
    before, now = seen(), seen()
    now[:, WIDTH // 2 :] = seen(2)[:, WIDTH // 2 :]
    still = STILL.copy()
    still[:, WIDTH // 16 :] = 0
    assert steadied(before, now, still, far=False) is before
    assert steadied(before, now, STILL, far=False) is not before


@pytest.mark.parametrize("far", [False, True])
def test_where_nothing_is_seen_nothing_moves(far: bool) -> None:
    flat = np.full((HEIGHT, WIDTH), 90, np.uint8)
    assert steadied(flat, flat + np.uint8(20), STILL, far=far) is flat
    tiny = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert steadied(tiny, tiny, np.ones((2, 2), np.uint8), far=far) is tiny
    assert steadied(tiny, tiny.T.copy(), np.ones((2, 2), np.uint8), far=far).shape == tiny.shape


def test_what_comes_in_at_a_border_is_of_this_frame() -> None:
    before, now = seen(), seen(3)
    now[:, :2] = 7
    assert (steadied(before, now, STILL, far=True)[:, :2] == 7).all()


@pytest.mark.parametrize("right", [0.15, 0.4, 1.5, 3.5])
def test_a_sway_has_no_flow_and_a_walker_keeps_his(right: float) -> None:
    def walker(picture: Image, left: int) -> Image:
        picture[120:160, left : left + 16] = 40
        picture[125:155:6, left : left + 16] = 220
        return picture

    flow = Flow("fine")
    velocity = flow(seen(right), seen()).velocity
    assert (np.hypot(velocity[..., 0], velocity[..., 1]) > 0.2).mean() < 0.01
    velocity = flow(walker(seen(right), 104), walker(seen(), 100)).velocity[61:79, 53:59]
    np.testing.assert_allclose(np.median(velocity.reshape(-1, 2), axis=0), (4 - right, 0), atol=0.6)


@pytest.mark.parametrize("swayed", [True, False])
def test_what_is_left_before_a_camera_that_sways_rests(swayed: bool) -> None:
    """As long as the background is told; 1.4 px three times a second."""
    nothing = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
    bag = seen()
    bag[120:136, 160:176] = 30
    background, found = Background(7), nothing
    for i in range(int(SETTLE_SECONDS * 10) + 50):
        picture = bag if i > SETTLE_SECONDS * 10 else seen()
        matrix = np.array([[1, 0, 1.4 * np.sin(0.6 * np.pi * i)], [0, 1, 0.7 * np.cos(0.44 * np.pi * i)]])
        sways = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        found = background.update(np.asarray(sways, np.uint8), nothing, 0.1, swayed=swayed)
        if i == SETTLE_SECONDS * 10:
            assert not found[0].any()
    assert (found[CHANNELS.index("left"), 30:34, 40:44].min() > 0.3) == swayed
