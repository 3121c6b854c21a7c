"""Held-out scores -> p-values and thresholds: exact on small lists, kept budgets on long simulated cameras."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import ndimage, stats

from oddwatch.calibration import Budget, Calibration, fit_tail
from oddwatch.errors import NotEnoughVideoError, UsageError
from oddwatch.grouping import group
from oddwatch.types import FloatArray, ScoreTrack

FPS = 10.0


def tracks(scores: Sequence[float] | FloatArray, *, seconds_each: float = 1.0, blocks: int = 1) -> list[ScoreTrack]:
    values = np.asarray(scores, dtype=np.float64)
    start = np.arange(len(values)) * seconds_each
    parts = np.array_split(np.arange(len(values)), blocks)
    return [ScoreTrack(f"block {b}", start[i], start[i] + seconds_each, values[i]) for b, i in enumerate(parts)]


def find_events(track: ScoreTrack, threshold: float) -> list[float]:
    return [event.peak_score for event in group(track, threshold)]


def passers_by(hours: float, seed: int, *, blocks: int = 5) -> list[ScoreTrack]:
    """Two a minute, 1.5 s each, with exponential heights over a low noise."""
    rng = np.random.default_rng(seed)
    scores = 0.05 + 0.02 * rng.random(int(hours * 3600 * FPS))
    shape = np.sqrt(np.sin(np.linspace(0, np.pi, 15)))
    count = rng.poisson(hours * 120)
    begins, heights = rng.integers(0, len(scores) - 15, count), 1 + rng.exponential(1, count)
    for begin, height in zip(begins, heights, strict=True):
        scores[begin : begin + 15] = np.maximum(scores[begin : begin + 15], height * shape)
    return tracks(scores, seconds_each=1 / FPS, blocks=blocks)


def smooth_distance(hours: float, seed: int, *, blocks: int = 5) -> list[ScoreTrack]:
    """The length of a vector of 4 smooth normal numbers: a distance that is always a little above 0."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter1d(rng.normal(size=(4, int(hours * 3600 * FPS))), 5, axis=1)
    return tracks(np.linalg.norm(noise / noise.std(), axis=0), seconds_each=1 / FPS, blocks=blocks)


# budgets


@pytest.mark.parametrize(
    ("text", "per_hour", "p"),
    [
        ("2/day", 2 / 24, None),
        (" 1 / hour ", 1.0, None),
        ("0.5/h", 0.5, None),
        ("3/week", 3 / 168, None),
        ("1%", None, 0.01),
        ("0.1 %", None, 0.001),
        ("p=0.05", None, 0.05),
        ("p = 1e-3", None, 0.001),
    ],
)
def test_a_budget_is_a_rate_or_a_share(text: str, per_hour: float | None, p: float | None) -> None:
    budget = Budget.parse(text)
    assert budget.text == text.strip()
    assert budget.per_hour == pytest.approx(per_hour)
    assert budget.p == pytest.approx(p)


@pytest.mark.parametrize(
    "text", ["", "2", "2/month", "0/day", "-1/day", "0%", "100%", "p=0", "p=1", "p=.", "p=e", "1/0"]
)
def test_a_budget_that_makes_no_sense_lists_the_spellings(text: str) -> None:
    with pytest.raises(UsageError, match=r"2/day, 1/hour, 3/week, 1% or p=0\.001"):
        Budget.parse(text)


# p-values


def test_p_values_of_a_small_list() -> None:
    calibration = Calibration(tracks([1, 2, 2, 4]))
    assert calibration.p_value(np.array([0, 1, 1.5, 2, 3, 4, 4.1])) == pytest.approx(
        np.array([5, 5, 4, 4, 2, 2, 1]) / 5
    )
    assert float(calibration.p_value(4.0)) == pytest.approx(2 / 5)
    assert calibration.scores.tolist() == [1, 2, 2, 4]


