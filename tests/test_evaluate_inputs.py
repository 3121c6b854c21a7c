"""What an evaluation makes of what it is given: few labels or none, what cannot be used, a learned detector."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_datasets import END, START, dataset_videos, gaussian, only, small_dataset
from small_videos import FPS, images, write
from video_files import write_video

from oddwatch.detector import Detector
from oddwatch.embed import EmbeddingStore
from oddwatch.errors import DatasetError, MissingExtraError, NotEnoughVideoError, OddwatchError, UsageError
from oddwatch.evaluate import evaluate, to_json
from oddwatch.scorers import autoencoder
from oddwatch.types import Dataset, Sample
from oddwatch.video.file import FileSource


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def dataset(videos: Path) -> Dataset:
    return small_dataset(videos)


@pytest.fixture(scope="module")
def learned(videos: Path) -> Detector:
    return gaussian().learn(videos / "usual.mp4")


# what is known about the videos


def test_without_labels_figures_are_none(dataset: Dataset, learned: Detector) -> None:
    result = evaluate(only(dataset, truth=None), learned, learned=True)
    said = json.loads(json.dumps(to_json(result), allow_nan=False))
    assert {v for k, v in said["causal"].items() if k != "macro_videos"} == {None}
    assert {v for k, v in said["offline"].items() if k != "macro_videos"} == {None}
    assert said["events"] is None
    assert result.samples[0].frame_labels is None
    assert len(result.samples[0].events) == 1


def test_only_usual_test_video_has_false_alarms_but_no_auc(dataset: Dataset, learned: Detector) -> None:
    usual = replace(dataset, samples=(dataset.samples[0], dataset.samples[2]))
    said = json.loads(json.dumps(to_json(evaluate(usual, learned, learned=True)), allow_nan=False))
    assert (said["causal"]["micro_auc"], said["causal"]["rbdc"]) == (None, None)
    assert (said["events"]["truth_events"], said["events"]["recall"]) == (0, None)
    assert (said["events"]["false_alarms"], said["events"]["false_alarms_per_hour"]) == (0, 0.0)


def test_frame_labels_count_as_truth(dataset: Dataset, learned: Detector) -> None:
    first, last = round(START * FPS), round(END * FPS)
    labels = (np.arange(90) >= first) & (np.arange(90) <= last)
    result = evaluate(only(dataset, truth=None, frame_labels=labels), learned, learned=True, floors=False)
    (sample,) = result.samples
    np.testing.assert_array_equal(sample.frame_labels, labels)
    assert sample.sample.truth is not None
    (event,) = sample.sample.truth
    assert event.kind == "unusual"
    assert (event.start_seconds, event.end_seconds) == pytest.approx((START, END + 1 / FPS))
    expected = evaluate(only(dataset), learned, learned=True, floors=False)
    assert result.rows[0].causal.micro_auc == expected.rows[0].causal.micro_auc
    assert result.rows[0].causal.rbdc is None


def test_labels_follow_uneven_frames(learned: Detector, tmp_path: Path) -> None:
    """One label per frame, whenever it is shown: here the frame rate drops to a half after two seconds."""
    milliseconds = [100 * i for i in range(20)] + [2000 + 200 * i for i in range(20)]
    path = write_video(tmp_path / "a.mp4", images(4.0, seed=3), milliseconds=milliseconds)
    labels = np.arange(40) >= 30
    sample = Sample("a", str(path), "test", frame_labels=labels)
    (scored,) = evaluate(Dataset("uneven", (sample,)), learned, learned=True, floors=False).samples
    np.testing.assert_allclose(scored.frame_seconds, np.array(milliseconds) / 1000, atol=1e-6)
    assert scored.sample.truth is not None
    assert scored.sample.truth[0].start_seconds == pytest.approx(4.0)


def fail(*_: Any, **__: Any) -> bool:
    raise AssertionError("work was begun")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frame_labels": np.zeros(89, dtype=bool)}, r"has 90 frames but 89 labels"),
        ({"frame_labels": np.zeros(91, dtype=bool)}, r"has 90 frames but 91 labels"),
        ({"masks": lambda: np.zeros((80, 12, 16), dtype=bool)}, r"has 90 frames but 80 masks"),
    ],
)
def test_labels_and_frames_must_be_as_many(
    dataset: Dataset, changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before any work, with the name of the video."""
    monkeypatch.setattr(EmbeddingStore, "add_video", fail)
    with pytest.raises(DatasetError, match=rf"^odd: .*odd\.mp4 {says} \(give one for every frame\)$"):
        evaluate(only(dataset, **changes), gaussian())


