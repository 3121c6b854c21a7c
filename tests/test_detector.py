"""Detectors on small rendered videos: learning, scoring, thresholds, and a folder that is whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_videos import ODD_SECONDS, images, write
from video_files import write_frames, write_video

import oddwatch
from oddwatch.backbones import Backbone, BackboneRecord, EmbeddingStream, build_backbone
from oddwatch.detector import Detector
from oddwatch.detector.compatible import versions
from oddwatch.embed import EmbeddingStore, StoredEmbeddings, embed_video
from oddwatch.errors import DetectorError, NotEnoughVideoError, OddwatchError, UsageError, VideoError
from oddwatch.grouping import Grouping
from oddwatch.scorers import SCORERS, scorer_class
from oddwatch.scorers.base import PIXELS
from oddwatch.scorers.centroid import CentroidScorer
from oddwatch.types import Embeddings, Frame, ScoreTrack

USUAL_SECONDS = 30.0
QUICK: dict[str, dict[str, Any]] = {
    "autoencoder": {"hidden": (16, 8), "epochs": 1, "batch_size": 256},
    "knn": {"memory": 50},
}
"""Options with which learning takes a moment; a scorer that is not named here takes its defaults."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """usual.mp4 (30 s), unseen.mp4 (10 s, usual too); left.mp4 and fast.mp4 (8 s, odd during `ODD_SECONDS`)."""
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "usual.mp4", USUAL_SECONDS, seed=1)
    write(folder / "unseen.mp4", 10.0, seed=2)
    for odd in ("left", "fast"):
        write(folder / f"{odd}.mp4", 8.0, seed=3, odd=odd)
    return folder


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
    return Detector(scorer="gaussian", budget="1/hour", folds=3).learn(videos / "usual.mp4")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def assert_equal(one: ScoreTrack, other: ScoreTrack) -> None:
    for name in ("start_seconds", "end_seconds", "scores", "boxes", "maps"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)
    assert (one.source, one.info) == (other.source, other.info)


def quick(scorer: str, **options: Any) -> Detector:
    return Detector(scorer=scorer, scorer_options=QUICK.get(scorer, {}), **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
        (name, on)
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


def test_a_recording_with_gaps_counts_what_it_shows(tmp_path: Path) -> None:
    """As a recorder that motion triggers writes it: 10 s, a night, 10 s."""
    pictures = [*images(20.0, seed=1)]
    milliseconds = [100 * i + (30_000_000 if i >= 100 else 0) for i in range(len(pictures))]
    video = write_video(tmp_path / "gaps.mkv", pictures, fps=10, milliseconds=milliseconds)
    detector = Detector(scorer="gaussian", budget="1/hour").learn(video)
    shown = 2 * 9.9
    assert detector.describe()["inputs"][0]["seconds"] == pytest.approx(shown, abs=0.01)
    assert detector.calibration.hours == pytest.approx(shown / 3600, rel=0.01)
    track = detector.score(video)
    assert track.seconds == pytest.approx(shown, abs=0.01)
    # Low enough for all to be one event: the night is not part of it.
    found = detector.events(track, threshold=1e-6)
    assert [(round(e.start_seconds, 1), round(e.end_seconds, 1)) for e in found] == [(0.0, 9.9), (30010.0, 30019.9)]


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


def test_clips_of_another_length_are_warned_of(
    learned: Detector, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = videos / "usual.mp4"
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
    levels = [learned.threshold_for(budget).value for budget in ("10%", "1%", "1/hour", "2/day", "1/week")]
    assert levels == sorted(levels)
    assert learned.threshold == learned.threshold_for("1/hour")
    assert learned.threshold.extrapolated
    assert "30 s of held-out usual video" in learned.threshold.says


def test_a_threshold_by_hand(learned: Detector, left: Embeddings) -> None:
    track = learned.score_embeddings(left, "left")
    assert learned.events(track, threshold=1e9) == ()
    assert sum(e.seconds for e in learned.events(track, threshold=1e-6)) > 7
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="above 0"):
            learned.events(track, threshold=bad)


def test_the_grouping_is_the_detectors(stored: StoredEmbeddings, left: Embeddings) -> None:
    detector = Detector(scorer="gaussian", grouping=Grouping(min_seconds=60.0)).fit(stored)
    track = detector.score_embeddings(left, "left")
    assert detector.events(track, threshold=float(np.median(track.scores))) == ()


def test_held_out_scores_cover_all_usual_video_by_scorers_that_had_not_seen_it(learned: Detector) -> None:
    assert len(learned.calibration.scores) == USUAL_SECONDS * 10 - 1
    assert learned.calibration.hours * 3600 == pytest.approx(USUAL_SECONDS, abs=0.2)
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


# what it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "i3d"}, "unknown backbone 'i3d'"),
        ({"scorer": "svm"}, "unknown scorer 'svm'"),
        ({"on": "cells"}, "on is auto, vector or grid"),
        ({"budget": "twice"}, "budget 'twice' is not understood"),
        ({"folds": 1}, "folds is at least 2"),
        ({"backbone_options": {"height": 3}}, "backbone 'motion'"),
        ({"scorer": "knn", "scorer_options": {"k": 3}}, "scorer 'knn'"),
    ],
)
def test_wrong_options_are_usage_errors_before_any_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Detector(**options)


class Brightness(Backbone):
    """A backbone of a user's own, without a grid."""

    record = BackboneRecord("brightness", "mean brightness", vector_size=1, grid_size=None)

    def options(self) -> dict[str, Any]:
        return {}

    def stream(self) -> EmbeddingStream:
        class Stream(EmbeddingStream):
            def push(self, frames: Sequence[Frame]) -> Embeddings | None:
                times = np.array([f.time_seconds for f in frames])
                means = np.array([[f.image.mean()] for f in frames], np.float32)
                return Embeddings(means, None, times, times + 0.1) if frames else None

        return Stream()