@pytest.mark.parametrize("n", [9, 99])
def test_p_values_are_super_uniform_on_exchangeable_scores(n: int) -> None:
    rng = np.random.default_rng(n)
    repeats = 20_000
    rounded = np.round(rng.exponential(1, (repeats, n + 1)), 1)  # ties only make them larger
    held_out, new = rounded[:, :-1], rounded[:, -1]
    p = np.array([float(Calibration(tracks(h)).p_value(s)) for h, s in zip(held_out[:2000], new[:2000], strict=True)])
    assert p == pytest.approx((1 + (held_out[:2000] >= new[:2000, None]).sum(1)) / (n + 1))
    all_p = (1 + (held_out >= new[:, None]).sum(1)) / (n + 1)
    for level in (0.1, 0.2, 0.5, 0.9):
        assert (all_p <= level).mean() <= level + 4 * np.sqrt(level / repeats)
    assert (all_p <= 0.5).mean() > 0.45  # valid, and not for want of power


# thresholds from a share


@pytest.mark.parametrize(
    ("n", "p"), [(99, 0.05), (99, 0.29), (100, 0.05), (19, 0.05), (9, 0.5), (1000, 0.001), (3, 0.9)]
)
def test_a_share_becomes_the_lowest_threshold_whose_p_value_is_in_it(n: int, p: float) -> None:
    scores = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    calibration = Calibration(tracks(scores))
    threshold = calibration.threshold(Budget(f"p={p}", p=p), find_events)
    assert not threshold.extrapolated
    assert float(calibration.p_value(threshold.value)) <= p + 1e-12
    just_below = np.nextafter(threshold.value, 0)
    assert float(calibration.p_value(just_below)) > p
    assert f"{n} held-out usual scores" in threshold.says


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50, 500])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_share_beyond_the_held_out_scores_is_extrapolated_in_their_own_units(n: int, scale: float) -> None:
    scores = scale * stats.expon.ppf((np.arange(n) + 0.5) / n)
    p = 0.5 / (n + 1)
    threshold = Calibration(tracks(scores)).threshold(Budget("tiny", p=p), find_events)
    assert threshold.extrapolated
    assert "extrapolated" in threshold.says
    assert threshold.value > scores.max()
    # The exact quantile of an exponential law, from n of its own: right within the spacing of the highest scores.
    assert threshold.value / scale == pytest.approx(stats.expon.isf(p), rel=0.45)


def test_an_extrapolated_share_grows_as_the_share_falls() -> None:
    calibration = Calibration(tracks(stats.expon.ppf((np.arange(50) + 0.5) / 50)))
    levels = [calibration.threshold(Budget("", p=p), find_events).value for p in (0.019, 0.005, 0.002, 0.001, 1e-5)]
    assert levels == sorted(levels)
    assert len(set(levels)) == 5


# thresholds from a rate


def test_a_rate_is_kept_on_the_held_out_tracks_and_the_alarm_to_come_counts() -> None:
    # 40 peaks of heights 1..40 in 40 hours: half an alarm an hour is 20 of them, and 19 may be above the threshold.
    scores = np.zeros(40 * 360)
    scores[180::360] = np.random.default_rng(0).permutation(np.arange(1.0, 41))
    calibration = Calibration(tracks(scores, seconds_each=10.0, blocks=4))
    assert calibration.hours == pytest.approx(40)
    for per_hour, above in ((0.5, 19), (0.25, 9), (1 / 40, 0), (2 / 40, 1)):
        threshold = calibration.threshold(Budget("b", per_hour=per_hour), find_events)
        assert not threshold.extrapolated
        assert sum(len(find_events(t, threshold.value)) for t in calibration.tracks) == above
        assert threshold.says == "b kept on 40.0 h of held-out usual video"


@pytest.mark.slow
def test_a_generous_rate_does_not_put_everything_in_alarm() -> None:
    scores = smooth_distance(0.5, 0)
    calibration = Calibration(scores)
    threshold = calibration.threshold(Budget.parse("5000/hour"), find_events)
    counts = [sum(len(find_events(t, float(s))) for t in scores) for s in np.quantile(calibration.scores, [0.1, 0.5])]
    assert threshold.value > np.median(calibration.scores)
    assert sum(len(find_events(t, threshold.value)) for t in scores) > max(counts)
    assert (calibration.scores >= threshold.value).mean() < 0.5


