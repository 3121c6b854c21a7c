"""What a detector refuses and what it goes on with: options, users' own parts, videos, Ctrl-C."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_detectors import assert_equal, detector_videos, small_detector
from small_videos import write

from oddwatch.backbones import Backbone, BackboneRecord, EmbeddingStream, build_backbone
from oddwatch.detector import Detector
from oddwatch.embed import EmbeddingStore, StoredEmbeddings, embed_video
from oddwatch.errors import DetectorError, NotEnoughVideoError, UsageError, VideoError
from oddwatch.scorers import SCORERS, scorer_class
from oddwatch.scorers.base import PIXELS
from oddwatch.scorers.centroid import CentroidScorer
from oddwatch.types import Embeddings, Frame


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


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


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

    detector, before = Detector(scorer="gaussian"), set(threading.enumerate())  # another test may have left one
    with pytest.raises(stopped):
        detector.learn(videos / "unseen.mp4", progress=stop)
    assert not list(temporary.iterdir())
    assert not [t for t in set(threading.enumerate()) - before if t.name == "oddwatch-prefetch"]
    with pytest.raises(DetectorError, match="has not learned"):
        detector.score(videos / "left.mp4")


def test_the_temporary_files_are_gone_after_learning(videos: Path, temporary: Path) -> None:
    Detector(scorer="gaussian").learn(videos / "unseen.mp4")
    assert not list(temporary.iterdir())
