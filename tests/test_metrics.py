"""Metrics against numbers worked out by hand and against slow, independent implementations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats

from oddwatch.metrics import (
    Region,
    RegionMetrics,
    event_metrics,
    frame_metrics,
    intervals_from_labels,
    pixel_scores,
    poisson_interval,
    region_metrics,
    regions_from_masks,
    regions_from_truth,
)
from oddwatch.types import Box, Event, FloatArray, FrameMetrics, TruthBox, TruthEvent

BoolArray = NDArray[np.bool_]


def array(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float64)


def flags(*values: int) -> BoolArray:
    return np.array(values, dtype=bool)


def event(start: float, end: float) -> Event:
    return Event(start_seconds=start, end_seconds=end, peak_seconds=end, peak_score=1.0)


def happened(start: float, end: float, *boxes: TruthBox) -> TruthEvent:
    return TruthEvent("cyclist", start, end, boxes)


def pair_auc(scores: FloatArray, labels: BoolArray) -> float:
    """AUC as the share of (anomalous, usual) pairs in the right order, ties half."""
    difference = scores[labels][:, None] - scores[~labels][None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def ranking_precision(scores: FloatArray, labels: BoolArray) -> float:
    """Average precision of scores without ties: mean precision at the place of each anomalous frame."""
    ranked = labels[np.argsort(-scores)]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


class TestFrameMetrics:
    def test_by_hand(self) -> None:
        found = frame_metrics(
            [array(0.5, 0.7), array(0.9, 0.1)],
            [flags(1, 1), flags(0, 1)],
        )
        # Micro: the usual 0.9 is above all of 0.5, 0.7, 0.1. Padded: 1 for the first video; for the second the usual
        # frames are 0.1, 0.9 and the anomalous ones 0.1, 0.9: (1/2 + 0 + 1 + 1/2) / 4.
        assert found.average_precision == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 3)
        assert replace(found, average_precision=None) == FrameMetrics(
            micro_auc=0.0, macro_auc=0.0, macro_auc_padded=0.75, macro_videos=1, average_precision=None, eer=1.0
        )

    @pytest.mark.parametrize(
        ("scores", "labels", "eer"),
        [
            (array(0.1, 0.4, 0.3, 0.8), flags(0, 0, 1, 1), 0.5),
            (array(0.1, 0.2, 0.4, 0.3, 0.8), flags(0, 0, 0, 1, 1), 1 / 3),
            (array(1, 1, 1, 1), flags(0, 1, 0, 1), 0.5),
            (array(1, 2, 2, 2, 3), flags(0, 0, 0, 1, 1), 2 / 7),  # 3/7 of the way from (0, 1/2) to (2/3, 1)
            (array(0, 1), flags(0, 1), 0.0),
        ],
    )
    def test_equal_error_rate(self, scores: FloatArray, labels: BoolArray, eer: float) -> None:
        assert frame_metrics([scores], [labels]).eer == pytest.approx(eer)

    def test_against_slow_definitions(self) -> None:
        rng = np.random.default_rng(3)
        labels = [rng.random(n) < 0.4 for n in (30, 50, 7)] + [np.ones(9, bool), np.zeros(11, bool)]
        scores = [rng.normal(size=len(y)) + y for y in labels]
        found = frame_metrics(scores, labels)
        all_scores, all_labels = np.concatenate(scores), np.concatenate(labels)
        low, high = all_scores.min(), all_scores.max()
        padded = [pair_auc(np.r_[s, low, high], np.r_[y, False, True]) for s, y in zip(scores, labels, strict=True)]
        assert found.micro_auc == pytest.approx(pair_auc(all_scores, all_labels))
        assert found.macro_videos == 3
        assert found.macro_auc == pytest.approx(
            np.mean([pair_auc(s, y) for s, y in zip(scores[:3], labels[:3], strict=True)])
        )
        assert found.macro_auc_padded == pytest.approx(np.mean(padded))
        assert found.average_precision == pytest.approx(ranking_precision(all_scores, all_labels))

    def test_perfect_reversed_and_monotone(self) -> None:
        labels = [flags(0, 0, 1, 1, 0), flags(1, 0, 0)]
        perfect = [y.astype(np.float64) for y in labels]
        assert frame_metrics(perfect, labels) == FrameMetrics(1.0, 1.0, 1.0, 2, 1.0, 0.0)
        turned = frame_metrics([-s for s in perfect], labels)
        assert (turned.micro_auc, turned.macro_auc, turned.eer) == (0.0, 0.0, 1.0)
        rng = np.random.default_rng(0)
        scores = [rng.normal(size=len(y)) for y in labels]
        assert frame_metrics([np.exp(3 * s) - 7 for s in scores], labels) == frame_metrics(scores, labels)

    @pytest.mark.parametrize("anomalous", [False, True])
    def test_one_class_is_none(self, anomalous: bool) -> None:
        assert frame_metrics([array(1, 2, 3)], [np.full(3, anomalous)]) == FrameMetrics(None, None, None, 0, None, None)

    def test_both_classes_but_in_no_video(self) -> None:
        found = frame_metrics([array(1, 2), array(3, 4)], [flags(0, 0), flags(1, 1)])
        assert (found.micro_auc, found.macro_auc, found.macro_videos) == (1.0, None, 0)

    def test_nothing_and_empty_videos(self) -> None:
        assert frame_metrics([], []).micro_auc is None
        assert frame_metrics([array(), array(0, 1)], [flags(), flags(0, 1)]).micro_auc == 1.0

    def test_takes_over_region_figures(self) -> None:
        found = frame_metrics([array(0, 1)], [flags(0, 1)], regions=RegionMetrics(0.25, 0.5, 10, 2))
        assert (found.rbdc, found.tbdc) == (0.25, 0.5)

    @pytest.mark.parametrize(
        ("scores", "labels", "message"),
        [
            ([array(1)], [], "'scores': 1, 'labels': 0"),
            ([array(1, 2)], [flags(1)], r"video 0: scores and labels are \(N,\) both, got \(2,\) and \(1,\)"),
            ([array(0), array(1, np.nan)], [flags(0), flags(0, 1)], "video 1: scores must be finite"),
        ],
    )
    def test_refuses(self, scores: list[FloatArray], labels: list[BoolArray], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            frame_metrics(scores, labels)


class TestEventMetrics:
    def test_by_hand(self) -> None:
        found = event_metrics(
            # found late, twice | false alarm | found early | nothing raised
            [[event(12, 13), event(14, 15), event(40, 41)], [event(0, 6)], []],
            [[happened(10, 20)], [happened(5, 8)], [happened(1, 2)]],
            watched=[[(0, 60)], [(0, 30)], [(0, 10)]],
            threshold=0.5,
        )
        assert found.threshold == 0.5
        assert (found.truth_events, found.found_events, found.false_alarms) == (3, 2, 1)
        assert found.recall == pytest.approx(2 / 3)
        assert found.normal_hours == pytest.approx((50 + 27 + 9) / 3600)
        assert found.false_alarms_per_hour == pytest.approx(3600 / 86)
        assert found.median_delay_seconds == pytest.approx((2 + 0) / 2)

    def test_one_event_over_two_truth_events_finds_both(self) -> None:
        found = event_metrics([[event(0, 9)]], [[happened(1, 2), happened(4, 5)]], watched=[[(0, 9)]], threshold=1)
        assert (found.found_events, found.false_alarms) == (2, 0)

    def test_end_points_count(self) -> None:
        found = event_metrics([[event(0, 1), event(2, 3)]], [[happened(1, 2)]], watched=[[(0, 3)]], threshold=1)
        assert (found.found_events, found.false_alarms) == (1, 0)

    def test_delay_counts_until_raised(self) -> None:
        videos = ([[event(9.9, 12)], [event(13, 15)]], [[happened(10, 20)]] * 2)
        found = event_metrics(*videos, watched=[[(0, 30)], [(0, 30)]], threshold=1, raised_after_seconds=0.4)
        assert found.median_delay_seconds == pytest.approx((0.3 + 3.4) / 2)

    def test_tolerance_reaches_after_the_end_only(self) -> None:
        def metrics(start: float, end: float, tolerance_seconds: float) -> tuple[int, int, float]:
            found = event_metrics(
                [[event(start, end)]],
                [[happened(10, 11)]],
                watched=[[(0, 20)]],
                threshold=1,
                tolerance_seconds=tolerance_seconds,
            )
            return found.found_events, found.false_alarms, round(found.normal_hours * 3600, 6)

        assert metrics(12, 13, 0.0) == (0, 1, 19)
        assert metrics(12, 13, 1.0) == (1, 0, 18)
        assert metrics(8, 9.5, 1.0) == (0, 1, 18)

    def test_overlapping_truth_is_counted_once_in_time(self) -> None:
        truth = [[happened(2, 6), happened(4, 8), happened(5, 6), happened(9, 99)]]
        found = event_metrics([[]], truth, watched=[[(0, 10)]], threshold=1)
        assert found.normal_hours * 3600 == pytest.approx(10 - 6 - 1)

    def test_gaps_in_a_video_are_no_normal_time(self) -> None:
        truth = [[happened(8, 12), happened(25, 26), happened(98, 103)]]
        found = event_metrics([[]], truth, watched=[[(0, 10), (20, 30), (100, 110)]], threshold=1)
        assert found.normal_hours * 3600 == pytest.approx((10 - 2) + (10 - 1) + (10 - 3))

    def test_undefined_is_none(self) -> None:
        found = event_metrics([[]], [[]], watched=[[(0, 0.0)]], threshold=1)
        assert (found.recall, found.false_alarms_per_hour, found.median_delay_seconds) == (None, None, None)
        found = event_metrics([[event(1, 2)]], [[happened(0, 5)]], watched=[[(0, 5.0)]], threshold=1)
        assert (found.recall, found.false_alarms_per_hour) == (1.0, None)

    def test_refuses_lists_that_differ(self) -> None:
        with pytest.raises(ValueError, match="'watched': 2"):
            event_metrics([[]], [[]], watched=[[(0, 1)], [(0, 2)]], threshold=1)


class TestIntervalsFromLabels:
    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            (flags(0, 0, 0, 0), []),
            (flags(1, 1, 0, 1), [(0.0, 0.2), (0.3, 0.4)]),
            (flags(1, 1, 1, 1), [(0.0, 0.4)]),
            (flags(0, 1, 0, 0), [(0.1, 0.2)]),
        ],
    )
    def test_at_ten_frames_per_second(self, labels: BoolArray, expected: list[tuple[float, float]]) -> None:
        found = intervals_from_labels(labels, np.arange(4) / 10)
        assert len(found) == len(expected)
        np.testing.assert_allclose(np.ravel(found), np.ravel(expected))

    def test_variable_frame_rate_and_short_input(self) -> None:
        assert intervals_from_labels(flags(0, 1, 1, 0), array(0, 1, 5, 6)) == [(1.0, 6.0)]
        assert intervals_from_labels(flags(1), array(2.0)) == [(2.0, 2.0)]
        assert intervals_from_labels(flags(), array()) == []

    def test_refuses_other_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
            intervals_from_labels(flags(0, 1), array(0, 1, 2))


class TestPoissonInterval:
    @pytest.mark.parametrize(
        ("count", "low", "high"),
        [(0, 0.0, 3.689), (1, 0.025, 5.572), (3, 0.619, 8.767), (10, 4.795, 18.390)],
    )
    def test_published_table(self, count: int, low: float, high: float) -> None:
        assert poisson_interval(count) == pytest.approx((low, high), abs=6e-4)

    @pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
    @pytest.mark.parametrize("count", [1, 4, 250])
    def test_tails_are_exact(self, count: int, confidence: float) -> None:
        low, high = poisson_interval(count, confidence=confidence)
        assert stats.poisson.sf(count - 1, low) == pytest.approx((1 - confidence) / 2)
        assert stats.poisson.cdf(count, high) == pytest.approx((1 - confidence) / 2)

    @pytest.mark.parametrize(("count", "confidence"), [(-1, 0.95), (2, 0.0), (2, 1.0)])
    def test_refuses(self, count: int, confidence: float) -> None:
        with pytest.raises(ValueError, match="count must be >= 0"):
            poisson_interval(count, confidence=confidence)


CELL = Region((0.25, 0.25, 0.5, 0.5), 7)  # cell (1, 1) of a 4 x 4 grid


def cells(size: int, *values: tuple[int, int, float]) -> FloatArray:
    """A size x size map of zeros with these (row, column, value)."""
    result = np.zeros((size, size), np.float32)
    for row, column, value in values:
        result[row, column] = value
    return result


def box_iou(a: Box, b: Box) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def slow_region_metrics(
    maps: Sequence[FloatArray], regions: Sequence[Sequence[Sequence[Region]]]
) -> tuple[float, float]:
    """RBDC and TBDC with every value of the maps as a threshold, one frame after the other."""
    frames = sum(map(len, maps))
    true = [(v, r) for v, video in enumerate(regions) for frame in video for r in frame]
    points = [(0.0, 0.0, 0.0)]
    limit = 0.1 - 1e-12
    for threshold in np.unique(np.concatenate([m.ravel() for m in maps])):
        false, hits = 0, []
        for video_maps, video_regions in zip(maps, regions, strict=True):
            for scores, frame in zip(video_maps, video_regions, strict=True):
                labelled, _ = ndimage.label(scores >= threshold, structure=np.ones((3, 3)))
                height, width = scores.shape
                boxes = [
                    (x.start / width, y.start / height, x.stop / width, y.stop / height)
                    for y, x in ndimage.find_objects(labelled)
                ]
                false += sum(all(box_iou(b, r.box) < limit for r in frame) for b in boxes)
                hits += [any(box_iou(b, r.box) >= limit for b in boxes) for r in frame]
        tracks: dict[tuple[int, int], list[bool]] = {}
        for (video, region), hit in zip(true, hits, strict=True):
            tracks.setdefault((video, region.track), []).append(hit)
        found_tracks = [np.mean(h) >= 0.1 for h in tracks.values()]
        points.append((false / frames, float(np.mean(hits)), float(np.mean(found_tracks))))
    result = []
    for rate in (1, 2):
        area, (x0, y0) = 0.0, (0.0, 0.0)
        for x, y in sorted({(p[0], p[rate]) for p in points} | {(1e9, 0.0)}):
            x1, y1 = x, max(y, y0)
            reach = min(x1, 1.0)
            if x0 < reach:
                area += (reach - x0) * (y0 + y0 + (y1 - y0) * (reach - x0) / (x1 - x0)) / 2
            x0, y0 = x1, y1
        result.append(area)
    return result[0], result[1]


class TestRegionMetrics:
    def test_by_hand(self) -> None:
        # Threshold 3: 1 of 2 regions, none false. 2: one false in 2 frames. 1: both regions. 0: the whole frame twice,
        # each overlapping its region by 1/16 only. So the rate is 0.5 up to 0.5 false per frame and 1 from there on.
        maps = [np.stack([cells(4, (1, 1, 3), (3, 3, 2)), cells(4, (1, 1, 1))])]
        assert region_metrics(maps, [[[CELL], [CELL]]]) == RegionMetrics(0.75, 1.0, regions=2, tracks=1)

    def test_straight_line_between_points(self) -> None:
        # Threshold 1: all found at one false region per frame. 0: the whole frames, the first overlaps its region by a
        # quarter, the second is false. So a line from (0, 0) to (0.5, 1), and 1 from there on.
        block = Region((0.25, 0.25, 0.75, 0.75), 0)
        first = cells(4, (1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 2, 1))
        maps = [np.stack([first, cells(4, (0, 0, 1), (3, 3, 1))])]
        assert region_metrics(maps, [[[block], []]]) == RegionMetrics(0.75, 0.75, regions=1, tracks=1)

    def test_perfect_and_reversed(self) -> None:
        maps = np.stack([cells(4, (1, 1, 1)), cells(4), cells(4, (1, 1, 2))])
        truth = [[CELL], [], [CELL]]
        assert region_metrics([maps], [truth]) == RegionMetrics(1.0, 1.0, regions=2, tracks=1)
        assert region_metrics([-maps], [truth]) == RegionMetrics(0.0, 0.0, regions=2, tracks=1)

    def test_tracks_of_two_videos_are_not_one(self) -> None:
        hit, missed = cells(4, (1, 1, 1))[None], cells(4)[None]
        found = region_metrics([hit, missed], [[[CELL]], [[CELL]]])
        assert found == RegionMetrics(0.5, 0.5, regions=2, tracks=2)

    def test_track_needs_its_share(self) -> None:
        maps = np.stack([cells(4, (1, 1, 1))] + [cells(4)] * 9)
        truth = [[CELL]] * 10
        assert region_metrics([maps], [truth]) == RegionMetrics(0.1, 1.0, regions=10, tracks=1)
        assert region_metrics([maps], [truth], minimum_track_share=0.11).tbdc == 0.0

    def test_overlap_at_the_limit_counts(self) -> None:
        maps = np.ones((1, 2, 5), np.float32)  # detected: the whole frame, true: a tenth of it
        truth = [[[Region((0.2, 0.5, 0.4, 1.0), 0)]]]
        assert region_metrics([maps], truth).rbdc == 1.0
        assert region_metrics([maps], truth, minimum_iou=0.11).rbdc == 0.0

    def test_diagonal_cells_are_one_region(self) -> None:
        maps = cells(4, (0, 0, 1), (1, 1, 1))[None]
        assert region_metrics([maps], [[[Region((0.0, 0.0, 0.5, 0.5), 0)]]], minimum_iou=1.0).rbdc == 1.0

    @pytest.mark.parametrize("seed", range(4))
    def test_against_a_slow_implementation(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = [(6, 5, 8), (9, 4, 4), (3, 6, 5)]
        maps: list[FloatArray] = []
        regions: list[list[list[Region]]] = []
        for frames, height, width in sizes:
            truth: list[list[Region]] = []
            scores = rng.normal(size=(frames, height, width)).round(1)
            for frame in range(frames):
                left, top = rng.integers(0, width - 1), rng.integers(0, height - 1)
                box = (left / width, top / height, (left + 2) / width, (top + 2) / height)
                truth.append([Region(box, int(rng.integers(0, 2)))] * int(rng.integers(0, 3)))
                if truth[-1]:
                    scores[frame, top : top + 2, left : left + 2] += 2
            maps.append(scores)
            regions.append(truth)
        found = region_metrics(maps, regions, thresholds=5000)
        assert (found.rbdc, found.tbdc) == pytest.approx(slow_region_metrics(maps, regions))
        assert 0 < (found.rbdc or 0) < 1
        assert region_metrics([np.exp(m) for m in maps], regions, thresholds=5000) == found

    def test_without_regions(self) -> None:
        assert region_metrics([cells(4)[None]], [[[]]]) == RegionMetrics(None, None, 0, 0)
        assert region_metrics([], []) == RegionMetrics(None, None, 0, 0)

    def test_refuses(self) -> None:
        with pytest.raises(ValueError, match=r"video 0: maps \(1, 4, 4\) do not go with the regions of 2 frames"):
            region_metrics([cells(4)[None]], [[[], []]])
        with pytest.raises(ValueError, match="video 0: maps must be finite"):
            region_metrics([cells(4, (0, 0, np.nan))[None]], [[[]]])
        with pytest.raises(ValueError, match="at least one threshold is needed, got 0"):
            region_metrics([], [], thresholds=0)
        with pytest.raises(ValueError, match="minimum shares are > 0"):
            region_metrics([], [], minimum_iou=0)
        with pytest.raises(ValueError, match="'regions': 1"):
            region_metrics([], [[]])


def mask(*boxes_px: tuple[int, int, int, int]) -> BoolArray:
    """An 8 x 10 mask with these filled (left, top, right, bottom)."""
    result = np.zeros((8, 10), bool)
    for left, top, right, bottom in boxes_px:
        result[top:bottom, left:right] = True
    return result


class TestRegionsFromMasks:
    def test_boxes_and_tracks(self) -> None:
        masks = np.stack(
            [
                mask((0, 0, 4, 4)),
                mask((1, 0, 5, 4), (7, 4, 10, 8)),  # the first moved, a second came
                mask((7, 4, 10, 8), (2, 0, 6, 4)),
                mask(),
                mask((2, 0, 6, 4)),  # came back: a new track
            ]
        )
        found = regions_from_masks(masks)
        assert found[0] == [Region((0.0, 0.0, 0.4, 0.5), 0)]
        assert {r.track: r.box for r in found[1]} == {0: (0.1, 0.0, 0.5, 0.5), 1: (0.7, 0.5, 1.0, 1.0)}
        assert {r.track: r.box[0] for r in found[2]} == {0: 0.2, 1: 0.7}
        assert found[3] == []
        assert [r.track for r in found[4]] == [2]

    def test_touching_corners_are_one_region(self) -> None:
        assert len(regions_from_masks(mask((0, 0, 2, 2), (2, 2, 4, 4))[None])[0]) == 1

    def test_best_pairs_win(self) -> None:
        before = mask((0, 0, 4, 8), (5, 0, 9, 8))
        after = mask((1, 0, 5, 8), (6, 0, 10, 8))
        first, second = regions_from_masks(np.stack([before, after]))
        assert [(r.box[0], r.track) for r in first] == [(0.0, 0), (0.5, 1)]
        assert [(r.box[0], r.track) for r in second] == [(0.1, 0), (0.6, 1)]

    def test_far_jump_is_a_new_track(self) -> None:
        found = regions_from_masks(np.stack([mask((0, 0, 2, 2)), mask((6, 6, 8, 8))]))
        assert [[r.track for r in frame] for frame in found] == [[0], [1]]

    def test_refuses_one_mask(self) -> None:
        with pytest.raises(ValueError, match=r"masks is \(N, H, W\), got \(8, 10\)"):
            regions_from_masks(mask())


class TestRegionsFromTruth:
    def test_moves_between_its_boxes(self) -> None:
        moving = happened(1, 4, TruthBox(3.0, (0.4, 0.2, 0.6, 0.4)), TruthBox(1.0, (0.0, 0.0, 0.2, 0.2)))
        still = happened(3, 9, TruthBox(5.0, (0.5, 0.5, 1.0, 1.0)))
        found = regions_from_truth([moving, happened(0, 9), still], array(0, 1, 2, 3, 4))
        assert [[r.track for r in frame] for frame in found] == [[], [0], [0], [0, 2], [0, 2]]
        assert found[2][0].box == pytest.approx((0.2, 0.1, 0.4, 0.3))
        assert found[4][0].box == (0.4, 0.2, 0.6, 0.4)
        assert found[3][1].box == (0.5, 0.5, 1.0, 1.0)


def test_the_roc_of_pixel_scores_is_that_of_the_criterion() -> None:
    """At each threshold: an unusual frame counts when 40% of its unusual pixels reach it, a usual one when any does."""
    rng = np.random.default_rng(0)
    maps, masks = rng.integers(0, 9, (40, 3, 4)).astype(float), np.zeros((40, 12, 16), bool)
    for mask in masks[:25]:
        y, x = rng.integers(0, 10), rng.integers(0, 14)
        mask[y : y + rng.integers(1, 6), x : x + rng.integers(1, 9)] = True
    scores, labels = pixel_scores(maps, masks)
    pixels = maps.repeat(4, axis=1).repeat(4, axis=2)
    assert labels.tolist() == [True] * 25 + [False] * 15
    for threshold in range(10):
        detected = [(frame[mask] >= threshold).mean() >= 0.4 for frame, mask in zip(pixels[:25], masks, strict=False)]
        false = [(frame >= threshold).any() for frame in pixels[25:]]
        assert (scores >= threshold).tolist() == [*detected, *false]
    with pytest.raises(ValueError, match=r"maps \(40, 3, 4\) and masks \(39, 12, 16\)"):
        pixel_scores(maps, masks[1:])