def test_a_rate_is_extrapolated_exactly_when_the_held_out_hours_allow_less_than_one() -> None:
    calibration = Calibration(passers_by(2.0, 0))
    assert calibration.hours == pytest.approx(2.0, rel=1e-3)
    assert not calibration.threshold(Budget.parse("1/hour"), find_events).extrapolated
    short = calibration.threshold(Budget.parse("2/day"), find_events)
    assert short.extrapolated
    assert short.says.startswith("2/day: extrapolated from ")
    assert short.says.endswith("peaks in 2.0 h of held-out usual video, too little to certify it (that takes 12.0 h)")
    assert short.value > calibration.scores[-1]


@pytest.mark.slow
@pytest.mark.parametrize("make", [passers_by, smooth_distance])
def test_a_certified_rate_is_kept_on_a_long_unseen_process(make: type) -> None:
    unseen_hours, repeats = 60, 8
    (unseen,) = make(unseen_hours, 999, blocks=1)
    found = [
        len(find_events(unseen, Calibration(make(6, seed)).threshold(Budget.parse("2/hour"), find_events).value))
        for seed in range(repeats)
    ]
    # Each threshold lies at the 12th highest of the held-out peaks: a Gamma(12) share, and the counts are Poisson.
    low, high = stats.gamma.ppf([1e-4, 1 - 1e-4], 12) / 12 * unseen_hours * 2
    assert all(low - 4 * np.sqrt(low) <= count <= high + 4 * np.sqrt(high) for count in found)
    expected = unseen_hours * 2
    assert np.mean(found) <= expected * (1 + 3 / np.sqrt(12 * repeats)) + 3 * np.sqrt(expected)
    assert np.mean(found) >= 0.5 * expected


def test_one_alarm_allowed_is_one_alarm_expected() -> None:
    # Independent peaks: above the highest of n held-out ones lie 1 of n new ones on average, not 2.
    rng = np.random.default_rng(5)
    counts = []
    for _ in range(150):
        scores = np.zeros(200 * 3)
        scores[1::3] = rng.exponential(1, 200)
        calibration = Calibration(tracks(scores, seconds_each=60.0))
        threshold = calibration.threshold(Budget("b", per_hour=1 / calibration.hours), find_events)
        counts.append(200 * np.exp(-threshold.value))
    assert np.mean(counts) == pytest.approx(1.0, abs=4 / np.sqrt(150))
    assert np.mean(counts) < 1.5


def test_extrapolation_from_a_quarter_of_an_hour_is_within_a_factor_of_ten() -> None:
    budget = Budget.parse("6/day")
    (unseen,) = passers_by(100, 999, blocks=1)
    allowed = 100 * 6 / 24
    found = []
    for seed in range(12):
        threshold = Calibration(passers_by(0.25, seed)).threshold(budget, find_events)
        assert threshold.extrapolated
        found.append(len(find_events(unseen, threshold.value)))
    assert max(found) <= 10 * allowed
    assert np.mean(found) <= 3 * allowed
    assert np.mean(found) >= allowed / 10


def test_extrapolation_of_a_light_tail_is_within_a_factor_of_five() -> None:
    budget = Budget.parse("6/day")
    (unseen,) = smooth_distance(60, 999, blocks=1)
    allowed = 60 * 6 / 24
    found = [
        len(find_events(unseen, Calibration(smooth_distance(0.25, seed)).threshold(budget, find_events).value))
        for seed in range(12)
    ]
    assert max(found) <= 5 * allowed
    assert allowed / 10 <= np.mean(found) <= 2 * allowed


def test_less_budget_never_means_a_lower_threshold() -> None:
    calibration = Calibration(passers_by(1.0, 3))
    budgets = ["20/hour", "5/hour", "2/hour", "1/hour", "12/day", "2/day", "1/week"]
    levels = [calibration.threshold(Budget.parse(b), find_events).value for b in budgets]
    assert levels == sorted(levels)


def test_a_scene_that_is_empty_most_of_the_time_does_not_hide_its_peaks() -> None:
    # Nothing for 99% of the time scores 0; the peaks of the rest are what the tail is made of.
    rng = np.random.default_rng(0)
    scores = np.zeros(36_000)
    for begin in rng.integers(0, 35_000, 30):
        scores[begin : begin + 10] = 1 + rng.exponential(1)
    calibration = Calibration(tracks(scores, seconds_each=0.1, blocks=5))
    threshold = calibration.threshold(Budget.parse("2/day"), find_events)
    peaks = int(threshold.says.split("extrapolated from ")[1].split()[0])
    assert 10 <= peaks <= 30
    assert scores.max() < threshold.value < 5 * scores.max()


