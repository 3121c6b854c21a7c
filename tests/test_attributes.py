"""The attributes scorer: what each attribute reacts to, what it says, and that learning more is learning all at once.

What all scorers share is in test_scorers.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

from oddwatch.scorers.attributes import ATTRIBUTES, AttributesScorer
from oddwatch.scorers.attributes.base import COLUMNS
from oddwatch.scorers.attributes.extremes import highest
from oddwatch.scorers.base import Rows
from oddwatch.types import FloatArray


def walkers(n: int, *, seed: int) -> Rows:
    """Rows of people who walk to the right along the middle of the picture, 0.1 of its height a second."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, len(COLUMNS)), np.float32)
    values: dict[str, FloatArray] = {
        "speed": rng.normal(0.1, 0.01, n),
        "down": rng.normal(0, 0.005, n),
        "moving": rng.uniform(0.4, 0.9, n),
        "height": rng.normal(0.3, 0.02, n),
        "width": rng.normal(0.12, 0.01, n),
        "dwell": np.log1p(rng.uniform(0, 4, n)),
        "crowd": rng.uniform(0.05, 0.1, n),
        "changed": rng.uniform(0, 0.02, n),
        "y": rng.uniform(-0.1, 0.1, n),
        "x": rng.uniform(-0.6, 0.6, n),
        **{f"edges_{angle}": rng.uniform(0.1, 0.2, n) for angle in (0, 45, 90, 135)},
    }
    values["stands"] = (values["y"] > 0.05).astype(float)
    values["right"] = values["speed"] * 0.98
    values |= {f"course_{way}": values[way] / values["moving"] for way in ("right", "down")}
    for name, one in values.items():
        rows[:, COLUMNS.index(name)] = one
    return rows


@pytest.fixture(scope="module")
def usual() -> Rows:
    return walkers(6000, seed=0)


@pytest.fixture(scope="module")
def fitted(usual: Rows) -> AttributesScorer:
    return AttributesScorer().fit(usual)


def changed(**values: float) -> Rows:
    """One walker with some columns set."""
    row = walkers(1, seed=9)
    for name, value in values.items():
        row[:, COLUMNS.index(name)] = value
    return row


@pytest.mark.parametrize(
    ("attribute", "values", "says"),
    [
        ("speed", {"speed": 0.3, "right": 0.3}, r"x the usual speed here"),
        ("direction", {"right": -0.1, "course_right": -0.15}, r"going left, here one goes right"),
        ("place", {"y": 0.45}, r"nothing has moved here in all that was learned"),
        ("ground", {"stands": 1.0, "y": -0.1}, r"nobody has stood here in all that was learned"),
        ("left", {"left": 0.9, "moving": 0.0, "speed": 0.0, "right": 0.0}, r"something rests here that was not here"),
        ("taken", {"taken": 0.9, "moving": 0.0, "speed": 0.0, "right": 0.0}, r"something is gone that was here"),
        ("size", {"height": 0.7, "width": 0.6}, r"x the usual size here"),
        ("shape", {"height": 0.1, "width": 0.35}, r"x as wide for its height as usual here"),
        ("dwell", {"dwell": np.log1p(90)}, r"has stayed here for 90 s, usual are \d s"),
        ("crowd", {"crowd": 0.9}, r"as much going on around here as usual"),
        ("appearance", {"edges_0": 0.9, "edges_45": 0.0}, r"it looks otherwise"),
        ("scene", {"changed": 0.8}, r"80% of the whole picture is another"),
    ],
)
def test_each_attribute_is_named_in_words(
    fitted: AttributesScorer, attribute: str, values: dict[str, float], says: str
) -> None:
    row = changed(**values)
    (reason,) = fitted.explain(row)
    assert reason.attribute == attribute
    assert reason.level > 1
    assert re.search(says, reason.says)
    assert fitted.score(row)[0] > 1.5 * fitted.score(walkers(2000, seed=5)).max()


