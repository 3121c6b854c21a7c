"""What light does to a picture, and how much of it is taken out."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from oddwatch.backbones.motion.background import CHANNELS, SETTLE_SECONDS, Background
from oddwatch.backbones.motion.flow import LEVELS, Flow
from oddwatch.backbones.motion.light import evened, gains, relit
from oddwatch.types import Image

HEIGHT, WIDTH = 240, 360
TOP, SIDE = 100, 28
FPS = 10.0
Light = NDArray[np.float32]


def clouds(height: int, width: int, *, seed: int) -> NDArray[np.float32]:
    """Texture of about 3 px, standard deviation 1."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    found = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(found / found.std(), np.float32)


GROUND = 130 + 20 * clouds(HEIGHT, WIDTH, seed=0)
BODY = 60 + 25 * clouds(SIDE, SIDE // 2, seed=1)


def seen(light: Light | float = 1.0, *, left: int | None = None) -> Image:
    """The ground in this light (times what it is usually), somebody at `left` px before it."""
    picture = GROUND.copy()
    if left is not None:
        picture[TOP : TOP + SIDE, left : left + SIDE // 2] = BODY
    return np.asarray(np.clip(np.rint(picture * light), 0, 255), np.uint8)


def shadow(edge_px: float, soft_px: float = 100) -> Light:
    """Less than half of the light left of `edge_px`, an edge so many px wide."""
    depth = np.clip(0.5 - (np.arange(WIDTH) - edge_px) / soft_px, 0, 1)
    return np.tile(1 - 0.58 * depth, (HEIGHT, 1)).astype(np.float32)


def lamp(strength: float) -> Light:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pool = np.exp(-((np.hypot(x - 180, y - 120) / 53) ** 2))
    return np.asarray(0.35 + strength * pool, np.float32)


CHANGES = {
    "exposure": (1.0, 0.8),
    "exposure to brighter": (0.8, 1.0),
    "cloud": (shadow(100), shadow(112)),
    "cloud, not so soft": (shadow(200, 16), shadow(204, 16)),
    "lamp": (lamp(0.1), lamp(0.65)),
}


@pytest.mark.parametrize(
    ("taken_out", "change"), [*((relit, change) for change in CHANGES), (evened, "exposure"), (evened, "cloud")]
)
def test_a_change_of_light_is_taken_out(taken_out: Callable[[Image, Image], Image], change: str) -> None:
    before, now = (seen(light) for light in CHANGES[change])
    apart, left = (float(cv2.absdiff(one, now).mean()) for one in (before, taken_out(before, now)))
    assert left < 0.4 * apart


def test_who_leaps_while_the_exposure_is_set_leaps_no_further() -> None:
    velocity = Flow("fine")(seen(0.8, left=130), seen(left=114)).velocity
    assert np.abs(velocity[..., 0]).max() < 20
    middle = velocity[(TOP + 8) // 2 : (TOP + SIDE - 8) // 2, 134 // 2 : 140 // 2].reshape(-1, 2)
    np.testing.assert_allclose(np.median(middle, axis=0), (16, 0), atol=2)


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("change", CHANGES)
def test_light_does_not_move_and_who_moves_in_it_does(level: str, change: str) -> None:
    before, now = CHANGES[change]
    assert not Flow(level)(seen(now), seen(before)).velocity.any()
    velocity = Flow(level)(seen(now, left=124), seen(before, left=120)).velocity
    middle = velocity[(TOP + 8) // 2 : (TOP + SIDE - 8) // 2, 128 // 2 : 134 // 2].reshape(-1, 2)
    np.testing.assert_allclose(np.median(middle, axis=0), (4, 0), atol=0.7)
    velocity[TOP // 2 - 20 : (TOP + SIDE) // 2 + 20, 40:90] = 0
    assert not velocity.any()


def test_what_is_large_is_no_light() -> None:
    """A dark van comes in from the left; most of the picture stays."""
    before, now = seen(), seen()
    now[60:160, :90] = np.clip(50 + 6 * clouds(100, 90, seed=2), 0, 255)
    before[60:160, :80] = now[60:160, 10:90]
    velocity = Flow("fine")(now, before).velocity
    edge = velocity[80 // 2 : 140 // 2, 76 // 2 : 86 // 2].reshape(-1, 2)
    assert np.median(edge[:, 0]) == pytest.approx(10, abs=2)


@pytest.mark.parametrize("light", [0.7, shadow(180), shadow(180, 40), lamp(0.65)], ids=["exposure", "cloud", "less soft", "lamp"])
def test_another_light_leaves_nothing_behind_and_hides_nothing(light: Light | float) -> None:
    still = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
    background = Background(7)
    for _ in range(int(SETTLE_SECONDS * FPS) + 10):
        background.update(seen(), still, 1 / FPS)
    for _ in range(50):
        found = background.update(seen(light), still, 1 / FPS)
    assert not found.any()
    for _ in range(50):
        found = background.update(seen(light, left=180), still, 1 / FPS)
    assert found[CHANNELS.index("left")][(TOP + SIDE // 2) // 4, 187 // 4] > 0.5


def test_who_stands_at_the_border_is_no_light() -> None:
    before, now = (np.asarray(seen(left=left)[::4, ::4], np.float32) for left in (None, 0))
    np.testing.assert_allclose(gains(before, now, 2), 1, atol=0.03)
