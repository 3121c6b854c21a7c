"""How usual video is cut, held out and scored by those that had not seen it; with made-up embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from oddwatch.detector.learning import FittedScorer, HeldOut, Indices, cut, hold_out, peak_boxes, teachers
from oddwatch.embed import EmbeddedVideo, StoredEmbeddings
from oddwatch.errors import NotEnoughVideoError
from oddwatch.scorers.centroid import CentroidScorer
from oddwatch.scorers.knn import KnnScorer
from oddwatch.types import FloatArray


def made_up(seconds_each: Sequence[float], *, fps: float = 10.0) -> StoredEmbeddings:
    """Videos with one embedding per frame: vector (video, time), and no grid."""
    counts = [round(s * fps) for s in seconds_each]
    times = np.concatenate([np.arange(n) / fps for n in counts])
    video = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    return StoredEmbeddings(
        videos=tuple(
            EmbeddedVideo(f"{i}.mp4", f"{i}.mp4", int(end) - n, int(end), f"class {i}", None)
            for i, (n, end) in enumerate(zip(counts, ends, strict=True))
        ),
        vectors=np.stack([video, times], axis=1).astype(np.float32),
        times=np.stack([times, times + 1 / fps], axis=1),
        grid_shape=None,
        values=np.zeros((0, 0), np.float32),
        cells=np.zeros(0, np.int32),
        row_bounds=np.zeros((len(times), 2), np.int64),
    )


@pytest.mark.parametrize(
    "seconds_each", [[60], [600], [3], [30, 5, 90], [20] * 9, [20] * 10, [4] * 40, [300, *[4] * 11]]
)
@pytest.mark.parametrize("folds", [2, 5])
def test_pieces_are_contiguous_and_cover_everything_once(seconds_each: list[float], folds: int) -> None:
    stored = made_up(seconds_each)
    pieces = cut(stored, folds)
    assert [p.first for p in pieces] == [0, *[p.last for p in pieces[:-1]]]
    assert pieces[-1].last == len(stored)
    for piece in pieces:
        video = stored.videos[piece.video]
        assert video.first <= piece.first < piece.last <= video.last
    order = [p.fold for p in pieces]
    assert order == sorted(order)
    assert set(order) <= set(range(folds))
    assert len(set(order)) >= 2


def test_one_video_gives_every_fold_an_equal_part() -> None:
    pieces = cut(made_up([100]), 5)
    assert len(pieces) == 10
    assert [sum(p.last - p.first for p in pieces if p.fold == fold) for fold in range(5)] == [200] * 5


def test_few_videos_are_cut_to_pieces_of_ten_seconds_and_many_are_not_cut() -> None:
    assert {p.last - p.first for p in cut(made_up([600]), 5)} == {100}
    assert [p.last - p.first for p in cut(made_up([25] * 12), 5)] == [250] * 12


@pytest.mark.parametrize(
    ("seconds_each", "folds"), [([600, *[10] * 14], 5), ([*[10] * 9, 90], 5), ([8] * 5 + [200] + [8] * 6, 3)]
)
def test_a_long_video_among_many_short_ones_is_cut_too(seconds_each: list[float], folds: int) -> None:
    pieces = cut(made_up(seconds_each), folds)
    fair = sum(seconds_each) * 10 / folds
    held_out = [sum(p.last - p.first for p in pieces if p.fold == fold) for fold in range(folds)]
    assert max(held_out) < 1.3 * fair
    assert min(held_out) > 0.7 * fair
    longest = int(np.argmax(seconds_each))
    assert {p.last - p.first for p in pieces if p.video == longest} <= {99, 100, 101}
    assert all(p.last - p.first == 10 * seconds_each[p.video] for p in pieces if p.video != longest)


def test_pieces_are_of_ten_seconds_of_video_whatever_the_gaps() -> None:
    stored = made_up([100])
    stored.times[500:] += 86_400  # nothing moved in front of the camera for a day
    assert {p.last - p.first for p in cut(stored, 5)} == {100}


def test_teachers_keep_two_seconds_away_from_what_is_held_out() -> None:
    stored = made_up([100, 100])
    pieces = cut(stored, 5)
    for fold in range(5):
        teach = teachers(stored, pieces, fold)
        held = np.concatenate([np.arange(p.first, p.last) for p in pieces if p.fold == fold])
        assert not set(teach) & set(held)
        video = stored.video_of
        nearest = []
        for i in (held[0], held[-1]):
            same = teach[video[teach] == video[i]]
            gaps = np.maximum(stored.times[same, 0] - stored.times[i, 1], stored.times[i, 0] - stored.times[same, 1])
            nearest.append(gaps.min())
        assert 2.0 - 1e-6 <= min(nearest) < 2.3
        # Everything farther away does teach, the other video too.
        assert len(teach) >= len(stored) - len(held) - 2 * 22


def test_too_few_moments() -> None:
    with pytest.raises(NotEnoughVideoError, match="19 usual moments are too few"):
        cut(made_up([1.9]), 5)


class Spy(FittedScorer):
    """Scores with the share of its teachers among what it is asked: 0 when it never saw them."""

    def __init__(self, items: Indices, stored: StoredEmbeddings) -> None:
        super().__init__(CentroidScorer(), "vector")
        self.seen = {tuple(row) for row in stored.vectors[items]}

    def vector_scores(self, vectors: FloatArray) -> FloatArray:
        return np.array([float(tuple(row) in self.seen) for row in vectors])


def whole_of(stored: StoredEmbeddings) -> FittedScorer:
    return Spy(np.arange(len(stored)), stored)


def test_every_moment_is_scored_once_by_a_scorer_that_had_not_seen_it() -> None:
    stored = made_up([60, 40, 20])
    made: list[Indices] = []

    def make(items: Indices) -> FittedScorer:
        made.append(items)
        return Spy(items, stored)

    held: HeldOut = hold_out(stored, make, folds=4, whole=whole_of(stored))
    assert len(made) == 4
    assert sum(len(t) for t in held.tracks) == len(stored)
    assert all((t.scores == 0).all() for t in held.tracks)
    for video in stored.videos:
        mine = np.concatenate([t.start_seconds for t in held.tracks if t.source == video.name])
        np.testing.assert_array_equal(mine, stored.times[video.first : video.last, 0])
    assert len(held.clip_scores) == len(cut(stored, 4))


def test_a_track_of_a_fold_is_one_stretch_of_one_video() -> None:
    stored = made_up([60, 40, 20])
    held = hold_out(stored, lambda items: Spy(items, stored), folds=4, whole=whole_of(stored))
    for track in held.tracks:
        np.testing.assert_allclose(np.diff(track.start_seconds), 0.1)
    assert len(held.tracks) == 5  # 4 folds of 30 s; the border between the last two videos is inside of one


def test_beginnings_of_videos_are_not_held_out() -> None:
    """No event may begin in them; but of a video that is all beginning, everything is."""
    stored = made_up([60, 40, 1.5])
    whole = whole_of(stored)
    held = hold_out(stored, lambda items: Spy(items, stored), folds=4, whole=whole, settling_seconds=2.0)
    assert all(len(track) for track in held.tracks)
    for video, left_out in zip(stored.videos, (19, 19, 0), strict=True):
        mine = np.concatenate([t.start_seconds for t in held.tracks if t.source == video.name])
        np.testing.assert_array_equal(mine, stored.times[video.first + left_out : video.last, 0])


class Metres(CentroidScorer):
    """In the units of whichever it was scaled as."""

    units = 1.0

    def scale_as(self, whole: CentroidScorer) -> None:
        assert isinstance(whole, Metres)
        self.units = whole.units

    def score(self, x: FloatArray) -> FloatArray:
        return np.full(len(x), self.units)


def test_every_fold_scores_in_the_units_of_the_whole() -> None:
    stored = made_up([60, 40])
    scorer = Metres()
    scorer.units = 5.0
    whole = FittedScorer(scorer, "vector")
    held = hold_out(stored, lambda items: FittedScorer(Metres(), "vector"), folds=4, whole=whole)
    assert all((t.scores == 5).all() for t in held.tracks)


def test_everything_in_one_fold_leaves_nobody_to_teach() -> None:
    stored = made_up([2.0])
    with pytest.raises(NotEnoughVideoError, match="too little usual video to hold any of it out"):
        hold_out(stored, lambda items: Spy(items, stored), folds=2, whole=whole_of(stored))


def test_a_fit_takes_an_even_sample_that_knows_its_labels_and_origins() -> None:
    class Few(KnnScorer):
        max_rows = 50

    stored = made_up([30, 30])
    fitted = FittedScorer(Few(memory=1000), "vector").fit(stored, np.arange(100, 600), seed=3)
    origins = fitted.scorer.state()[0]["origins"]
    assert len(origins) == 50
    assert set(origins[:, 0]) == {0.0, 1.0}
    assert (origins[origins[:, 0] == 0, 1] > 10).all()
    again = FittedScorer(Few(memory=1000), "vector").fit(stored, np.arange(100, 600), seed=3)
    np.testing.assert_array_equal(origins, again.scorer.state()[0]["origins"])
    labelled = CentroidScorer()
    FittedScorer(labelled, "vector").fit(stored, np.arange(600), seed=0)
    assert labelled.classes == ("class 0", "class 1")


def test_the_score_of_a_clip() -> None:
    scorer = CentroidScorer().fit(np.array([[0.0, 0.0]]))
    vectors, scores = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32), np.array([3.0, 4.0])
    assert FittedScorer(scorer, "grid").clip_score(vectors, scores) == 4.0
    assert FittedScorer(scorer, "vector").clip_score(vectors, scores) == pytest.approx(2.5)  # of the mean vector


def test_a_box_is_around_the_peak_and_what_is_connected_to_it() -> None:
    maps = np.zeros((3, 4, 8), np.float32)
    maps[0, 1, 2:5] = (7, 10, 6.1)  # the peak and neighbours of at least 0.6 of it
    maps[0, 2, 3] = 5.9
    maps[0, 3, 7] = 9  # high, but somewhere else
    maps[1, 0, 0] = 1
    boxes = peak_boxes(maps)
    np.testing.assert_allclose(boxes[0], (2 / 8, 1 / 4, 5 / 8, 2 / 4))
    np.testing.assert_allclose(boxes[1], (0, 0, 1 / 8, 1 / 4))
    np.testing.assert_allclose(boxes[2], (0, 0, 1, 1))  # nothing anywhere: no place