def test_a_users_own_backbone_without_a_grid(videos: Path, tmp_path: Path) -> None:
    name = f"{__name__}:Brightness"
    detector = Detector(backbone=name).learn(videos / "unseen.mp4")
    assert (detector.on, detector.scorer_name) == ("vector", "knn")
    detector.save(tmp_path / "detector")
    track = Detector.load(tmp_path / "detector").score(videos / "left.mp4")
    assert_equal(track, detector.score(videos / "left.mp4"))
    assert len(track) == 80
    with pytest.raises(UsageError, match="has no grid: use on=vector"):
        Detector(backbone=name, on="grid")


def test_a_scorer_that_needs_the_channels_of_a_grid_is_not_put_on_vectors() -> None:
    needy = [scorer for scorer in SCORERS if scorer_class(scorer).columns not in ((), PIXELS)]
    assert needy
    for scorer in needy:
        assert Detector(scorer=scorer).on == "grid"
        with pytest.raises(UsageError, match=f"scorer '{scorer}' does not suit motion on vector: choose one of "):
            Detector(scorer=scorer, on="vector")


class Lights(CentroidScorer):
    """A scorer of a user's own that knows what it looks at, which no backbone gives."""

    name = "lights"
    columns = ("red", "green", "y", "x")


def test_a_users_own_scorer_gets_only_the_columns_that_it_needs() -> None:
    for on in ("grid", "vector"):
        with pytest.raises(UsageError, match=rf"scorer '{__name__}:Lights' does not suit motion on {on}: choose one"):
            Detector(scorer=f"{__name__}:Lights", on=on)


def test_before_learning_there_is_nothing_to_ask(videos: Path, tmp_path: Path, left: Embeddings) -> None:
    detector = Detector()
    for call in (
        lambda: detector.score(videos / "left.mp4"),
        lambda: detector.score_embeddings(left, "left"),
        lambda: detector.score_clip(videos / "left.mp4"),
        lambda: detector.save(tmp_path / "detector"),
        lambda: detector.calibration,
    ):
        with pytest.raises(DetectorError, match="has not learned anything yet"):
            call()


