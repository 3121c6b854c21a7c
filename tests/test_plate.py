"""The clean plate: what the place looks like when nobody is there, and flow of what is not the place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from oddwatch.backbones.motion import CHANNELS, MotionBackbone
from oddwatch.backbones.motion.flow import LEVELS, Flow
from oddwatch.backbones.motion.plate import Plate, without_place
from oddwatch.types import Embeddings, Frame, Image

HEIGHT, WIDTH, TOP = 40, 12, 100
"""Of somebody, in px of 240 x 320, and where he is."""
LEVEL = 10.0


def clouds(height: int, width: int, *, seed: int, contrast: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    found = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(contrast * found / found.std(), np.float32)


def place(*, seed: int = 0, light: float = 1.0) -> Image:
    return np.asarray(np.clip((130 + clouds(240, 320, seed=seed, contrast=25)) * light, 0, 255), np.uint8)


def with_somebody(left: int, ground: Image) -> Image:
    found = ground.copy()
    found[TOP : TOP + HEIGHT, left : left + WIDTH] = 35 + clouds(HEIGHT, WIDTH, seed=1, contrast=8)
    return found


def test_it_is_the_place_without_those_who_pass() -> None:
    plate, ground = Plate(), place()
    for i in range(100):
        shown = plate.seen(with_somebody(3 * i, ground), i / 2)
        assert (shown is not None) == (i >= 60)
    assert shown is not None
    assert np.abs(shown.astype(float) - ground).max() <= 1


def test_it_does_not_follow_who_stands_for_a_minute_but_another_view() -> None:
    plate, ground, other = Plate(), place(), place(seed=5)
    for i in range(80):
        plate.seen(ground, i / 2)
    for i in range(80, 200):
        shown = plate.seen(with_somebody(100, ground), i / 2)
    assert shown is not None
    apart = np.abs(shown.astype(float) - with_somebody(100, ground))[TOP : TOP + HEIGHT, 100 : 100 + WIDTH]
    assert apart.mean() > 15
    seen = [plate.seen(other, i / 2) for i in range(200, 300)]
    assert seen[-1] is not None
    assert np.abs(seen[-1].astype(float) - other).max() <= 1
    assert any(one is None for one in seen)  # in between it is not known


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("step_px", [3, 8, 14])
def test_the_flow_of_somebody_does_not_depend_on_the_ground(level: str, step_px: int) -> None:
    ground = place()
    now, before = with_somebody(100 + step_px, ground), with_somebody(100, ground)
    inside = np.s_[TOP // 2 + 2 : (TOP + HEIGHT) // 2 - 2, (100 + step_px) // 2 + 1 : (100 + step_px + WIDTH) // 2 - 1]
    velocity = Flow(level)(now, before, None, ground).velocity
    np.testing.assert_allclose(
        np.median(velocity[inside].reshape(-1, 2), axis=0), (step_px, 0), atol=max(1, 0.15 * step_px)
    )
    far = np.ones(velocity.shape[:2], bool)
    far[TOP // 2 - 6 : (TOP + HEIGHT) // 2 + 6, 42 : (100 + step_px + WIDTH) // 2 + 6] = False
    assert not velocity[far].any()


def test_what_is_not_the_place_is_shown_in_any_light() -> None:
    ground, dark = place(), place(light=0.6)
    shown = without_place(with_somebody(100, dark), (ground, dark), LEVEL)
    inside = np.zeros(shown.shape, bool)
    inside[TOP + 2 : TOP + HEIGHT - 2, 102 : 100 + WIDTH - 2] = True
    assert np.median(shown[inside]) > 40
    wide = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert not shown[~wide].any()


def test_a_detector_of_short_videos_does_without() -> None:
    backbone = MotionBackbone(quality="fast")
    assert backbone.suited_to([60.0, 61.0]) is backbone
    assert backbone.suited_to([20.0, 600.0]) is backbone
    short = backbone.suited_to([59.0, 20.0])
    assert short.options() == {**backbone.options(), "plate": False}
    assert short.suited_to([600.0]) is short


def test_a_stream_uses_it_in_whatever_batches_frames_come() -> None:
    ground, step_px = place(), 9
    images = [with_somebody((step_px * i) % 300, ground) for i in range(330)]
    frames = [Frame(np.repeat(image[:, :, None], 3, axis=2), i / 10, i) for i, image in enumerate(images)]
    speed = {}
    for plate in (False, True):
        parts = {}
        for size in (1, 16):
            stream = MotionBackbone(plate=plate).stream()
            pushed = [stream.push(frames[i : i + size]) for i in range(0, len(frames), size)]
            parts[size] = Embeddings.concatenate([part for part in pushed if part is not None])
        np.testing.assert_allclose(parts[1].vector, parts[16].vector, rtol=1e-5, atol=1e-6)
        assert parts[16].grid is not None
        speed[plate] = float(np.median(parts[16].grid[-15:, ..., CHANNELS.index("right")].max(axis=(1, 2))))
    truth = step_px * 10 / 240  # heights a second
    assert speed[True] > speed[False]
    assert 0.7 * truth < speed[True] < truth
