"""What light does to a picture, and how much of it is taken out."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from oddwatch.backbones.motion.background import CHANNELS, SETTLE_SECONDS, Background
from oddwatch.backbones.motion.flow import LEVELS, Flow
from oddwatch.backbones.motion.light import RecentLight, evened, gains, relit
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
BODIES = {
    "sharp": 60 + 25 * clouds(SIDE, SIDE // 2, seed=1),
    "plain": np.full((SIDE, SIDE // 2), 60, np.float32),
}


def seen(light: Light | float = 1.0, *, left: int | None = None, body: str = "sharp", soft_px: float = 0) -> Image:
    """The ground in this light (times what it is usually), somebody at `left` px before it, out of focus by so much."""
    picture = GROUND.copy()
    if left is not None:
        picture[TOP : TOP + SIDE, left : left + SIDE // 2] = BODIES[body]
    if soft_px:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), soft_px), np.float32)
    return np.asarray(np.clip(np.rint(picture * light), 0, 255), np.uint8)


def shadow(edge_px: float, soft_px: float = 100) -> Light:
    """Less than half of the light left of `edge_px`, an edge so many px wide."""
    depth = np.clip(0.5 - (np.arange(WIDTH) - edge_px) / soft_px, 0, 1)
    return np.tile(1 - 0.58 * depth, (HEIGHT, 1)).astype(np.float32)


def lamp(strength: float) -> Light:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pool = np.exp(-((np.hypot(x - 180, y - 120) / 53) ** 2))
    return np.asarray(0.35 + strength * pool, np.float32)


CHANGES: dict[str, tuple[Light | float, Light | float]] = {
    "exposure": (1.0, 0.8),
    "exposure to brighter": (0.8, 1.0),
    "cloud": (shadow(100), shadow(112)),
    "cloud, not so soft": (shadow(200, 16), shadow(204, 16)),
    "lamp": (lamp(0.1), lamp(0.65)),
    "lights on": (0.1, 1.0),
}


def light_of(change: str) -> RecentLight:
    """What a stream knows after a second, in which the edge of the cloud came at 4 px a frame."""
    light = RecentLight()
    for i in range(10):
        edges = (160 + 4 * i, 156 + 4 * i) if change.startswith("cloud") else (0, 0)
        now, before = (seen(shadow(edge, 16) if edge else CHANGES[change][0]) for edge in edges)
        light.changed(now, before, i / FPS)
    return light


@pytest.mark.parametrize(
    ("taken_out", "change"),
    [*((relit, change) for change in CHANGES), (evened, "exposure"), (evened, "cloud"), (evened, "lights on")],
)
def test_a_change_of_light_is_taken_out(taken_out: Callable[[Image, Image], Image], change: str) -> None:
    before, now = (seen(light) for light in CHANGES[change])
    apart, left = (float(cv2.absdiff(one, now).mean()) for one in (before, taken_out(before, now)))
    assert left < 0.4 * apart


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("change", CHANGES)
def test_light_does_not_move_and_who_moves_in_it_does(level: str, change: str) -> None:
    before, now = CHANGES[change]
    light = light_of(change).changed(seen(now), seen(before), 1.0)
    assert light is not None
    assert not Flow(level)(seen(now), seen(before), light).velocity.any()
    velocity = Flow(level)(seen(now, left=124), seen(before, left=120), light).velocity
    np.testing.assert_allclose(of_somebody(velocity, 124), (4, 0), atol=0.7)
    velocity[TOP // 2 - 20 : (TOP + SIDE) // 2 + 20, 40:90] = 0
    assert not velocity.any()


def test_in_the_first_second_the_edge_of_a_shadow_does_not_move() -> None:
    """It has not passed by anything yet that would tell."""
    before, now = CHANGES["cloud, not so soft"]
    light = RecentLight().changed(seen(now), seen(before), 0.0)
    assert not Flow("fine")(seen(now), seen(before), light).velocity.any()
    velocity = Flow("fine")(seen(now, left=124), seen(before, left=120), light).velocity
    np.testing.assert_allclose(of_somebody(velocity, 124), (4, 0), atol=0.7)


def of_somebody(velocity: NDArray[np.float32], left: int) -> NDArray[np.float32]:
    inside = velocity[(TOP + 8) // 2 : (TOP + SIDE - 8) // 2, (left + 4) // 2 : (left + 10) // 2]
    return np.asarray(np.median(inside.reshape(-1, 2), axis=0), np.float32)


def test_who_leaps_while_the_exposure_is_set_leaps_no_further() -> None:
    before, now = seen(left=114), seen(0.8, left=130)
    light = RecentLight()
    for i in range(10):
        light.changed(before, before, i / FPS)
    velocity = Flow("fine")(now, before, light.changed(now, before, 1.0)).velocity
    assert np.abs(velocity[..., 0]).max() < 20
    np.testing.assert_allclose(of_somebody(velocity, 130), (16, 0), atol=2)


@pytest.mark.parametrize("soft_px", [0, 0.8, 1.6])
@pytest.mark.parametrize("body", BODIES)
def test_who_moves_is_no_light(body: str, soft_px: float) -> None:
    """Also where a camera is out of focus."""
    light = RecentLight()
    for i in range(21):
        now, before = (seen(left=100 + 4 * (i - past), body=body, soft_px=soft_px) for past in (0, 1))
        assert (light.changed(now, before, i / FPS) is None) == (i >= 9)  # in the first second it may be light


def test_what_is_large_is_no_light() -> None:
    """A dark van drives in from the left; most of the picture stays."""
    light, van = RecentLight(), np.clip(50 + 6 * clouds(100, 180, seed=2), 0, 255)

    def with_van(seen_px: int) -> Image:
        picture = seen()
        picture[60:160, :seen_px] = van[:, 180 - seen_px :]
        return picture

    for i in range(-9, 15):
        now, before = (with_van(max(10 * one, 0)) for one in (i + 1, i))
        velocity = Flow("fine")(now, before, light.changed(now, before, i / FPS)).velocity
        if i > 2:
            edge = velocity[80 // 2 : 140 // 2, (10 * i - 4) // 2 : (10 * i + 6) // 2].reshape(-1, 2)
            assert np.median(edge[:, 0]) == pytest.approx(10, abs=2)


@pytest.mark.parametrize(
    "light",
    [0.7, 1.4, shadow(180), shadow(180, 40), lamp(0.65)],
    ids=["darker", "brighter", "cloud", "less soft", "lamp"],
)
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


def test_somebodys_shadow_in_the_first_moment_is_no_part_of_the_place() -> None:
    """Nothing rests there when it has gone."""
    still = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
    background, plain = Background(7), 130 + (GROUND - 130) / 5
    dark = plain.copy()
    dark[100:150, 300:] *= 0.6
    for i in range(int((SETTLE_SECONDS + 10) * FPS)):
        found = background.update((dark if i < 20 else plain).astype(np.uint8), still, 1 / FPS)
        assert not found[: CHANNELS.index("taken") + 1].any()


@pytest.mark.parametrize(
    ("seconds", "clouds", "left", "rests"),
    [(5, False, 180, True), (5, True, 180, False), (7, True, 180, True), (7, False, 2, True), (7, True, 2, False)],
)
def test_under_clouds_things_rest_longer_and_not_at_the_border(
    seconds: float, clouds: bool, left: int, rests: bool
) -> None:
    still = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
    background = Background(7)
    for _ in range(int(SETTLE_SECONDS * FPS) + 10):
        background.update(seen(), still, 1 / FPS, relit=clouds)
    for _ in range(int(seconds * FPS)):
        found = background.update(seen(left=left), still, 1 / FPS, relit=clouds)
    assert found[CHANNELS.index("left")].any() == rests


@pytest.mark.parametrize("upside", [1, -1], ids=["top", "bottom"])
def test_a_shadow_that_comes_in_at_the_border_leaves_nothing(upside: int) -> None:
    """Further inside, where the light of a border was looked for, it is not yet."""
    still = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
    background = Background(7)
    for _ in range(int(SETTLE_SECONDS * FPS) + 10):
        background.update(seen(), still, 1 / FPS)
    comes_in = np.repeat(np.interp(np.arange(HEIGHT), [0, 45], [0.6, 1])[::upside, None], WIDTH, axis=1)
    for _ in range(50):
        found = background.update(seen(comes_in.astype(np.float32)), still, 1 / FPS)
    assert not found[CHANNELS.index("left")].any()
    assert not found[CHANNELS.index("taken")].any()


@pytest.mark.parametrize("row", [True, False], ids=["of people", "of nobody"])
def test_the_shadows_of_people_in_a_row_are_no_thing(row: bool) -> None:
    """Here and there it stays as dark for seconds as if something lay there."""
    still = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
    background, found = Background(7), still
    for i in range(int(SETTLE_SECONDS * FPS) + 60):
        picture = seen()
        if i > SETTLE_SECONDS * FPS + 10:
            dark = np.full(80, 0.5)
            dark[np.arange(80) % 16 >= 4] += 0.15 * (-1) ** i if row else 0
            picture[132:140, 160:240] = (dark * picture[132:140, 160:240]).astype(np.uint8)
        found = background.update(picture, still, 1 / FPS)
    assert (found[CHANNELS.index("left")].max() == 0) == row


def test_who_stands_at_the_border_is_no_light() -> None:
    """A tile wide and higher than a neighbourhood."""
    before = np.asarray(GROUND[::16, ::16], np.float32)
    now = before.copy()
    now[5:12, :1] = 40
    np.testing.assert_allclose(gains(before, now, 5), 1, atol=0.03)


def test_a_parked_van_is_left_though_it_is_larger_than_a_neighbourhood() -> None:
    """Its outline is; what is plain inside may be taken for light."""
    still = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
    background, van = Background(7), (slice(80, 172), slice(120, 240))
    for _ in range(int(SETTLE_SECONDS * FPS) + 10):
        background.update(seen(), still, 1 / FPS)
    picture = seen()
    picture[van] = 50
    for _ in range(50):
        found = background.update(picture, still, 1 / FPS)
    rests = found[CHANNELS.index("left")] + found[CHANNELS.index("taken")]  # it is plainer than the ground
    assert (rests[20:43, 30:60] > 0.5).mean() > 0.4
