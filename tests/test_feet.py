"""Where somebody stands: below him, not above, not for a moment, and not where the picture ends."""

from __future__ import annotations

import numpy as np
import pytest

from oddwatch.backbones.motion.feet import Feet, Map

SIZE = 60, 80
"""Cells."""


def person(foot: int, left: int, *, height: int = 10, width: int = 4) -> Map:
    found = np.zeros(SIZE, np.float32)
    found[max(foot - height + 1, 0) : foot + 1, left : left + width] = 1
    return found


def after(seconds: float, *shown: Map) -> Map:
    feet = Feet()
    for i in range(max(round(seconds * 10), 1)):
        found = feet.update(shown[i % len(shown)], 0.1)
    return found


def test_feet_are_where_somebody_ends_below() -> None:
    found = after(3.5, person(40, 20))
    assert found[40, 20:24].min() == 1
    assert not found[:38].any()
    assert not found[43:].any()


def test_they_go_along_with_him_and_are_sure_after_three_seconds() -> None:
    feet, levels = Feet(), []
    for i in range(50):
        found = feet.update(person(40, 20 + i, width=3), 0.1)
        levels.append(float(found[40, 20 + i : 23 + i].max()))
    assert levels[0] == pytest.approx(1 / 30)
    assert 0.4 < levels[14] < 0.9
    assert min(levels[29:]) == pytest.approx(1)


@pytest.mark.parametrize(
    "shown",
    [person(40, 20, height=3), person(40, 20, height=10, width=0), person(56, 20)],
    ids=["something low", "nothing", "somebody cut off by the border"],
)
def test_nobody_stands_there(shown: Map) -> None:
    assert not after(4.0, shown).any()


def test_who_is_seen_above_and_below_a_rail_stands_below() -> None:
    shown = person(40, 20)
    shown[34:36] = 0
    found = after(3.5, shown)
    assert found[40, 20:24].min() == 1
    assert not found[:37].any()


def test_a_head_before_somebody_of_the_colour_of_the_hedge_has_no_feet() -> None:
    shown = person(40, 20)
    shown[35:39] = 0  # he is seen at his feet and at his head
    found = after(3.5, shown)
    assert not found[:35].any()


def test_what_is_there_every_other_moment_is_less_than_half_sure() -> None:
    assert after(4.0, person(40, 20), np.zeros(SIZE, np.float32)).max() < 0.5
