"""Health: faults rendered into scenes are found in time and told over, and what is no fault is not told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from oddwatch.health import KINDS, Finding, Health, Kind, Patience
from oddwatch.scenes import Scene
from oddwatch.types import Image

FPS = 2.0
BEGIN, END, SECONDS = 20.0, 50.0, 64.0
LATE_SECONDS = 3.5
"""The present is averaged over 3 s, and a look is half a second."""
Change = Callable[[Image], Image]
_RNG = np.random.default_rng(0)
_GRAIN = _RNG.normal(0, 2, (400, 400, 3)).astype(np.float32)


def seen(picture: object, light: float = 1.0) -> Image:
    """What a sensor makes of light: noise that does not go with it."""
    image = np.asarray(picture, dtype=np.float32) * light
    top, left = _RNG.integers(0, 400 - np.array(image.shape[:2]))
    grain = _GRAIN[top : top + image.shape[0], left : left + image.shape[1]]
    return np.asarray(np.clip(image + grain, 0, 255), dtype=np.uint8)


def shifted(share: float) -> Change:
    def change(image: Image) -> Image:
        matrix = np.array([[1, 0, share * image.shape[1]], [0, 1, 0]], dtype=np.float64)
        moved = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
        return np.asarray(moved, dtype=np.uint8)

    return change


def zoomed(image: Image) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0, 1.2)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), dtype=np.uint8)


def hand(image: Image) -> Image:
    """Something near and out of focus before the whole lens."""
    shade = np.linspace(60, 110, image.shape[1])[None, :, None]
    return np.broadcast_to(shade, image.shape).astype(np.uint8)


FAULTS: list[tuple[Kind, Change]] = [
    ("dark", lambda image: (image * 0.02).astype(np.uint8)),
    ("overexposed", lambda image: np.clip(image * 6.0, 0, 255).astype(np.uint8)),
    ("blurred", lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0), np.uint8)),
    ("covered", hand),
    ("moved", shifted(0.03)),
    ("moved", shifted(0.3)),
    ("moved", zoomed),
]


@pytest.fixture(scope="module")
def scene() -> list[Image]:
    """A minute of a walkway, 160x120."""
    return [frame.image for frame in Scene(seconds=SECONDS, seed=1, place_seed=7, size_px=(160, 120), fps=FPS)]


def told(pictures: Iterator[tuple[float, Image]], health: Health | None = None) -> list[Finding]:
    health = health or Health()
    return [finding for seconds, image in pictures for finding in health.look(image, seconds)]


def with_fault(scene: list[Image], change: Change, light: float) -> Iterator[tuple[float, Image]]:
    for index, image in enumerate(scene):
        seconds = index / FPS
        yield seconds, seen(change(image) if BEGIN <= seconds < END else image, light)


@pytest.mark.parametrize(("kind", "change"), FAULTS, ids=[f"{kind}{i}" for i, (kind, _) in enumerate(FAULTS)])
@pytest.mark.parametrize("light", [1.0, 0.3])
def test_a_fault_is_told_in_time_and_told_over(scene: list[Image], kind: Kind, change: Change, light: float) -> None:
    if kind == "overexposed":
        light = 1.0
    found = told(with_fault(scene, change, light))
    assert [(one.kind, one.raised) for one in found] == [(kind, True), (kind, False)]
    raised, over = found
    patience = Patience()
    assert abs(raised.since_seconds - BEGIN) <= LATE_SECONDS
    assert raised.seconds <= BEGIN + getattr(patience, kind) + LATE_SECONDS
    assert END < over.seconds <= END + patience.cleared + LATE_SECONDS
    assert over.since_seconds == raised.since_seconds
    assert raised.says


def test_a_frozen_picture_is_told(scene: list[Image]) -> None:
    last = seen(scene[0])

    def pictures() -> Iterator[tuple[float, Image]]:
        for index, image in enumerate(scene):
            seconds = index / FPS
            yield seconds, last if BEGIN <= seconds < END else seen(image)

    found = told(pictures())
    assert [(one.kind, one.raised) for one in found] == [("frozen", True), ("frozen", False)]
    assert found[0].seconds == pytest.approx(BEGIN + Patience().frozen, abs=1.0)


def test_a_camera_that_says_nothing_is_offline() -> None:
    health = Health()
    assert health.tick(0.0) == []
    image = np.full((120, 160, 3), 90, np.uint8)
    assert health.look(image, 5.0) == []
    assert health.tick(14.9) == []
    (raised,) = health.tick(15.0)
    assert (raised.kind, raised.raised, raised.since_seconds) == ("offline", True, 5.0)
    assert health.tick(100.0) == []
    assert health.raised == ("offline",)
    assert not health.sees
    (over,) = health.look(image, 101.0)
    assert (over.kind, over.raised, over.since_seconds) == ("offline", False, 5.0)
    assert health.sees


def test_a_gap_between_frames_is_told_even_without_ticks() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    health = Health()
    health.look(image, 0.0)
    assert [(one.kind, one.raised) for one in health.look(image, 60.0)] == [("offline", True), ("offline", False)]


def test_who_passes_in_front_of_the_lens_is_no_fault(scene: list[Image]) -> None:
    def pictures() -> Iterator[tuple[float, Image]]:
        for index, image in enumerate(scene):
            seconds = index / FPS
            if 20 <= seconds < 30:  # a lorry stops before the camera
                image = image.copy()
                image[:, : int(image.shape[1] * 0.9)] = (150, 60, 40)
            if 40 <= seconds < 46:
                image = hand(image)
            yield seconds, seen(image)

    assert told(pictures()) == []


def test_the_view_can_be_accepted(scene: list[Image]) -> None:
    health = Health()
    change = shifted(0.3)
    pictures = [(i / FPS, seen(change(image) if i / FPS >= BEGIN else image)) for i, image in enumerate(scene)]
    raised = [one for seconds, image in pictures[:90] for one in health.look(image, seconds)]
    assert [(one.kind, one.raised) for one in raised] == [("moved", True)]
    health.accept_view()
    over = [one for seconds, image in pictures[90:] for one in health.look(image, seconds)]
    assert [(one.kind, one.raised) for one in over] == [("moved", False)]


def test_tiny_and_flat_pictures_are_no_reason_to_fail() -> None:
    for shape in ((1, 1, 3), (16, 16, 3), (40, 40, 3), (120, 160, 3)):
        health = Health()
        found = [one for i in range(60) for one in health.look(np.full(shape, 128, np.uint8), i * 0.5)]
        assert [one.kind for one in found] == ["frozen"]


def test_every_kind_has_a_patience() -> None:
    assert set(KINDS) <= set(Patience.__dataclass_fields__)


@pytest.mark.slow
def test_an_hour_from_day_to_night_has_no_fault() -> None:
    """The light falls to a sixth with clouds on the way, headlights sweep by, people and lorries pass."""
    health, fps = Health(), 0.5
    found: list[Finding] = []
    for frame in Scene(seconds=3600, seed=3, place_seed=2, size_px=(160, 120), fps=fps, groups_per_minute=25):
        seconds, image = frame.time_seconds, frame.image
        light = 0.16 + 0.84 * (1 + np.cos(np.pi * seconds / 3600)) / 2
        light *= 1 - 0.35 * (np.sin(seconds / 47) > 0.6)
        if seconds % 211 < 8:  # a lorry stops before the camera
            image = image.copy()
            image[:, : int(image.shape[1] * 0.8)] = (90, 80, 75)
        if seconds % 157 < 4:  # headlights
            light *= 2.5
        found += health.look(seen(image, float(light)), seconds)
    assert found == []
