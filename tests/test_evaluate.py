"""Evaluation of small rendered videos: figures against ones worked out in another way, and nothing from the future."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from small_datasets import END, START, TRUTH, dataset_videos, gaussian, only, small_dataset
from small_videos import FPS, images, write
from video_files import write_frames, write_video

from oddwatch.detector import Detector
from oddwatch.evaluate import evaluate, floors, to_json
from oddwatch.evaluate.floors import FLOORS, floor_scores
from oddwatch.metrics import region_metrics, regions_from_truth
from oddwatch.types import Dataset, Evaluation, Image, Sample, TruthEvent
from oddwatch.video import open_video

Floats = NDArray[np.floating[Any]]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def dataset(videos: Path) -> Dataset:
    return small_dataset(videos)


@pytest.fixture(scope="module")
def learned(videos: Path) -> Detector:
    return gaussian().learn(videos / "usual.mp4")


@pytest.fixture(scope="module")
def evaluation(dataset: Dataset) -> Evaluation:
    others = [Detector(scorer="centroid", on="vector", budget="1/hour")]
    return evaluate(dataset, gaussian(), others=others)


def latest(track_ends: Floats, scores: Floats, times: Floats) -> Floats:
    """The score known at each time, the slow way."""
    known = []
    for time in times:
        before = [score for end, score in zip(track_ends, scores, strict=True) if end <= time + 1e-6]
        known.append(before[-1] if before else 0.0)
    return np.array(known)


def auc(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """The share of pairs in which the unusual frame scores higher, ties half."""
    difference = scores[labels][:, None] - scores[~labels][None]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def frames_of(path: Path) -> Floats:
    with open_video(path) as source:
        return np.array([frame.time_seconds for frame in source])


# figures


def test_the_figures_are_those_of_the_detectors_own_scores(
    evaluation: Evaluation, learned: Detector, videos: Path
) -> None:
    tracks = [learned.score(videos / f"{name}.mp4") for name in ("odd", "quiet")]
    times = [frames_of(videos / f"{name}.mp4") for name in ("odd", "quiet")]
    scores = [latest(t.end_seconds, t.scores, at) for t, at in zip(tracks, times, strict=True)]
    labels = [(times[0] >= START) & (times[0] <= END), np.zeros(60, dtype=bool)]
    for sample, at, score, label in zip(evaluation.samples, times, scores, labels, strict=True):
        np.testing.assert_allclose(sample.frame_seconds, at)
        np.testing.assert_allclose(sample.frame_scores, score, rtol=1e-6)
        np.testing.assert_array_equal(sample.frame_labels, label)
    smooth = [ndimage.correlate1d(score, np.full(15, 1 / 15), mode="nearest") for score in scores]
    row = evaluation.rows[0]
    assert row.offline is not None
    for figures, values in ((row.causal, scores), (row.offline, smooth)):
        together, truth = np.concatenate(values), np.concatenate(labels)
        assert figures.micro_auc == pytest.approx(auc(together, truth), abs=1e-9)
        assert figures.macro_auc == pytest.approx(auc(values[0], labels[0]), abs=1e-9)
        assert figures.macro_videos == 1
        padded = [
            auc(np.r_[together.min(), v, together.max()], np.r_[False, y, True])
            for v, y in zip(values, labels, strict=True)
        ]
        assert figures.macro_auc_padded == pytest.approx(np.mean(padded), abs=1e-9)
        steps = [(together >= level) for level in np.unique(together)[::-1]]
        recall = np.array([0.0, *((hit & truth).sum() / truth.sum() for hit in steps)])
        precision = np.array([(hit & truth).sum() / hit.sum() for hit in steps])
        assert figures.average_precision == pytest.approx(float((np.diff(recall) * precision).sum()), abs=1e-9)


def test_the_events_are_the_detectors_own(evaluation: Evaluation, learned: Detector, videos: Path) -> None:
    found = [learned.events(learned.score(videos / f"{name}.mp4")) for name in ("odd", "quiet")]
    assert [len(events) for events in found] == [1, 0]
    (event,) = found[0]
    assert evaluation.rows[0].found == tuple(found)
    assert [sample.events for sample in evaluation.samples] == found
    events = evaluation.rows[0].events
    assert events is not None
    assert (events.truth_events, events.found_events, events.false_alarms, events.recall) == (1, 1, 0, 1.0)
    assert events.normal_hours == pytest.approx((8.9 - (END - START) + 5.9) / 3600, abs=1e-6)
    late = event.start_seconds + learned.grouping.min_seconds - START
    assert events.median_delay_seconds == pytest.approx(max(late, 0.0), abs=1e-6)
    assert (evaluation.threshold, evaluation.threshold_says) == (learned.threshold.value, learned.threshold.says)
    np.testing.assert_array_equal(evaluation.usual_scores, learned.calibration.scores)


def test_places_are_judged_by_the_boxes_of_the_truth(evaluation: Evaluation, learned: Detector, videos: Path) -> None:
    maps, regions = [], []
    for name, truth in (("odd", TRUTH), ("quiet", ())):
        times = frames_of(videos / f"{name}.mp4")
        track = learned.score(videos / f"{name}.mp4", maps=True)
        assert track.maps is not None
        known = np.zeros((len(times), *track.maps.shape[1:]), np.float32)
        for index, time in enumerate(times):
            for end, one in zip(track.end_seconds, track.maps, strict=True):
                if end <= time + 1e-6:
                    known[index] = one
        maps.append(known)
        regions.append(regions_from_truth(truth, times))
    expected = region_metrics(maps, regions)
    assert expected.regions == round((END - START) * FPS) + 1
    row = evaluation.rows[0]
    assert (row.causal.rbdc, row.causal.tbdc) == (expected.rbdc, expected.tbdc)
    assert expected.tbdc is not None
    assert expected.tbdc > 0.5
    assert row.causal.regions_derived is False  # they are the truth's own boxes
    vector = evaluation.rows[1]
    assert (vector.name, vector.causal.rbdc, vector.causal.tbdc) == ("motion, centroid on vector", None, None)


def test_another_detector_is_measured_as_it_would_be_alone(evaluation: Evaluation, dataset: Dataset) -> None:
    alone = evaluate(dataset, Detector(scorer="centroid", on="vector", budget="1/hour"), floors=False)
    (row,) = alone.rows
    assert (row.causal, row.offline, row.events) == (
        evaluation.rows[1].causal,
        evaluation.rows[1].offline,
        evaluation.rows[1].events,
    )


def test_the_record_is_complete(evaluation: Evaluation, videos: Path) -> None:
    assert (evaluation.dataset, evaluation.citation) == ("small", "Nobody: Nothing. 2026")
    assert [row.name for row in evaluation.rows[2:]] == list(FLOORS)
    assert [sample.track.source for sample in evaluation.samples] == [
        str(videos / "odd.mp4"),
        str(videos / "quiet.mp4"),
    ]
    assert all(sample.track.maps is not None and sample.track.info is not None for sample in evaluation.samples)
    assert (evaluation.failures, evaluation.leave_one_out) == ((), None)
    assert evaluation.frames_per_second is not None
    assert evaluation.frames_per_second > 1
    assert evaluation.settings["scorer"]["name"] == "gaussian"
    assert evaluation.settings["inputs"][0]["name"] == str(videos / "usual.mp4")
    assert {"versions", "seed", "budget", "grouping", "smoothed_seconds"} <= set(evaluation.settings)


def test_json_says_the_same(evaluation: Evaluation) -> None:
    said = json.loads(json.dumps(to_json(evaluation), allow_nan=False))
    first = evaluation.rows[0]
    assert said["causal"]["micro_auc"] == first.causal.micro_auc
    assert said["offline"]["eer"] == (first.offline and first.offline.eer)
    assert said["events"]["found_events"] == 1
    assert [row["name"] for row in said["rows"]] == [row.name for row in evaluation.rows]
    assert said["threshold"] == {"value": evaluation.threshold, "says": evaluation.threshold_says}
    assert said["frames_per_second"] == evaluation.frames_per_second
    assert said["settings"] == evaluation.settings


def test_the_published_method_is_marked(dataset: Dataset) -> None:
    article = Detector(scorer="autoencoder", on="vector", folds=2, scorer_options={"epochs": 1, "hidden": (8, 4)})
    rows = evaluate(dataset, gaussian(), others=[article], floors=False).rows
    assert [row.note for row in rows] == [
        "",
        "the published method; hidden [8, 4]; epochs 1; threshold from 2 folds, not 5",
    ]


# nothing from the future


def test_scores_do_not_know_the_future(learned: Detector, tmp_path: Path) -> None:
    """Two videos are the same for three seconds; what happens then changes no score before."""
    first = list(images(6.0, seed=3))
    second = [*first[:30], *(image[:, ::-1].copy() for image in first[30:])]
    samples = []
    for name, frames in (("one", first), ("two", second)):
        path = write_frames(tmp_path / name, frames)
        samples.append(Sample(name, str(path), "test", fps=10.0, truth=(TruthEvent("turn", 3.0, 6.0),)))
    result = evaluate(Dataset("turns", tuple(samples)), learned, learned=True)
    one, two = result.samples
    # Rarely the same frames give another last bit of their motion.
    np.testing.assert_allclose(one.frame_scores[:30], two.frame_scores[:30], rtol=1e-5)
    assert not np.allclose(one.frame_scores[30:], two.frame_scores[30:])
    assert one.frame_scores[0] == two.frame_scores[0] == 0
    for floor_one, floor_two in zip(floor_scores(samples[0])[1], floor_scores(samples[1])[1], strict=True):
        np.testing.assert_array_equal(floor_one[:30], floor_two[:30])
        assert not np.allclose(floor_one[30:], floor_two[30:])


# floors


def test_the_frame_difference_is_what_it_says(tmp_path: Path) -> None:
    """Means over 25 px squares of the change, averaged over the last five frames; the highest counts."""
    pictures = list(images(1.5, seed=3, size_px=(80, 60)))
    sample = Sample("a", str(write_frames(tmp_path / "a", pictures)), "test", fps=10.0)
    seconds, (difference, _) = floor_scores(sample)
    gray = np.array([picture[..., 0] for picture in pictures], dtype=np.float64)
    local = [ndimage.uniform_filter(abs(b - a), 25, mode="mirror") for a, b in pairwise(gray)]
    expected = [0.0] + [float(np.mean(local[max(i - 4, 0) : i + 1], axis=0).max()) for i in range(len(local))]
    np.testing.assert_allclose(seconds, np.arange(15) / 10)
    np.testing.assert_allclose(difference, expected, rtol=1e-4)


def test_the_flow_floor_is_a_speed_in_pixels(tmp_path: Path) -> None:
    """A texture moves 3 px per frame; later it rests."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=(96, 200)), 2)
    texture = np.clip(128 + 60 * texture / texture.std(), 0, 255).astype(np.uint8)
    shifts = [min(3 * frame, 36) for frame in range(24)]
    pictures: list[Image] = [np.repeat(texture[:, s : s + 128, None], 3, axis=2) for s in shifts]
    sample = Sample("a", str(write_frames(tmp_path / "a", pictures)), "test", fps=10.0)
    _, (difference, speed) = floor_scores(sample)
    assert (difference[0], speed[0]) == (0, 0)
    np.testing.assert_allclose(speed[2:13], 3.0, atol=0.3)
    assert (difference[18:].max(), speed[18:].max()) < (0.5, 0.1)