def test_a_mix_of_good_and_bad_videos_goes_on_and_names_the_bad(videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mix"
    folder.mkdir()
    shutil.copy(videos / "unseen.mp4", folder / "good.mp4")
    (folder / "text.mp4").write_text("this is no video")
    (folder / "empty.mp4").touch()
    write(folder / "one-frame.mp4", 0.1, seed=1)
    detector = Detector(scorer="gaussian").learn([folder, tmp_path / "missing.mp4"])
    assert [Path(entry["name"]).name for entry in detector.describe()["inputs"]] == ["good.mp4"]
    failed = {Path(f.source).name: f.reason for f in detector.failures}
    assert failed.keys() == {"text.mp4", "empty.mp4", "one-frame.mp4", "missing.mp4"}
    assert all(reason and "\n" not in reason for reason in failed.values())


def test_no_video_that_can_be_used(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("this is no video")
    detector = Detector()
    with pytest.raises(VideoError) as caught:
        detector.learn(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/a.mp4: ")
    assert str(caught.value).endswith("(and 1 more that cannot be used)")
    assert len(detector.failures) == 2
    with pytest.raises(VideoError, match=r"missing\.mp4: no such file or folder"):
        detector.learn(tmp_path / "missing.mp4")
    with pytest.raises(UsageError, match="no video was given"):
        detector.learn([])


@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.0])
def test_too_little_video(tmp_path: Path, seconds: float) -> None:
    short = write(tmp_path / "short.mp4", seconds, seed=1)
    with pytest.raises(NotEnoughVideoError, match="give"):
        Detector(scorer="gaussian").learn(short)


def test_ten_seconds_are_enough(tmp_path: Path) -> None:
    detector = Detector(scorer="gaussian").learn(write(tmp_path / "short.mp4", 10.0, seed=1))
    assert detector.threshold.extrapolated


def test_video_in_which_nothing_moves(tmp_path: Path) -> None:
    from oddwatch.video import VideoWriter

    with VideoWriter(tmp_path / "still.mp4", fps=10) as video:
        for _ in range(100):
            video.write(np.full((120, 160, 3), 90, np.uint8))
    with pytest.raises(NotEnoughVideoError, match="nothing moves in the usual video"):
        Detector(scorer="gaussian").learn(tmp_path / "still.mp4")


def test_another_shape_of_picture(learned: Detector, stored: StoredEmbeddings, tmp_path: Path) -> None:
    tall = write(tmp_path / "tall.mp4", 2.0, seed=1, size_px=(120, 160))
    with pytest.raises(VideoError, match=r"tall\.mp4: its picture has another shape .*\(20, 15\), learned \(15, 20\)"):
        learned.score(tall)
    on_vector = Detector(scorer="gaussian", on="vector").fit(stored)
    assert len(on_vector.score(tall)) == 19


def test_the_same_view_in_another_resolution(videos: Path, learned: Detector, tmp_path: Path) -> None:
    from oddwatch.video import VideoWriter, open_video

    large = tmp_path / "large.mp4"
    with open_video(videos / "usual.mp4") as source:
        first = [frame.image for frame, _ in zip(source, range(20), strict=False)]
    with VideoWriter(large, fps=10, size_px=(640, 480)) as video:
        for image in first:
            video.write(image)
    with pytest.raises(VideoError, match="another shape"):
        learned.score(large)  # 120 lines are not enlarged to 240: windows are in pixels


def test_videos_that_cannot_be_scored(learned: Detector, tmp_path: Path) -> None:
    one_frame = write(tmp_path / "one.mp4", 0.1, seed=1)
    with pytest.raises(VideoError, match=r"one\.mp4: too short to show any movement \(give a video"):
        learned.score(one_frame)
    with pytest.raises(VideoError, match=r"missing\.mp4"):
        learned.score(tmp_path / "missing.mp4")


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("stage", ["while embedding", "while learning"])
def test_stopping_leaves_nothing_behind(
    videos: Path, temporary: Path, stopped: type[BaseException], stage: str
) -> None:
    def stop(what: str, *_: object) -> None:
        assert list(temporary.iterdir())
        if (what == "learning what is usual") == (stage == "while learning"):
            raise stopped

    detector = Detector(scorer="gaussian")
    with pytest.raises(stopped):
        detector.learn(videos / "unseen.mp4", progress=stop)
    assert not list(temporary.iterdir())
    assert not [t for t in threading.enumerate() if t.name == "oddwatch-prefetch"]
    with pytest.raises(DetectorError, match="has not learned"):
        detector.score(videos / "left.mp4")


def test_the_temporary_files_are_gone_after_learning(videos: Path, temporary: Path) -> None:
    Detector(scorer="gaussian").learn(videos / "unseen.mp4")
    assert not list(temporary.iterdir())


# the folder


@pytest.fixture
def saved(learned: Detector, tmp_path: Path) -> Path:
    learned.save(tmp_path / "detector")
    return tmp_path / "detector"


def test_the_folder_holds_json_and_tensors_and_all_that_is_needed(saved: Path, learned: Detector, videos: Path) -> None:
    record = json.loads((saved / "detector.json").read_text())
    names = sorted(path.name for path in saved.iterdir())
    assert names == sorted(["detector.json", *(entry["file"] for entry in record["files"].values())])
    assert sorted(record["files"]) == ["calibration", "classes", "clips", "scorer"]
    for stem, entry in record["files"].items():
        assert hashlib.sha256((saved / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert entry["file"] == f"{stem}-{entry['sha256'][:12]}.safetensors"
        assert load_file(saved / entry["file"])
    path = videos / "usual.mp4"
    assert record["inputs"] == [
        {
            "name": str(path),
            "label": "usual",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "fps": None,
            "seconds": pytest.approx(29.9),
        }
    ]
    assert record["format"] == 1
    assert record["oddwatch"] == oddwatch.__version__
    assert record["versions"] == versions()
    assert record["versions"]["numpy"] == np.__version__
    assert (record["seed"], record["folds"], record["budget"]) == (42, 3, "1/hour")
    expected = {
        "name": "motion",
        "options": learned.backbone.options(),
        "weights_sha256": None,
        "version": 1,
        "source_sha256": None,
    }
    assert record["backbone"] == expected
    assert record["grouping"] == asdict(Grouping())
    assert record["threshold"]["value"] == learned.threshold.value


def test_inputs_say_how_fast_a_folder_of_frames_was_taken_to_be(tmp_path: Path, videos: Path) -> None:
    write_frames(tmp_path / "frames", images(10.0, seed=1))
    detector = Detector(scorer="centroid").learn([tmp_path / "frames", videos / "unseen.mp4"], fps=10.0)
    assert [entry["fps"] for entry in detector.describe()["inputs"]] == [10.0, None]


def test_a_loaded_detector_scores_videos_alike(saved: Path, learned: Detector, videos: Path) -> None:
    loaded = Detector.load(saved)
    path = videos / "left.mp4"
    assert_equal(loaded.score(path, maps=True), learned.score(path, maps=True))
    assert loaded.score_clip(path) == learned.score_clip(path)


def test_all_settings_come_back(stored: StoredEmbeddings, tmp_path: Path) -> None:
    detector = Detector(
        scorer="knn",
        on="vector",
        budget="3/week",
        backbone_options={"window_px": 40},
        scorer_options={"neighbours": 2, "memory": 30},
        grouping=Grouping(release=0.5, min_seconds=1.0, merge_seconds=0.0, cooldown_seconds=9.0),
        folds=3,
        seed=5,
    ).fit(stored)
    detector.save(tmp_path / "detector")
    loaded = Detector.load(tmp_path / "detector")
    assert loaded.describe() == detector.describe()
    assert (loaded.folds, loaded.seed, loaded.budget, loaded.grouping) == (3, 5, detector.budget, detector.grouping)
    assert loaded.backbone.options()["window_px"] == 40


def test_saving_again_replaces_and_tidies_up_after_itself_only(
    saved: Path, stored: StoredEmbeddings, left: Embeddings
) -> None:
    for name in ("weights.safetensors", "notes.txt", "scorer-final.safetensors"):
        (saved / name).write_bytes(b"mine")
    (saved / "scorer-0123456789ab.safetensors").write_bytes(b"of a save that a power cut ended")
    other = quick("knn", on="vector").fit(stored)
    other.save(saved)
    assert_equal(Detector.load(saved).score_embeddings(left, "left"), other.score_embeddings(left, "left"))
    record = json.loads((saved / "detector.json").read_text())
    ours = {"detector.json", *(entry["file"] for entry in record["files"].values())}
    assert set(contents(saved)) == ours | {"weights.safetensors", "notes.txt", "scorer-final.safetensors"}


@pytest.mark.parametrize("nth", [1, 3, 5])
@pytest.mark.parametrize("crash", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["io", "ctrl-c"])
def test_a_save_that_breaks_off_leaves_the_old_detector(
    saved: Path, stored: StoredEmbeddings, monkeypatch: pytest.MonkeyPatch, nth: int, crash: BaseException
) -> None:
    before = contents(saved)
    calls = 0
    real = os.replace

    def sometimes(*paths: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise crash
        real(*paths)

    other = quick("knn", on="vector").fit(stored)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", sometimes)
        with pytest.raises(DetectorError if isinstance(crash, OSError) else KeyboardInterrupt):
            other.save(saved)
    assert calls == nth
    assert contents(saved) == before
    assert Detector.load(saved).name == "motion, gaussian on grid"


@pytest.mark.parametrize("nth", [1, 5])
def test_a_first_save_that_breaks_off_leaves_no_folder(
    learned: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    calls = 0
    real = os.fsync

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DetectorError) as caught:
        learned.save(tmp_path / "detector")
    assert str(caught.value) == (
        f"{tmp_path / 'detector'} cannot be written: No space left on device (free some space or choose another --out)"
    )
    assert not (tmp_path / "detector").exists()


def test_a_killed_process_leaves_the_old_detector(saved: Path, learned: Detector) -> None:
    # The process ends in the middle of a save, without any clean-up at all.
    killed = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        import numpy as np
        from oddwatch.detector.folder import write_folder
        real, calls = os.replace, []
        def replace(*paths):
            calls.append(paths)
            if len(calls) == 3:
                os._exit(9)
            real(*paths)
        os.replace = replace
        tensors = {stem: {"x": np.ones(3)} for stem in ("scorer", "classes", "calibration", "clips")}
        write_folder(Path(sys.argv[1]), {}, tensors)
    """)
    before = contents(saved)
    environment = {**os.environ, "PYTHONPATH": str(Path(oddwatch.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", killed, str(saved)], check=False, timeout=60, env=environment)
    assert done.returncode == 9
    after = contents(saved)
    assert len(after) > len(before)  # what it left does no harm
    assert {name: after[name] for name in before} == before
    assert Detector.load(saved).threshold == learned.threshold
    learned.save(saved)
    assert {name for name in contents(saved) if not name.startswith(".")} == set(before)


def test_a_folder_that_is_no_detector_is_not_touched(learned: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"meow")
    (folder / "scorer-0123456789ab.safetensors").write_bytes(b"mine")
    before = contents(folder)
    with pytest.raises(DetectorError, match="photos is not a detector and not empty: give --out a new folder"):
        learned.save(folder)
    assert contents(folder) == before
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(DetectorError, match="file is not a detector"):
        learned.save(file)
    assert file.read_text() == "text"


def test_an_empty_folder_and_a_deep_one_are_filled(learned: Detector, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        learned.save(folder)
        assert Detector.load(folder).threshold == learned.threshold


def change(path: Path, **values: Any) -> None:
    record = json.loads((path / "detector.json").read_text())
    (path / "detector.json").write_text(json.dumps({**record, **values}))


def scorer_file(path: Path) -> Path:
    return next(path.glob("scorer-*.safetensors"))


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_file_instead(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("text")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def test_the_file_in_a_detector_is_not_the_detector(saved: Path) -> None:
    with pytest.raises(DetectorError, match=rf"json is a file, and .* \(give its folder, {saved}\)"):
        Detector.load(saved / "detector.json")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, r"detector is not a detector: no such folder \(make one with oddwatch learn --out\)"),
        (lambda f: (f / "detector.json").unlink(), "detector is not a detector: it has no detector.json"),
        (a_file_instead, r"detector is a file, and a detector is a folder \(make one with oddwatch learn --out\)"),
        (lambda f: cut_in_half(f / "detector.json"), r"detector\.json is damaged"),
        (lambda f: (f / "detector.json").write_bytes(b"\xff\xfe\x00"), r"detector\.json is damaged"),
        (lambda f: (f / "detector.json").write_text("[]"), r"detector\.json is damaged"),
        (lambda f: (f / "detector.json").write_text("{}"), r"detector\.json is damaged"),
        (lambda f: change(f, format="1"), r"detector\.json is damaged"),
        (lambda f: change(f, files=[]), r"detector\.json is damaged, it names no files"),
        (lambda f: change(f, files={"scorer": {}}), r"detector\.json is damaged, it names no files"),
        (lambda f: change(f, files={}), "is damaged: KeyError"),
        (lambda f: change(f, grouping={"release": 7}), "is damaged: ValueError"),
        (lambda f: change(f, threshold={}), "is damaged: TypeError"),
        (lambda f: cut_in_half(scorer_file(f)), r"scorer-\w+\.safetensors is damaged, its checksum is wrong"),
        (lambda f: flip_a_bit(scorer_file(f)), r"scorer-\w+\.safetensors is damaged, its checksum is wrong"),
        (lambda f: scorer_file(f).unlink(), r"scorer-\w+\.safetensors cannot be read"),
        (
            lambda f: change(f, format=2, oddwatch="9.0"),
            r"was made by oddwatch 9\.0 \(format 2\), this one reads up to format 1: upgrade oddwatch",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_clear_error(saved: Path, spoil: Any, message: str) -> None:
    spoil(saved)
    with pytest.raises(DetectorError, match=message) as caught:
        Detector.load(saved)
    assert "\n" not in str(caught.value)


def test_an_entry_cannot_name_a_file_outside_of_the_folder(saved: Path, tmp_path: Path) -> None:
    record = json.loads((saved / "detector.json").read_text())
    moved = tmp_path / "elsewhere.safetensors"
    scorer_file(saved).rename(moved)
    files = {**record["files"], "scorer": {**record["files"]["scorer"], "file": str(moved)}}
    change(saved, files=files)
    with pytest.raises(DetectorError, match=r"elsewhere\.safetensors cannot be read"):
        Detector.load(saved)


def test_a_scorer_that_is_not_there_says_its_name(saved: Path) -> None:
    change(saved, scorer={"name": "lost_module:LostScorer", "options": {}, "on": "grid"})
    with pytest.raises(OddwatchError, match="lost_module"):
        Detector.load(saved)
