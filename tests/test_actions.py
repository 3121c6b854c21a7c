"""Rendered actions: the same seeds give the same bytes, and each action is another movement."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from oddwatch.errors import UsageError
from oddwatch.scenes import ACTIONS, ALLOWED, FORBIDDEN, Action
from oddwatch.types import FloatArray


def body(action: Action) -> FloatArray:
    """(T, 4) left, top, right, bottom in pixels of what differs from the median picture; NaN where nothing does."""
    images = np.stack([frame.image for frame in action]).astype(np.int16)
    moved = np.abs(images - action._room).max(axis=3) > 60
    boxes = np.full((len(images), 4), np.nan)
    for box, mask in zip(boxes, moved, strict=True):
        if mask.sum() > 20:
            rows, columns = np.flatnonzero(mask.sum(1) > 1), np.flatnonzero(mask.sum(0) > 1)
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def test_ten_actions_seven_of_them_allowed() -> None:
    assert len(ACTIONS) == len({*ACTIONS}) == 10
    assert (*ALLOWED, *FORBIDDEN) == ACTIONS
    assert len(ALLOWED) == 7


@pytest.mark.parametrize("kind", ACTIONS)
def test_the_same_seed_gives_the_same_bytes_and_another_one_another_clip(kind: str) -> None:
    clip = Action(kind, seed=1)
    frames = list(clip)
    assert len(clip) == len(frames) == 20
    assert [frame.time_seconds for frame in frames] == [i / 10 for i in range(20)]
    again = Action(kind, seed=1)
    for index in (19, 0, -3):  # in any order
        np.testing.assert_array_equal(again[index].image, frames[index].image)
    other = [frame.image for frame in Action(kind, seed=2)]
    assert np.abs(np.stack(other).astype(int) - np.stack([f.image for f in frames])).mean() > 5
    moved = [np.abs(a.image.astype(int) - b.image).max() > 40 for a, b in pairwise(frames)]
    assert sum(moved) >= 8


def test_who_walks_or_runs_crosses_the_picture_and_a_runner_faster() -> None:
    speeds = {}
    for kind in ("walk", "run", "wave", "squat"):
        paces = []
        for seed in range(4):
            boxes = body(Action(kind, seed=seed, size_px=(240, 120)))
            middle = boxes[:, [0, 2]].mean(1)
            paces.append(abs(np.nanmean(middle[10:12]) - np.nanmean(middle[8:10])))
        speeds[kind] = float(np.median(paces))
    assert speeds["run"] > 1.2 * speeds["walk"]
    assert speeds["walk"] > 2 * max(speeds["wave"], speeds["squat"])


def test_who_falls_lies_at_the_end_and_who_jumps_leaves_the_ground() -> None:
    for seed in range(3):
        fall, jump, squat = (body(Action(kind, seed=seed)) for kind in ("fall", "jump", "squat"))
        heights = fall[:, 3] - fall[:, 1]
        assert np.nanmean(heights[-4:]) < 0.65 * np.nanmax(heights)
        assert np.nanmin(jump[:, 1]) < np.nanmin(squat[:, 1]) - 5


@pytest.mark.parametrize(
    ("options", "says"),
    [({"kind": "fly"}, "unknown action 'fly'; there are walk, run"), ({"kind": "walk", "fps": 0}, "fps are above 0")],
)
def test_wrong_arguments(options: dict[str, float | str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Action(seed=0, **options)  # type: ignore[arg-type]