@pytest.mark.parametrize(
    "values",
    [
        {"y": 0.19, "moving": 0.6, "speed": 0.13, "right": -0.1},
        {"y": 0.45, "moving": 0.25, "speed": 0.06, "right": -0.05},
    ],
    ids=["seldom", "never"],
)
def test_where_nobody_goes_no_way_is_unusual(fitted: AttributesScorer, values: dict[str, float]) -> None:
    row = changed(course_right=-0.15, **values)
    found = dict(zip(ATTRIBUTES, fitted.attributes(row)[0].tolist(), strict=True))
    assert found["velocity"] > found["place"] > 1 > found["speed"]
    assert fitted.explain(row)[0].attribute == "place"


def test_the_usual_is_below_one(fitted: AttributesScorer) -> None:
    found = fitted.attributes(walkers(3000, seed=3))
    assert found.shape == (3000, len(ATTRIBUTES))
    assert found.min() >= 0
    assert (found.max(axis=0) < 1.3).all()
    assert (found.mean(axis=0) < 0.5).all()


def test_the_speed_is_that_of_what_moves(fitted: AttributesScorer) -> None:
    usually = 0.1 * 0.65 / (0.65**2 + 0.5**2 / 12)  # mean of 0.1 / share, weighted by its square
    for moving in (0.5, 1.0):  # a window that is half empty shows half the mean speed of the same runner
        row = changed(speed=0.5 * moving, right=0.5 * moving, moving=moving)
        times = float(fitted.explain(row)[0].says.split("x")[0])
        assert times == pytest.approx(0.5 / usually, rel=0.1)


def test_learning_more_is_learning_all_at_once(usual: Rows) -> None:
    more = walkers(2000, seed=1)
    more[:, [COLUMNS.index("right"), COLUMNS.index("course_right")]] *= -1
    updated = AttributesScorer().fit(usual).update(more)
    whole = AttributesScorer().fit(np.concatenate([usual, more]))
    for name, value in whole.state()[0].items():
        if name != "extremes":
            np.testing.assert_allclose(updated.state()[0][name], value, rtol=1e-9, atol=1e-9)
    back = changed(right=-0.1, course_right=-0.15)
    assert AttributesScorer().fit(usual).score(back)[0] > 2 * updated.score(back)[0]


def test_a_place_that_is_learned_later_is_usual_then(usual: Rows) -> None:
    elsewhere = walkers(2000, seed=2)
    elsewhere[:, COLUMNS.index("y")] += 0.35
    scorer = AttributesScorer().fit(usual)
    row = changed(y=0.4)
    assert scorer.explain(row)[0].attribute == "place"
    before = scorer.score(row)[0]
    assert scorer.update(elsewhere).score(row)[0] < before / 2


def test_a_surprise_in_the_usual_video_is_none_in_the_units_of_all_of_it(usual: Rows) -> None:
    surprise = changed(y=0.45).repeat(20, axis=0)
    rest = AttributesScorer().fit(usual)
    before = rest.score(surprise).max()
    assert rest.explain(surprise[:1])[0].attribute == "place"
    rest.scale_as(AttributesScorer().fit(np.concatenate([usual, surprise])))
    assert rest.score(surprise).max() < before / 2
    with pytest.raises(ValueError, match="before fit"):
        rest.scale_as(AttributesScorer())