@pytest.mark.parametrize("size_px", [(8, 8), (1, 1), (4, 60), (400, 3)])
def test_tiny_pictures_have_floors_too(tmp_path: Path, size_px: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (size_px[1], size_px[0], 3), dtype=np.uint8) for _ in range(4)]
    sample = Sample("a", str(write_frames(tmp_path / "a", pictures)), "test", fps=10.0)
    _, (difference, speed) = floor_scores(sample)
    assert (difference[1:] > 0).all()
    assert np.isfinite(speed).all()


def test_a_large_picture_is_reduced_for_the_floors(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", images(0.5, seed=1, size_px=(640, 480)), fps=10)
    _, (difference, _) = floor_scores(Sample("a", str(tmp_path / "a.mp4"), "test"))
    assert difference.shape == (5,)
    assert np.isfinite(difference).all()


def test_floors_are_not_computed_without_labels(
    dataset: Dataset, learned: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(sample: Sample) -> None:
        raise AssertionError(sample.name)

    monkeypatch.setattr("oddwatch.evaluate.measure.floor_scores", never)
    result = evaluate(only(dataset, truth=None), learned, learned=True)
    assert [row.name for row in result.rows] == [learned.name]
    assert floors.FLOORS


# leave one out


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Dataset:
    """Three usual videos, of which the last has someone fast in it: a false alarm for a detector of the others."""
    folder = tmp_path_factory.mktemp("many")
    write(folder / "1.mp4", 8.0, seed=1)
    write(folder / "2.mp4", 7.0, seed=2)
    write(folder / "3.mp4", 8.0, seed=4, odd="fast")
    train = tuple(Sample(str(i), str(folder / f"{i}.mp4"), "train", truth=()) for i in (1, 2, 3))
    return Dataset("many", (*train, Sample("quiet", str(videos / "quiet.mp4"), "test", truth=())))


def learn_others(many: Dataset, budget: str) -> Iterator[tuple[Detector, str]]:
    """A detector of all usual videos but one, and that one."""
    paths = [sample.path for sample in many.split("train")]
    for path in paths:
        yield gaussian(budget).learn([other for other in paths if other != path]), path


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["60/hour", "2%"])
def test_leave_one_out_counts_false_alarms(many: Dataset, budget: str) -> None:
    counts = [len(detector.events(detector.score(path))) for detector, path in learn_others(many, budget)]
    assert counts[2] >= 1
    result = evaluate(many, gaussian(budget), floors=False)
    loo = result.leave_one_out
    assert loo is not None
    assert (loo.false_alarms, loo.budget) == (sum(counts), budget)
    assert loo.hours == pytest.approx((7.9 + 6.9 + 7.9) / 3600)
    if budget == "2%":
        assert loo.expected is None
    else:
        assert loo.expected == pytest.approx(60 * loo.hours)
    low, high = loo.interval
    assert tail(sum(counts), low, above=True) == pytest.approx(0.025, abs=1e-6)
    assert tail(sum(counts), high, above=False) == pytest.approx(0.025, abs=1e-6)
    json.dumps(to_json(result), allow_nan=False)


def tail(count: int, mean: float, *, above: bool) -> float:
    """How probable `count` or more (or `count` or fewer) events are when `mean` are expected."""
    terms = np.cumprod([np.exp(-mean), *(mean / k for k in range(1, count + 1))])
    return float(1 - terms[:-1].sum()) if above else float(terms.sum())


@pytest.mark.slow
def test_leave_one_out_needs_three_videos_and_enough_of_each(many: Dataset, tmp_path: Path) -> None:
    two = replace(many, samples=many.samples[1:])
    assert evaluate(two, gaussian(), floors=False).leave_one_out is None
    assert evaluate(many, gaussian(), floors=False, leave_one_out=False).leave_one_out is None
    short = [write(tmp_path / f"{i}.mp4", 0.6, seed=i) for i in (1, 2)]
    samples = [replace(many.samples[0], path=str(path)) for path in short]
    little = replace(many, samples=(many.samples[0], *samples, many.samples[3]))
    assert evaluate(little, gaussian(), floors=False).leave_one_out is None


# progress


@pytest.mark.slow
def test_progress_is_told(many: Dataset) -> None:
    told: list[tuple[str, float, float | None]] = []

    def progress(name: str, done: float, total: float | None) -> None:
        told.append((name, done, total))

    small = replace(many, samples=(*many.split("train"), replace(many.samples[3])))
    evaluate(small, gaussian(), others=[Detector(scorer="centroid")], progress=progress)
    names = {name for name, _, _ in told}
    steps = {"learning what is usual", "comparing scorers", "floors that learn nothing", "leaving one usual video out"}
    assert steps <= names
    assert {sample.path for sample in small.samples} <= names
    assert all(0 <= done <= (total or 0) + 1e-6 for _, done, total in told)
