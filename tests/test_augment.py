"""Augmentation: one draw for a clip, the same for all of its frames, and it really changes pixels."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import cv2
import numpy as np
import pytest

from oddwatch.augment import Draw, augment, draw, random_crop
from oddwatch.types import Image

ALL = Draw(
    grid=((0.6, 1.4, 1.0, 0.8, 1.2), (1.3, 0.7, 1.0, 1.2, 0.9)),
    degrees=4.0,
    shift=(40.0, -30.0, 10.0),
    gain_bias=(1.15, -0.1),
    clahe=3.0,
    dropped=(0, 255),
    blur_px=4,
    seed=7,
)
ONE_BY_ONE: list[dict[str, Any]] = [
    {field.name: getattr(ALL, field.name)} for field in fields(Draw) if field.name not in ("seed", "dropped")
] + [{"dropped": (0,)}, {"dropped": (255,)}]


def picture() -> Image:
    noise = np.random.default_rng(0).normal(size=(60, 90, 3)).astype(np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(np.clip(128 + 50 * clouds / clouds.std(), 0, 255), np.uint8)


def still() -> Image:
    return np.stack([picture()] * 3)


@pytest.mark.parametrize("change", [*ONE_BY_ONE, {"all": True}], ids=lambda change: "-".join(map(str, change.items())))
def test_all_frames_change_alike(change: dict[str, Any]) -> None:
    images = still()
    found = augment(images, ALL if "all" in change else Draw(**change, seed=7))
    assert (found.shape, str(found.dtype)) == (images.shape, "uint8")
    assert (found == found[0]).all()
    assert np.abs(found.astype(int) - images).mean() > 0.5
    np.testing.assert_array_equal(images, still())


def test_nothing_drawn_changes_nothing() -> None:
    np.testing.assert_array_equal(augment(still(), Draw()), still())


@pytest.mark.parametrize(("value", "other"), [(0, 255), (255, 0)])
def test_two_percent_of_the_pixels_are_dropped(value: int, other: int) -> None:
    images = np.full((2, 300, 400, 3), 128, dtype=np.uint8)
    found = augment(images, Draw(dropped=(value,), seed=3))
    dropped = (found == value).all(axis=-1)
    assert dropped.mean() == pytest.approx(0.02, abs=0.002)
    assert not (found == other).any()
    assert (found[~dropped] == 128).all()


def test_colours_are_rounded_and_kept_in_range() -> None:
    images = np.array([0, 100, 250], dtype=np.uint8).reshape(1, 1, 3, 1).repeat(3, axis=3)
    shifted = augment(images, Draw(shift=(10.4, -20.0, 0.6)))
    np.testing.assert_array_equal(shifted[0, 0], [[10, 0, 1], [110, 80, 101], [255, 230, 251]])
    brighter = augment(images, Draw(gain_bias=(1.1, 0.1)))
    np.testing.assert_array_equal(brighter[0, 0, :, 0], [26, 136, 255])  # 25.5 to the even neighbour


def test_the_grid_keeps_the_corners() -> None:
    found = augment(still(), Draw(grid=ALL.grid))
    for y in (0, -1):
        for x in (0, -1):
            np.testing.assert_array_equal(found[:, y, x], still()[:, y, x])


def test_a_draw_depends_on_seed_clip_and_view_alone() -> None:
    one = draw(seed=1, clip="a", view=1)
    draw(seed=5, clip="b", view=9)
    assert draw(seed=1, clip="a", view=1) == one
    others = [draw(seed=2, clip="a", view=1), draw(seed=1, clip="b", view=1), draw(seed=1, clip="a", view=2)]
    assert one not in others


def test_how_often_and_how_far() -> None:
    draws = [draw(seed=0, clip="a", view=view) for view in range(2000)]

    def share(name: str) -> float:
        return float(np.mean([getattr(d, name) is not None for d in draws]))

    for name in ("grid", "degrees", "shift", "gain_bias", "clahe"):
        assert share(name) == pytest.approx(0.6, abs=0.04)
    assert share("blur_px") == pytest.approx(0.5, abs=0.04)
    for value in (0, 255):
        assert np.mean([value in d.dropped for d in draws]) == pytest.approx(0.5, abs=0.04)
    assert {d.blur_px for d in draws} == {None, 2, 3, 4}
    assert 4.9 < max(abs(d.degrees or 0) for d in draws) <= 5
    assert 49 < max(max(map(abs, d.shift or (0,))) for d in draws) <= 50
    sizes = [size for d in draws for side in d.grid or () for size in side]
    assert 0.6 <= min(sizes) < 0.61
    assert 1.39 < max(sizes) <= 1.4


def test_a_crop_is_the_same_for_all_frames_and_never_leaves_the_picture() -> None:
    places = set()
    for view in range(40):
        found = random_crop(still(), scale_px=(32, 48), size_px=32, seed=1, clip="a", view=view)
        assert (found.shape, str(found.dtype)) == ((3, 32, 32, 3), "uint8")
        assert (found == found[0]).all()
        places.add(found[0].tobytes())
    assert len(places) > 30
    again = random_crop(still(), scale_px=(32, 48), size_px=32, seed=1, clip="a", view=39)
    np.testing.assert_array_equal(again, found)


def test_a_crop_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="from 112 up, got 100 to 120"):
        random_crop(still(), scale_px=(100, 120), size_px=112, seed=1, clip="a", view=0)
