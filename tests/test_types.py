"""The records at the boundaries: what they reject, how they print, and their small arithmetic."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from oddwatch.errors import MissingExtraError, OddwatchError, UsageError, VideoError
from oddwatch.types import (
    Clip,
    Dataset,
    Embeddings,
    Evaluation,
    Event,
    Failure,
    Frame,
    Sample,
    ScoredSample,
    ScoreTrack,
    TruthEvent,
    VideoInfo,
)


def embeddings(n: int, *, first: float = 0.0, grid: bool = True) -> Embeddings:
    start = first + np.arange(n, dtype=np.float64)
    cells = np.ones((n, 2, 3, 4), np.float32) if grid else None
    return Embeddings(np.full((n, 5), first, np.float32), cells, start, start + 1)


def track(*scores: float, first: float = 0.0) -> ScoreTrack:
    start = first + np.arange(len(scores), dtype=np.float64)
    return ScoreTrack("door.mp4", start, start + 1, np.array(scores, dtype=np.float64))


def test_a_record_does_not_change() -> None:
    event = Event(1.0, 2.0, 1.5, 9.0)
    with pytest.raises(FrozenInstanceError):
        event.peak_score = 1.0  # type: ignore[misc]


def test_a_repr_shows_shapes_and_no_numbers() -> None:
    shown = repr(Frame(np.full((4, 6, 3), 77, np.uint8), 0.5, 3))
    assert shown == "Frame(image='uint8(4, 6, 3)', time_seconds=0.5, index=3)"
    assert "ScoreTrack(source='door.mp4'" in repr(track(1.0, 2.0))
    assert "scores='float64(2,)'" in repr(track(1.0, 2.0))


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3), np.float32)],
    ids=["gray", "four channels", "floats"],
)
def test_a_frame_is_rgb_of_bytes(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        Frame(image, 0.0, 0)


def test_a_clip_needs_a_time_per_image() -> None:
    images = np.zeros((2, 4, 6, 3), np.uint8)
    assert len(Clip(images, np.array([0.0, 0.1]), 0.0, 0.1).images) == 2
    with pytest.raises(ValueError, match="2 images need as many times"):
        Clip(images, np.zeros(3), 0.0, 0.1)
    with pytest.raises(ValueError, match="clip images are"):
        Clip(images[0], np.zeros(2), 0.0, 0.1)


def test_embeddings_reject_parts_that_do_not_fit() -> None:
    good = embeddings(3)
    assert len(good) == 3
    for name, value, message in (
        ("vector", np.zeros(3, np.float32), r"vector is \(N, D\)"),
        ("grid", np.zeros((2, 2, 3, 4), np.float32), r"grid is \(3, Gh, Gw, d\)"),
        ("grid", np.zeros((3, 2, 4), np.float32), "grid is"),
        ("start_seconds", np.zeros(2), r"start_seconds is \(3,\)"),
        ("end_seconds", np.zeros((3, 1)), r"end_seconds is \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(good, **{name: value})


def test_embeddings_are_joined_in_the_order_given() -> None:
    joined = Embeddings.concatenate([embeddings(2), embeddings(1, first=2.0)])
    assert joined.end_seconds.tolist() == [1, 2, 3]
    assert joined.vector[:, 0].tolist() == [0, 0, 2]
    assert joined.grid is not None
    assert joined.grid.shape == (3, 2, 3, 4)
    assert Embeddings.concatenate([embeddings(1, grid=False)] * 2).grid is None
    with pytest.raises(ValueError, match="nothing to concatenate"):
        Embeddings.concatenate([])
    with pytest.raises(ValueError, match="some batches have a grid"):
        Embeddings.concatenate([embeddings(1), embeddings(1, grid=False)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_scores_are_finite_and_not_negative(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        track(1.0, bad)


def test_an_event_overlaps_what_happened_when_they_have_a_moment_in_common() -> None:
    def overlaps(start: float, end: float, tolerance_seconds: float = 0.0) -> bool:
        return Event(start, end, end, 1.0).overlaps(TruthEvent("cart", 10, 20), tolerance_seconds=tolerance_seconds)

    assert [overlaps(*span) for span in ((0, 10), (20, 21), (12, 13), (0, 30))] == [True] * 4
    assert [overlaps(*span) for span in ((0, 9.9), (20.1, 30))] == [False] * 2
    assert overlaps(20.5, 30, 1.0)
    assert not overlaps(0, 9.5, 1.0)  # nothing can be seen before it happens


def test_a_track_covers_the_union_of_what_its_scores_looked_at() -> None:
    start, end = np.array([0.0, 1.0, 2.0, 60.0, 60.5, 100.0]), np.array([4.0, 2.0, 5.0, 61.0, 61.5, 101.0])
    gaps = ScoreTrack("a", start, end, np.zeros(6))
    assert gaps.stretches == [(0, 5), (60, 61.5), (100, 101)]
    assert gaps.seconds == 7.5
    assert ScoreTrack("a", np.zeros(0), np.zeros(0), np.zeros(0)).stretches == []


def test_a_track_rejects_parts_that_do_not_fit() -> None:
    good = track(1.0, 2.0)
    wrong: list[tuple[str, Any, str]] = [
        ("scores", np.zeros((2, 1)), r"scores is \(N,\)"),
        ("start_seconds", np.zeros(3), r"start_seconds is \(2,\)"),
        ("boxes", np.zeros((2, 3), np.float32), r"boxes is \(2, 4\)"),
        ("maps", np.zeros((3, 4, 4), np.float32), r"maps is \(2, Gh, Gw\)"),
    ]
    for name, value, message in wrong:
        with pytest.raises(ValueError, match=message):
            replace(good, **{name: value})


def test_tracks_are_joined_in_the_order_given() -> None:
    info = VideoInfo("door.mp4", 6, 4, 25.0, 3.0, "h264")
    boxes = np.array([[0, 0, 1, 1]], np.float32)
    joined = ScoreTrack.concatenate([replace(track(1.0), boxes=boxes, info=info), replace(track(2.0), boxes=boxes)])
    assert joined.scores.tolist() == [1, 2]
    assert joined.boxes is not None
    assert joined.boxes.shape == (2, 4)
    assert (joined.maps, joined.info, joined.source) == (None, info, "door.mp4")
    with pytest.raises(ValueError, match="some stretches have boxes"):
        ScoreTrack.concatenate([replace(track(1.0), boxes=boxes), track(2.0)])
    with pytest.raises(ValueError, match="nothing to concatenate"):
        ScoreTrack.concatenate([])


def test_a_track_covers_from_its_first_start_to_its_last_end() -> None:
    assert track(1.0, 1.0, first=5.0).seconds == 2.0
    assert track().seconds == 0.0


def test_the_score_at_a_time_is_the_latest_that_was_known_then() -> None:
    found = track(3.0, 1.0, 2.0).at(np.array([0.0, 0.999, 1.0, 1.5, 2.0, 3.0, 99.0]))
    assert found.tolist() == [0.0, 0.0, 3.0, 3.0, 1.0, 2.0, 2.0]
    assert track().at(np.array([0.0, 1.0])).tolist() == [0.0, 0.0]


def test_the_score_at_a_time_does_not_change_with_what_comes_later() -> None:
    times = np.array([0.0, 0.5, 1.0, 1.7])
    assert track(3.0).at(times).tolist() == track(3.0, 0.5).at(times).tolist()[:4]


@pytest.mark.parametrize(
    ("box", "place"),
    [
        (None, "-"),
        ((0.4, 0.4, 0.6, 0.6), "middle"),
        ((0.0, 0.0, 0.1, 0.1), "upper left"),
        ((0.8, 0.9, 1.0, 1.0), "lower right"),
        ((1.0, 1.0, 1.0, 1.0), "lower right"),
        ((0.4, 0.0, 0.6, 0.2), "upper"),
        ((0.0, 0.0, 1.0, 1.0), "middle"),
        ((0.9, 0.4, 1.0, 0.6), "right"),
    ],
)
def test_the_place_of_an_event_in_words(box: tuple[float, float, float, float] | None, place: str) -> None:
    event = Event(1.0, 3.5, 2.0, 9.0, box=box)
    assert (event.place, event.seconds) == (place, 2.5)


def test_a_data_set_gives_its_samples_of_one_split_in_order() -> None:
    samples = (Sample("b", "b.mp4", "test"), Sample("c", "c.mp4", "train"), Sample("a", "a.mp4", "test"))
    assert [s.name for s in Dataset("d", samples).split("test")] == ["b", "a"]


def test_records_that_hold_arrays_compare_without_an_error() -> None:
    seconds = np.arange(2.0)
    scored = ScoredSample(Sample("a", "a.mp4", "test"), track(1.0, 2.0), (), seconds, seconds)
    same = ScoredSample(Sample("a", "a.mp4", "test"), track(1.0, 2.0), (), seconds.copy(), seconds.copy())
    evaluation = Evaluation("d", (), (scored,), seconds, 1.0, "", None, None, (), {})
    assert scored == scored
    assert scored != same
    assert evaluation != replace(evaluation, usual_scores=seconds.copy())


def test_a_failure_in_one_line() -> None:
    assert str(Failure("a.mp4", "holds no video (give a video)")) == "a.mp4: holds no video (give a video)"


def test_errors_say_what_to_do_and_end_with_the_right_code() -> None:
    video = VideoError("a.mp4", "is empty", "give another")
    extra = MissingExtraError("the autoencoder scorer", "torch", "torch")
    assert str(video) == "a.mp4: is empty (give another)"
    assert str(VideoError("a.mp4", "is empty")) == "a.mp4: is empty"
    assert str(extra) == 'the autoencoder scorer needs torch: pip install "oddwatch[torch]"'
    assert (video.exit_code, extra.exit_code, UsageError("x").exit_code) == (1, 2, 2)
    assert isinstance(extra, ImportError)
    assert issubclass(UsageError, ValueError)
    assert issubclass(MissingExtraError, OddwatchError)