def test_the_levels_are_of_all_usual_video_where_a_sample_misses_what_is_rare(usual: Rows) -> None:
    groups = np.stack([np.zeros(len(usual)), np.arange(len(usual)) // 4 / 10], axis=1)
    seldom = usual.copy()
    seldom[2000:2040, COLUMNS.index("left")] = 0.5
    few = np.flatnonzero((np.arange(len(usual)) // 40) % 3 == 0)
    assert not seldom[few, COLUMNS.index("left")].any()

    def chunks() -> Iterator[tuple[Rows, FloatArray]]:
        for first in range(0, len(usual), 400):
            yield seldom[first : first + 400], groups[first : first + 400]

    row, left = changed(left=0.5), ATTRIBUTES.index("left")
    scorer = AttributesScorer().fit(seldom[few], groups=groups[few])
    before = scorer.attributes(row)[0, left]
    scorer.survey(chunks())
    assert scorer.attributes(row)[0, left] < 0.9 * before
    all_of_it = AttributesScorer().fit(seldom, groups=groups)
    expected = all_of_it.attributes(usual[:100])
    all_of_it.survey(chunks())
    np.testing.assert_allclose(all_of_it.attributes(usual[:100]), expected, rtol=1e-6)


def test_a_map_is_highest_where_somebody_is_and_as_high_as_it_was(fitted: AttributesScorer) -> None:
    grid = np.zeros((1, 8, 10, len(COLUMNS) - 2), np.float32)
    grid[0, 3, 4, COLUMNS.index("present")] = 1.0
    grid[0, 2:5, 3:6, COLUMNS.index("edges_0")] = 0.3
    maps = np.zeros((1, 8, 10), np.float32)
    maps[0, 2:5, 3:6], maps[0, 2, 5], maps[0, 7, 9] = 1.0, 3.0, 0.5
    found = fitted.located(maps, grid)
    assert found.argmax() == 3 * 10 + 4
    assert found.max() == pytest.approx(3.0)
    assert found[0, 7, 9] == pytest.approx(0.5)


def test_of_places_about_as_unusual_the_highest_is_where_most_of_a_body_is(fitted: AttributesScorer) -> None:
    grid = np.zeros((1, 8, 10, len(COLUMNS) - 2), np.float32)
    grid[0, 3, [1, 7], COLUMNS.index("present")] = 1.0
    grid[0, 3, 7, COLUMNS.index("edges_0")] = 0.6  # the other is a shadow
    for shadow, where in ((3.2, 7), (4.5, 1)):  # once hardly more unusual than the body, once much more
        maps = np.zeros((1, 8, 10), np.float32)
        maps[0, 3, 1], maps[0, 3, 7] = shadow, 3.0
        found = fitted.located(maps, grid)
        assert np.unravel_index(found[0].argmax(), (8, 10)) == (3, where)
        assert found.max() == pytest.approx(shadow)


def test_only_some_attributes(usual: Rows) -> None:
    scorer = AttributesScorer(only=["speed", "place"]).fit(usual)
    assert scorer.attributes(usual[:5]).shape == (5, 2)
    assert scorer.score(changed(right=-0.1))[0] < 1.2
    again = AttributesScorer(only=["speed", "place"]).restore(*scorer.state())
    np.testing.assert_array_equal(again.score(usual), scorer.score(usual))


def test_where_no_feet_were_ever_seen_none_are_unusual(usual: Rows) -> None:
    unknown = usual.copy()
    unknown[:, COLUMNS.index("stands")] = 0
    ground = ATTRIBUTES.index("ground")
    found = AttributesScorer().fit(unknown).attributes(usual)[:, ground]
    assert (usual[:, COLUMNS.index("stands")] == 1).any()
    assert not found.any()


def test_an_unknown_attribute_lists_them() -> None:
    with pytest.raises(ValueError, match=r"'colour'.*speed, velocity, direction"):
        AttributesScorer(only=["colour"])


def test_update_before_fit_is_an_error(usual: Rows) -> None:
    with pytest.raises(ValueError, match="before fit"):
        AttributesScorer().update(usual)


def test_groups_say_what_is_near_in_time(usual: Rows) -> None:
    order = np.random.default_rng(0).permutation(len(usual))
    groups = np.stack([np.zeros(len(usual)), np.arange(len(usual)) / 10], axis=1)
    shuffled = AttributesScorer().fit(usual[order], groups=groups[order])
    np.testing.assert_array_equal(shuffled.score(usual), AttributesScorer().fit(usual, groups=groups).score(usual))


def test_the_highest_is_what_is_held_for_as_long_as_an_event() -> None:
    """Three cells in each of 40 moments a tenth of a second apart, of two videos."""
    values = np.ones((120, 2), np.float32)
    values[31, 0] = 9  # for a moment
    values[60:78:3, 1] = 5  # for six, in another cell of each
    moments = np.repeat(np.stack([np.arange(40) // 20, np.arange(40) / 10], axis=1), 3, axis=0).astype(np.float64)
    assert highest(values, moments, 1).tolist() == [[1, 5]]
    assert highest(values, None, 1).tolist() == [[9, 5]]
    assert highest(values, moments, 2).tolist() == [[1, 1], [1, 5]]
    apart = moments * (1, 50)  # moments of a sample: nothing is known of what lies between them
    assert highest(values, apart, 1).tolist() == [[9, 5]]
    two_videos = moments.copy()
    two_videos[66:, 0] = 2  # what goes on for six moments is of two videos
    assert highest(values, two_videos, 1)[0, 1] == 1