def test_where_packets_are_not_frames_they_are_counted_by_decoding(
    dataset: Dataset, learned: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FileSource.timeline
    monkeypatch.setattr(FileSource, "timeline", lambda self: np.r_[real(self), 100.0])
    labels = np.arange(90) >= 40
    result = evaluate(only(dataset, frame_labels=labels), learned, learned=True, floors=False)
    assert len(result.samples[0].frame_seconds) == 90


# what cannot be used


@pytest.mark.slow
def test_videos_that_cannot_be_used_are_kept_and_the_rest_is_measured(dataset: Dataset, tmp_path: Path) -> None:
    """Also one of another shape, and that one is blamed although it comes first."""
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video" * 50)
    write(tmp_path / "large.mp4", 3.0, seed=1, size_px=(320, 240))
    write(tmp_path / "short.mp4", 0.1, seed=1)
    bad = [Sample(n, str(tmp_path / f"{n}.mp4"), "test", truth=()) for n in ("large", "text", "short")]
    usual = Sample("empty", str(tmp_path / "empty.mp4"), "train")
    result = evaluate(replace(dataset, samples=(usual, *bad, *dataset.samples)), gaussian(), floors=False)
    assert [sample.sample.name for sample in result.samples] == ["odd", "quiet"]
    assert {Path(f.source).name: f.reason for f in result.failures}.keys() == {
        "empty.mp4",
        "large.mp4",
        "text.mp4",
        "short.mp4",
    }
    assert all("(" in f.reason and f.source not in f.reason for f in result.failures)
    assert [f["source"] for f in to_json(result)["failures"]] == [f.source for f in result.failures]
    assert result.rows[0] == evaluate(dataset, gaussian(), floors=False).rows[0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_nothing_to_learn_from_or_to_score_is_an_error(dataset: Dataset, tmp_path: Path, split: str) -> None:
    kept = tuple(sample for sample in dataset.samples if sample.split != split)
    what = "no usual video to learn from" if split == "train" else "no test video to score"
    with pytest.raises(OddwatchError, match=rf"^small: {what}: it has none$"):
        evaluate(replace(dataset, samples=kept), gaussian())
    (tmp_path / "empty.mp4").write_bytes(b"")
    write(tmp_path / "short.mp4", 0.1, seed=1)
    for name, reason in (("empty", "the file is empty"), ("short", "too short")):
        bad = replace(dataset.samples[0 if split == "train" else 1], path=str(tmp_path / f"{name}.mp4"))
        with pytest.raises(OddwatchError, match=rf"^small: {what}: .*{name}\.mp4: {reason}"):
            evaluate(replace(dataset, samples=(*kept, bad)), gaussian())


def test_too_little_usual_video_names_the_data_set(dataset: Dataset, tmp_path: Path) -> None:
    usual = replace(dataset.samples[0], path=str(write(tmp_path / "a.mp4", 1.0, seed=1)))
    with pytest.raises(NotEnoughVideoError, match=r"^small: 9 usual moments are too few"):
        evaluate(replace(dataset, samples=(usual, *dataset.samples[1:])), gaussian())


def test_what_is_not_installed_does_not_stop_the_others(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtraError("the autoencoder scorer", "torch", "torch")

    monkeypatch.setattr(autoencoder, "_torch", missing)
    others = [Detector(scorer="autoencoder", on="vector"), Detector(scorer="centroid")]
    rows = evaluate(dataset, gaussian(), others=others, floors=False).rows
    assert [row.name for row in rows] == [
        "motion, gaussian on grid",
        "motion, autoencoder on vector",
        "motion, centroid on grid",
    ]
    assert rows[1].note == 'the autoencoder scorer needs torch: pip install "oddwatch[torch]"'
    assert (rows[1].causal.micro_auc, rows[1].events) == (None, None)
    assert rows[2].causal.micro_auc is not None


def test_only_one_backbone_at_a_time(dataset: Dataset) -> None:
    other = gaussian()
    other.backbone_name = "flow"
    with pytest.raises(UsageError, match="only detectors of motion can be compared here, not flow, gaussian on grid"):
        evaluate(dataset, gaussian(), others=[other])


def test_a_learned_detector_learns_nothing_more(
    dataset: Dataset, learned: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detector, "fit", fail)
    result = evaluate(dataset, learned, learned=True, others=[gaussian()], floors=False)
    assert len(result.rows) == 1
    assert result.leave_one_out is None