# degenerate scores


@pytest.mark.parametrize("budget", ["2/day", "1/hour", "1000/hour", "1%", "50%"])
@pytest.mark.parametrize(
    "scores",
    [[3.0] * 100, [1.0, 2.0], [7.0], [0.0, 5.0], [0.0] * 99 + [5.0]],
    ids=["all equal", "two", "one", "zero and five", "a single peak"],
)
@pytest.mark.parametrize("seconds_each", [0.1, 3600.0])
def test_poor_scores_still_give_a_finite_threshold_above_the_usual(
    scores: list[float], budget: str, seconds_each: float
) -> None:
    threshold = Calibration(tracks(scores, seconds_each=seconds_each)).threshold(Budget.parse(budget), find_events)
    assert np.isfinite(threshold.value)
    assert threshold.value > np.median(scores)
    assert threshold.value > 0


def test_equal_scores_put_the_threshold_just_above_them() -> None:
    for budget in ("2/day", "1%", "p=0.0001"):
        threshold = Calibration(tracks([3.0] * 100)).threshold(Budget.parse(budget), find_events)
        assert threshold.value == np.nextafter(3.0, np.inf)


@pytest.mark.parametrize("budget", ["2/day", "1000/hour", "1%", "p=0.0001"])
@pytest.mark.parametrize("seconds_each", [0.1, 3600.0])
def test_scores_that_are_all_zero_give_no_threshold(budget: str, seconds_each: float) -> None:
    calibration = Calibration(tracks([0.0] * 100, seconds_each=seconds_each))
    with pytest.raises(NotEnoughVideoError, match=r"nothing stands out at all in .* give more usual video"):
        calibration.threshold(Budget.parse(budget), find_events)


def test_no_held_out_video_is_an_error() -> None:
    for given in ([], tracks([])):
        with pytest.raises(NotEnoughVideoError, match="no held-out usual video"):
            Calibration(given)


# the tail


@pytest.mark.parametrize(("law", "shape"), [(stats.expon, 0.0), (stats.genpareto(0.3), 0.3), (stats.uniform, -1.0)])
def test_the_shape_of_a_long_tail_is_recovered(law: stats.rv_continuous, shape: float) -> None:
    found, _ = fit_tail(7.0 * law.rvs(size=4000, random_state=1))
    assert found == pytest.approx(shape, abs=0.1 if shape > -1 else 0.25)


@pytest.mark.parametrize("seed", range(5))
def test_a_few_exponential_excesses_give_a_shape_near_0_and_their_mean(seed: int) -> None:
    x = 7.0 * np.random.default_rng(seed).exponential(1, 30)
    shape, scale = fit_tail(x)
    assert abs(shape) < 0.2
    assert scale == pytest.approx(x.mean(), rel=0.2)


def test_a_fit_does_not_depend_on_units() -> None:
    x = np.random.default_rng(0).exponential(1, 50)
    shape, scale = fit_tail(x)
    other_shape, other_scale = fit_tail(1e6 * x)
    assert other_shape == pytest.approx(shape, abs=1e-6)
    assert other_scale == pytest.approx(1e6 * scale)


def test_a_single_excess() -> None:
    assert fit_tail(np.array([3.0])) == (0.0, 3.0)


# state


def test_state_and_back() -> None:
    calibration = Calibration([*passers_by(0.05, 1, blocks=3), *tracks([])])
    arrays, meta = calibration.state()
    again = Calibration.from_state(arrays, json.loads(json.dumps(meta)))
    assert [t.source for t in again.tracks] == ["block 0", "block 1", "block 2"]
    for old, new in zip(calibration.tracks, again.tracks, strict=True):
        for name in ("start_seconds", "end_seconds", "scores"):
            np.testing.assert_array_equal(getattr(old, name), getattr(new, name))
    budget = Budget.parse("2/day")
    assert again.threshold(budget, find_events) == calibration.threshold(budget, find_events)
    assert again.hours == calibration.hours
