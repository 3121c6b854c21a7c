"""Scores -> events, with lists of numbers. One score per second unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from oddwatch.errors import UsageError
from oddwatch.grouping import EventGrouper, Grouping, group, sustained_levels
from oddwatch.types import Event, FloatArray, ScoreTrack

PLAIN = Grouping(release=1.0, min_seconds=0.0, merge_seconds=0.0)


def track(scores: Sequence[float] | FloatArray, starts: Sequence[float] | FloatArray | None = None) -> ScoreTrack:
    start = np.arange(len(scores), dtype=np.float64) if starts is None else np.asarray(starts, dtype=np.float64)
    end = np.append(start[1:], start[-1:] + 1) if starts is not None else start + 1
    return ScoreTrack("a", start, end, np.asarray(scores, dtype=np.float64))


def spans(events: tuple[Event, ...]) -> list[tuple[float, float]]:
    return [(e.start_seconds, e.end_seconds) for e in events]


def one_by_one(track: ScoreTrack, threshold: float, grouping: Grouping) -> tuple[Event, ...]:
    grouper = EventGrouper(threshold, grouping)
    found: list[Event | None] = []
    for i in range(len(track)):
        box = None if track.boxes is None else track.boxes[i]
        times = float(track.start_seconds[i]), float(track.end_seconds[i])
        found.append(grouper.push(*times, float(track.scores[i]), box))
    found.append(grouper.close())
    return tuple(e for e in found if e is not None)


def test_a_score_at_the_threshold_is_an_event() -> None:
    assert spans(group(track([0, 4.999, 5, 0]), 5.0, PLAIN)) == [(2, 3)]
    assert spans(group(track([0, 4.999, 4.999, 0]), 5.0, PLAIN)) == []


def test_an_event_has_its_peak_and_where_it_was() -> None:
    boxes = np.array([[0, 0, 0.1, 0.1], [0.2, 0, 0.3, 0.1], [0.4, 0, 0.5, 0.1], [0.6, 0, 0.7, 0.1]], np.float32)
    with_boxes = ScoreTrack("a", np.arange(4.0), np.arange(4.0) + 1, np.array([6.0, 9.0, 9.0, 1.0]), boxes)
    (event,) = group(with_boxes, 5.0, PLAIN)
    assert (event.start_seconds, event.end_seconds, event.peak_seconds, event.peak_score) == (0, 3, 2, 9)
    assert event.box == pytest.approx((0.2, 0, 0.3, 0.1))
    assert event.p_value is None


def test_hysteresis_holds_an_event_until_the_release_level() -> None:
    scores = [0, 8, 10, 8, 8, 7.9, 8, 10]
    assert spans(group(track(scores), 10.0, Grouping(release=0.8, min_seconds=0, merge_seconds=0))) == [(2, 5), (7, 8)]
    assert spans(group(track(scores), 10.0, PLAIN)) == [(2, 3), (7, 8)]


def test_a_stretch_that_only_reaches_the_release_level_is_no_event() -> None:
    assert group(track([9, 9.9, 9]), 10.0, Grouping(release=0.5, min_seconds=0)) == ()


@pytest.mark.parametrize(("min_seconds", "found"), [(1.0, 2), (1.001, 1), (3.0, 1), (3.001, 0)])
def test_what_is_shorter_than_the_minimum_is_dropped(min_seconds: float, found: int) -> None:
    scores = [0, 9, 0, 0, 0, 9, 9, 9, 0]
    grouping = Grouping(release=1.0, min_seconds=min_seconds, merge_seconds=0)
    assert len(group(track(scores), 5.0, grouping)) == found


def test_a_length_made_of_tenths_is_not_lost_to_rounding() -> None:
    starts = np.arange(100) / 10
    scores = np.where((starts >= 2.05) & (starts < 2.35), 9.0, 0.0)
    assert len(group(track(scores, starts), 5.0, Grouping(min_seconds=0.3))) == 1


def test_flickers_do_not_add_up_to_the_minimum() -> None:
    flickers = [9, 0, 9, 0, 9, 0, 0, 0]
    assert group(track(flickers), 5.0, Grouping(min_seconds=2.0, merge_seconds=1.0)) == ()
    with_a_long_one = [9, 0, 9, 0, 9, 9, 0, 0, 0]
    assert spans(group(track(with_a_long_one), 5.0, Grouping(min_seconds=2.0, merge_seconds=1.0))) == [(0, 6)]


@pytest.mark.parametrize(("gap", "expected"), [(2, [(0, 4)]), (3, [(0, 1), (4, 5)])])
def test_stretches_with_a_small_gap_are_one_event(gap: int, expected: list[tuple[float, float]]) -> None:
    scores = [9.0, *[0.0] * gap, 9.0, 0, 0, 0, 0]
    assert spans(group(track(scores), 5.0, Grouping(min_seconds=0, merge_seconds=2.0))) == expected


def test_the_second_stretch_of_a_merged_event_must_cross_the_threshold_again() -> None:
    scores = [10, 0, 9, 9, 0, 0, 0]
    assert spans(group(track(scores), 10.0, Grouping(release=0.8, min_seconds=0, merge_seconds=2))) == [(0, 1)]


def test_the_peak_may_be_in_the_second_stretch() -> None:
    (event,) = group(track([6, 0, 8, 0, 0, 0]), 5.0, Grouping(min_seconds=0, merge_seconds=2))
    assert (event.peak_score, event.peak_seconds) == (8, 3)


def test_nothing_is_reported_while_cooling_down() -> None:
    scores = [9, 0, 0, 9, 0, 0, 9, 0, 0, 0]
    grouping = Grouping(min_seconds=0, merge_seconds=0, cooldown_seconds=5.0)
    assert spans(group(track(scores), 5.0, grouping)) == [(0, 1), (6, 7)]


def test_what_goes_on_after_the_cool_down_is_reported_from_there() -> None:
    scores = [9, 0, 0, 9, 9, 9, 9, 0]
    grouping = Grouping(min_seconds=0, merge_seconds=0, cooldown_seconds=4.0)
    assert spans(group(track(scores), 5.0, grouping)) == [(0, 1), (5, 7)]


def test_an_event_that_was_dropped_starts_no_cool_down() -> None:
    scores = [9, 0, 9, 9, 0]
    grouping = Grouping(min_seconds=2.0, merge_seconds=0, cooldown_seconds=60.0)
    assert spans(group(track(scores), 5.0, grouping)) == [(2, 4)]


def test_the_end_of_the_stream_ends_the_event() -> None:
    assert spans(group(track([0, 9, 9]), 5.0)) == [(1, 3)]
    assert group(track([]), 5.0) == ()


def test_a_gap_in_the_times_ends_an_event_that_was_high_on_both_sides() -> None:
    starts = [0.0, 0.5, 1.0, 30.0, 30.5]
    ends = np.array([0.5, 1.0, 1.5, 30.5, 31.0])
    gap = ScoreTrack("a", np.array(starts), ends, np.full(5, 9.0))
    assert spans(group(gap, 5.0)) == [(0, 1.5), (30, 31)]


def test_windows_that_overlap() -> None:
    start = np.arange(6.0)
    windows = ScoreTrack("a", start, start + 4, np.array([0, 9, 9, 0, 0, 0.0]))
    assert spans(group(windows, 5.0, PLAIN)) == [(1, 6)]


def test_an_event_is_raised_as_soon_as_it_lasts_long_enough() -> None:
    grouper = EventGrouper(5.0, Grouping(min_seconds=2.0, merge_seconds=1.0))
    raised, ended = [], []
    for t, score in enumerate([0, 9, 9, 9, 0, 0, 0, 0]):
        ended.append(grouper.push(t, t + 1, score) is not None)
        raised.append(grouper.raised)
    assert raised == [False, False, True, True, True, True, False, False]
    assert ended == [False] * 6 + [True, False]
    assert grouper.close() is None


def test_close_twice_gives_the_event_once() -> None:
    grouper = EventGrouper(5.0)
    grouper.push(0, 1, 9)
    assert grouper.close() is not None
    assert grouper.close() is None


@pytest.mark.parametrize("seed", range(60))
def test_a_whole_track_gives_the_same_events_as_its_scores_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    # Few different values, so that scores meet the threshold and the release level exactly.
    scores = np.round(np.convolve(rng.gamma(1.0, 2.0, n), np.ones(rng.integers(1, 6)))[:n])
    start = np.cumsum(rng.choice([0.1, 0.25, 1.0, 7.0], n, p=[0.5, 0.3, 0.19, 0.01]))
    end = start + rng.choice([0.1, 0.5, 2.0])
    boxes = rng.random((n, 4)).astype(np.float32) if seed % 2 else None
    random_track = ScoreTrack("a", start, end, scores, boxes)
    grouping = Grouping(
        release=float(rng.choice([0.5, 0.8, 1.0])),
        min_seconds=float(rng.choice([0, 0.3, 1.0])),
        merge_seconds=float(rng.choice([0, 0.5, 3.0])),
        cooldown_seconds=float(rng.choice([0, 2.0, 10.0])),
        settling_seconds=float(rng.choice([0, 0.9, 4.0])),
    )
    for threshold in (1.0, 5.0, 10.0, 1000.0):
        expected = one_by_one(random_track, threshold, grouping)
        found = group(random_track, threshold, grouping)
        assert found == expected
        high = scores >= threshold
        assert all(high[(start >= e.start_seconds) & (end <= e.end_seconds)].any() for e in found)
        ends = [e.end_seconds for e in found]
        assert all(
            later.start_seconds - end >= grouping.cooldown_seconds for later, end in zip(found[1:], ends, strict=False)
        )


def test_what_scores_high_at_the_start_is_no_event() -> None:
    """Nor after a gap of more than a second; what still does when enough is known is one, from then on."""
    grouping = replace(PLAIN, settling_seconds=3.0)
    assert group(track([9, 9, 0, 0]), 5.0, grouping) == ()
    assert spans(group(track([9, 9, 9, 9, 0]), 5.0, grouping)) == [(2, 4)]
    starts = [0, 1, 2, 3, 4, 9, 10, 11, 12]
    track_with_a_gap = ScoreTrack("a", np.array(starts, float), np.array(starts, float) + 1, np.full(9, 9.0))
    assert spans(group(track_with_a_gap, 5.0, grouping)) == [(2, 5), (11, 13)]
    short = ScoreTrack("a", np.array([0, 1, 2, 3.9]), np.array([1, 2, 3, 4.9]), np.full(4, 9.0))
    assert spans(group(short, 5.0, replace(grouping, merge_seconds=1.0))) == [(2, 4.9)]  # a pause is no gap


def test_another_stream_settles_anew() -> None:
    grouper = EventGrouper(5.0, replace(PLAIN, settling_seconds=2.0))
    for start in (0.0, 1.0):
        grouper.push(start, start + 1, 9.0)
    assert grouper.event is not None
    assert grouper.close() is not None
    grouper.push(2.0, 3.0, 9.0)
    assert grouper.event is None
    grouper.push(3.0, 4.0, 9.0)
    assert grouper.event is not None


def test_without_merging_and_minimum_the_events_are_the_runs() -> None:
    rng = np.random.default_rng(3)
    high = rng.random(500) < 0.4
    edges = np.flatnonzero(np.diff(np.concatenate([[0], high.astype(int), [0]])))
    # Neighbouring seconds touch, so a merge gap of 0 joins nothing that has a low second between.
    assert spans(group(track(high * 9.0), 5.0, PLAIN)) == list(zip(edges[::2], edges[1::2], strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"release": 0.0},
        {"release": 1.1},
        {"min_seconds": -1.0},
        {"merge_seconds": -0.1},
        {"cooldown_seconds": np.nan},
        {"settling_seconds": -1.0},
    ],
)
def test_settings_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Grouping(**options)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_everything_reaches_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold must be above 0"):
        group(track([1.0]), threshold)


# the level that decides whether an event is raised


def test_the_level_of_an_event_is_the_highest_threshold_that_raises_it() -> None:
    # 3 s at 9 or more: raised at 9. With hysteresis, 12 for a moment and 9.6 for 3 s are raised at 12.
    assert sustained_levels(track([0, 9, 12, 9, 0]), 5.0, Grouping(release=1.0, min_seconds=3.0)) == [9]
    assert sustained_levels(track([0, 12, 9.6, 9.6, 0]), 5.0, Grouping(release=0.8, min_seconds=3.0)) == pytest.approx(
        [12]
    )
    assert sustained_levels(track([0, 9.6, 9.6, 12, 0]), 5.0, Grouping(release=0.8, min_seconds=3.0)) == [9.6]
    assert sustained_levels(track([0, 7, 0, 99]), 5.0, Grouping(min_seconds=0.4)) == [99]
    assert sustained_levels(track([1, 1]), 5.0, Grouping()) == []


def test_a_stretch_that_the_end_of_the_track_cuts_off_counts_as_far_as_it_was_seen() -> None:
    assert sustained_levels(track([0, 6, 6, 9]), 5.0, Grouping(release=1.0, min_seconds=3.0)) == [6]


def test_a_level_does_not_last_across_a_gap() -> None:
    starts = np.array([0.0, 1.0, 2.0, 3.0, 60.0, 61.0])
    high = ScoreTrack("a", starts, starts + 1, np.array([6.0, 6.0, 9.0, 9.0, 9.0, 9.0]))
    grouping = Grouping(release=1.0, min_seconds=3.0)
    assert sustained_levels(high, 5.0, grouping) == [6]  # 9 lasts 2 s twice
    assert group(high, 6.0, grouping)
    assert not group(high, 6.1, grouping)


@pytest.mark.parametrize("seed", range(30))
def test_an_event_is_raised_at_its_level_and_not_above(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.convolve(rng.gamma(1.0, 2.0, 300), np.ones(4) / 4)[:300]
    random_track = track(scores)
    grouping = Grouping(release=float(rng.choice([0.7, 0.85, 1.0])), min_seconds=float(rng.integers(0, 5)))
    low = float(np.quantile(scores, 0.7))
    levels = sustained_levels(random_track, low, grouping)
    events = group(random_track, low, grouping)
    assert len(levels) == len(events)
    for event, level in zip(events, levels, strict=True):
        inside = (random_track.start_seconds >= event.start_seconds) & (random_track.end_seconds <= event.end_seconds)
        alone = track(np.where(inside, scores, 0.0))
        assert len(group(alone, level * (1 - 1e-9), grouping)) >= 1
        assert group(alone, level * (1 + 1e-9), grouping) == ()
