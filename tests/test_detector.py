"""Detectors on small rendered videos: learning, scoring, clips and thresholds."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_detectors import USUAL_SECONDS, assert_equal, detector_videos, quick, small_detector
from small_videos import ODD_SECONDS, images, write
from video_files import write_video

from oddwatch.backbones import build_backbone
from oddwatch.detector import Detector
from oddwatch.embed import EmbeddingStore, StoredEmbeddings, embed_video
from oddwatch.errors import DetectorError, NotEnoughVideoError, UsageError, VideoError
from oddwatch.grouping import Grouping
from oddwatch.scorers import SCORERS, scorer_class
from oddwatch.scorers.base import PIXELS
from oddwatch.types import Embeddings


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detector_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def stored(videos: Path) -> Iterator[StoredEmbeddings]:
    with EmbeddingStore() as store:
        store.add_video(str(videos / "usual.mp4"), build_backbone("motion"))
        yield store.freeze()


@pytest.fixture(scope="module")
def left(videos: Path) -> Embeddings:
    return Embeddings.concatenate([e for _, e in embed_video(str(videos / "left.mp4"), build_backbone("motion"))])


@pytest.fixture(scope="module")
def learned(videos: Path) -> Detector:
    return small_detector(videos)


SLOW = {("blend", "grid"), ("whitened", "grid")}


# learning and scoring


@pytest.mark.parametrize("odd", ["left", "fast"])
def test_what_is_odd_is_found_when_and_where_it_happens(videos: Path, learned: Detector, odd: str) -> None:
    track = learned.score(videos / f"{odd}.mp4")
    usual = learned.score(videos / "unseen.mp4")
    began, ended = ODD_SECONDS
    assert track.scores.max() > 2 * usual.scores.max()
    assert began <= track.end_seconds[track.scores.argmax()] <= ended + 0.5
    level = 1.5 * usual.scores.max()  # half a minute of usual video is too little for the budget's own
    (event,) = learned.events(track, threshold=level)
    assert began - 0.3 <= event.start_seconds <= began + 1.5
    assert ended - 1.5 <= event.end_seconds <= ended + 1.5
    assert event.peak_score == track.scores.max()
    held_out = learned.calibration.scores
    assert event.p_value == pytest.approx((1 + (held_out >= event.peak_score).sum()) / (len(held_out) + 1))
    assert event.box is not None
    assert event.box[1] < 0.6 < event.box[3]  # the figures walk in a lane around 0.55 of the height
    assert learned.events(usual) == ()
    assert learned.events(usual, threshold=level) == ()


def test_a_track_says_what_it_is_of(videos: Path, learned: Detector) -> None:
    path = str(videos / "left.mp4")
    told: list[tuple[str, float, float | None]] = []
    track = learned.score(path, maps=True, progress=lambda *args: told.append(args))
    assert track.source == path
    assert track.info is not None
    assert (track.info.width_px, track.info.height_px) == (160, 120)
    assert track.seconds == pytest.approx(7.9)
    assert track.maps is not None
    np.testing.assert_array_equal(track.maps.max(axis=(1, 2)), track.scores)
    assert learned.score(path).maps is None
    assert [name for name, _, _ in told] == [path] * 5
    assert track.boxes is not None
    assert track.scores.dtype == np.float64
    assert track.boxes.dtype == np.float32


def test_scores_use_no_later_frame(videos: Path, learned: Detector, left: Embeddings) -> None:
    assert left.grid is not None
    whole = learned.score_embeddings(left, "left").scores
    for count in (1, 17, 60):
        part = Embeddings(left.vector[:count], left.grid[:count], left.start_seconds[:count], left.end_seconds[:count])
        np.testing.assert_allclose(learned.score_embeddings(part, "left").scores, whole[:count], rtol=1e-5)


@pytest.mark.parametrize(
    ("scorer", "on"),
    [
        pytest.param(name, on, marks=[pytest.mark.slow] if (name, on) in SLOW else [])
        for name in sorted(SCORERS)
        if scorer_class(name).columns != PIXELS
        for on in ("vector", "grid")
        if on == "grid" or not scorer_class(name).columns
    ],
)
def test_every_scorer_learns_saves_loads_and_scores_alike(
    stored: StoredEmbeddings, left: Embeddings, tmp_path: Path, scorer: str, on: Any
) -> None:
    detector, again = (quick(scorer, on=on, budget="1/hour", folds=2).fit(stored) for _ in range(2))
    detector.save(tmp_path / "detector")
    loaded = Detector.load(tmp_path / "detector")
    track = detector.score_embeddings(left, "left")
    assert_equal(again.score_embeddings(left, "left"), track)
    assert_equal(loaded.score_embeddings(left, "left"), track)
    assert (track.maps is None) == (track.boxes is None) == (on == "vector")
    for other in (again, loaded):
        assert other.threshold == detector.threshold
        assert other.describe() == detector.describe()
        assert other.events(track) == detector.events(track)
        for budget in ("1%", "6/hour", "1/week"):
            assert other.threshold_for(budget) == detector.threshold_for(budget)
        assert other.clip_threshold() == detector.clip_threshold()
        assert other.name == f"motion, {scorer} on {on}"


def test_auto_is_resolved_and_saved_by_its_name(stored: StoredEmbeddings, tmp_path: Path) -> None:
    detector = Detector(folds=2).fit(stored)
    assert detector.on == "grid"
    assert detector.scorer_name in SCORERS
    detector.save(tmp_path / "detector")
    record = json.loads((tmp_path / "detector" / "detector.json").read_text())
    assert (record["scorer"]["name"], record["scorer"]["on"]) == (detector.scorer_name, "grid")
    assert Detector(on="vector").scorer_name in SCORERS


def test_the_seed_reaches_the_scorer(stored: StoredEmbeddings, left: Embeddings) -> None:
    options = {"memory": 20}
    scores = [
        Detector(scorer="knn", on="vector", scorer_options=options, seed=seed).fit(stored, calibrate=False)
        .score_embeddings(left, "left").scores
        for seed in (1, 2, 1)
    ]  # fmt: skip
    np.testing.assert_array_equal(scores[0], scores[2])
    assert not np.array_equal(scores[0], scores[1])
    own = Detector(scorer="knn", scorer_options={"seed": 7}, seed=1)
    assert own.describe()["scorer"]["options"]["seed"] == 7
    assert own.describe()["seed"] == 1


def test_learning_again_forgets(videos: Path, stored: StoredEmbeddings, left: Embeddings) -> None:
    detector = Detector(scorer="gaussian", folds=2).learn(videos / "left.mp4").fit(stored)
    expected = Detector(scorer="gaussian", folds=2).fit(stored)
    assert_equal(detector.score_embeddings(left, "left"), expected.score_embeddings(left, "left"))
    assert detector.describe() == expected.describe()


def test_a_failed_fit_leaves_what_was_learned(stored: StoredEmbeddings, left: Embeddings) -> None:
    detector = Detector(scorer="gaussian").fit(stored)
    before, threshold = detector.score_embeddings(left, "left"), detector.threshold
    with pytest.raises(NotEnoughVideoError):
        detector.fit(stored.only())
    assert_equal(detector.score_embeddings(left, "left"), before)
    assert detector.threshold == threshold


def test_a_budget_given_to_learn_replaces_the_constructors(videos: Path, learned: Detector, tmp_path: Path) -> None:
    detector = Detector(scorer="gaussian", budget="2/day", folds=3)
    with pytest.raises(UsageError, match="budget 'often' is not understood"):
        detector.learn("no such video", budget="often")
    with pytest.raises(VideoError):
        detector.learn("no such video", budget="1/week")
    assert detector.budget.text == "2/day"  # nothing was learned with the other
    detector.learn(videos / "usual.mp4", budget="1/hour")
    assert detector.threshold == learned.threshold
    detector.save(tmp_path / "detector")
    assert Detector.load(tmp_path / "detector").budget.text == "1/hour"


@pytest.mark.slow
def test_a_recording_with_gaps_counts_what_it_shows(tmp_path: Path) -> None:
    """As a recorder that motion triggers writes it: 10 s, a night, 10 s."""
    pictures = [*images(20.0, seed=1)]
    milliseconds = [100 * i + (30_000_000 if i >= 100 else 0) for i in range(len(pictures))]
    video = write_video(tmp_path / "gaps.mkv", pictures, fps=10, milliseconds=milliseconds)
    detector = Detector(scorer="gaussian", budget="1/hour").learn(video)
    shown = 2 * 9.9
    assert detector.describe()["inputs"][0]["seconds"] == pytest.approx(shown, abs=0.01)
    # No event begins in the first 0.9 s, so they say nothing of how often one would.
    assert detector.calibration.hours == pytest.approx((shown - 2 * 0.8) / 3600, rel=0.01)
    track = detector.score(video)
    assert track.seconds == pytest.approx(shown, abs=0.01)
    # Low enough for all to be one event: the night is not part of it.
    found = detector.events(track, threshold=1e-6)
    # No event begins in the first 0.9 s, when little is known.
    assert [(round(e.start_seconds, 1), round(e.end_seconds, 1)) for e in found] == [(0.8, 9.9), (30010.8, 30019.9)]


def test_labels_name_the_nearest_class(videos: Path) -> None:
    usual, odd = str(videos / "unseen.mp4"), str(videos / "fast.mp4")
    detector = Detector(scorer="gaussian", on="vector", folds=2).learn([usual, odd], labels={usual: "walk", odd: "run"})
    assert detector.score_clip(usual).nearest_class == "walk"
    verdict = detector.score_clip(odd)
    assert verdict.nearest_class == "run"
    assert verdict.distance == pytest.approx(0, abs=1e-5)
    assert [entry["label"] for entry in detector.describe()["inputs"]] == ["walk", "run"]


def test_labels_know_a_video_by_any_of_its_names(videos: Path, tmp_path: Path) -> None:
    os.symlink(videos, "linked")
    detector = Detector(scorer="centroid", on="vector", folds=2)
    other_names = {os.path.relpath(videos / "unseen.mp4"): "walk", "./linked/./fast.mp4": "run"}
    detector.learn([videos / "unseen.mp4", "linked/fast.mp4"], labels=other_names)
    assert [entry["label"] for entry in detector.describe()["inputs"]] == ["walk", "run"]
    for wrong in ("fast.mp4", str(videos / "left.mp4")):
        with pytest.raises(UsageError, match=rf"labels has '{wrong}', which is none of the videos to learn from"):
            detector.learn(videos / "fast.mp4", labels={wrong: "run"})


# clips


@pytest.mark.parametrize(("scorer", "on"), [("gaussian", "grid"), ("gaussian", "vector"), ("knn", "vector")])
def test_a_clip_gets_one_score(videos: Path, stored: StoredEmbeddings, scorer: str, on: Any) -> None:
    detector = quick(scorer, on=on, folds=2).fit(stored)
    path = str(videos / "left.mp4")
    verdict, track = detector.score_clip(path), detector.score(path)
    if on == "grid":
        assert verdict.score == track.scores.max()
    else:
        assert track.scores.min() < verdict.score < track.scores.max()
    assert verdict.source == path
    assert verdict.nearest_class == "usual"
    assert verdict.threshold == detector.clip_threshold("5%").value
    assert detector.score_clip(path, threshold=verdict.score).anomalous
    assert not detector.score_clip(path, threshold=float(np.nextafter(verdict.score, np.inf))).anomalous


def test_the_clip_threshold_is_in_the_units_of_the_scores(stored: StoredEmbeddings) -> None:
    detector = Detector(scorer="centroid", on="vector").fit(stored)
    assert detector._clip_calibration is not None
    clips = detector._clip_calibration.scores
    threshold = detector.clip_threshold()
    assert len(clips) == 10  # 30 seconds in two pieces for each of 5 folds
    assert threshold.extrapolated
    assert clips.max() < threshold.value < clips.max() + 3 * (clips.max() - clips.min())
    assert threshold.says == "5% of usual clips of about 3 s, from 10 held out, extrapolated"
    assert detector.clip_threshold("50%").says == "50% of usual clips of about 3 s, from 10 held out"


@pytest.mark.slow
def test_clips_of_another_length_are_warned_of(
    learned: Detector, videos: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, logger = videos / "usual.mp4", logging.getLogger("oddwatch.detector")
    monkeypatch.setattr(logger, "disabled", False)  # whatever a library that another test uses did to loggers
    with caplog.at_level(logging.WARNING, logger.name):
        learned.score_clip(path, threshold=1.0)
        assert not caplog.records
        learned.score_clip(path)
    assert re.search(r"a clip of \d\d\.\d s is judged by usual clips of about \d\.\d s", caplog.text)


def test_the_vector_of_a_picture_of_any_shape(tmp_path: Path) -> None:
    """On `vector` videos of several cameras teach one detector; on `grid` they cannot."""
    wide, high = write(tmp_path / "wide.mp4", 12.0, seed=1), tmp_path / "high.mp4"
    write(high, 12.0, seed=2, size_px=(120, 160))
    detector = Detector(on="vector", budget="60/hour").learn([wide, high])
    assert (detector.failures, detector.grid_shape) == ((), None)
    assert len(detector.score(high)) == 119
    assert len(Detector(scorer="gaussian", budget="60/hour").learn([wide, high]).failures) == 1


def test_a_rate_does_not_apply_to_clips(learned: Detector, videos: Path) -> None:
    with pytest.raises(UsageError, match="a clip has no clock"):
        learned.score_clip(videos / "left.mp4", budget="2/day")
    with pytest.raises(UsageError, match="a budget or a threshold"):
        learned.score_clip(videos / "left.mp4", budget="5%", threshold=3.0)


# thresholds


def test_a_larger_budget_is_a_lower_threshold(learned: Detector) -> None:
    for budgets in (("10%", "1%"), ("1/hour", "2/day", "1/week")):  # of moments, of events: two different things
        levels = [learned.threshold_for(budget).value for budget in budgets]
        assert levels == sorted(levels)
    assert learned.threshold == learned.threshold_for("1/hour")
    assert learned.threshold.extrapolated
    assert "29 s of held-out usual video" in learned.threshold.says


def test_a_threshold_by_hand(learned: Detector, left: Embeddings) -> None:
    track = learned.score_embeddings(left, "left")
    assert learned.events(track, threshold=1e9) == ()
    assert sum(e.seconds for e in learned.events(track, threshold=1e-6)) > 7
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="above 0"):
            learned.events(track, threshold=bad)


def test_reasons_are_given_from_a_score_on(stored: StoredEmbeddings, left: Embeddings) -> None:
    detector = Detector().fit(stored, calibrate=False)
    track = detector.score_embeddings(left, "left")
    assert track.reasons is not None
    least = float(np.median(track.scores))
    expected = tuple(r if s >= least else None for r, s in zip(track.reasons, track.scores, strict=True))
    assert expected != track.reasons
    assert detector.score_embeddings(left, "left", reasons_from=least).reasons == expected


def test_the_grouping_is_the_detectors(stored: StoredEmbeddings, left: Embeddings) -> None:
    detector = Detector(scorer="gaussian", grouping=Grouping(min_seconds=60.0)).fit(stored)
    track = detector.score_embeddings(left, "left")
    assert detector.events(track, threshold=float(np.median(track.scores))) == ()


def test_held_out_scores_cover_all_usual_video_by_scorers_that_had_not_seen_it(learned: Detector) -> None:
    assert len(learned.calibration.scores) == USUAL_SECONDS * 10 - 1 - 8  # no event begins in the first 0.9 s
    assert learned.calibration.hours * 3600 == pytest.approx(USUAL_SECONDS - 0.9, abs=0.1)
    assert len(learned.calibration.tracks) == learned.folds
    assert learned.calibrated


def test_without_calibration_it_only_scores(stored: StoredEmbeddings, left: Embeddings, tmp_path: Path) -> None:
    detector = Detector(scorer="gaussian").fit(stored, calibrate=False)
    calibrated = Detector(scorer="gaussian").fit(stored)
    track = detector.score_embeddings(left, "left")
    assert_equal(track, calibrated.score_embeddings(left, "left"))
    assert not detector.calibrated
    events = detector.events(track, threshold=calibrated.threshold.value)
    assert [replace(e, p_value=None) for e in calibrated.events(track)] == list(events)
    for call in (
        lambda: detector.threshold,
        lambda: detector.calibration,
        lambda: detector.events(track),
        lambda: detector.threshold_for("1%"),
        detector.clip_threshold,
        lambda: detector.save(tmp_path / "detector"),
    ):
        with pytest.raises(DetectorError, match="calibrate="):
            call()
    assert not (tmp_path / "detector").exists()
