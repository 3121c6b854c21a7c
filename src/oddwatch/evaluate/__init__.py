"""Measure a detector on a data set: fit on its usual videos, score its test videos, compare with what is simpler.

Nothing is chosen here by looking at test labels: thresholds come from the usual videos, scores are never normalised per
video. A configuration whose scorer does not keep its defaults, or that has other folds than the first, says so in its
note.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from oddwatch.detector import Detector
from oddwatch.embed import EmbeddingCache, EmbeddingStore, Progress, StoredEmbeddings
from oddwatch.errors import (
    DatasetError,
    MissingExtraError,
    NotEnoughVideoError,
    OddwatchError,
    UsageError,
    VideoError,
)
from oddwatch.evaluate.floors import FLOORS, floor_scores
from oddwatch.evaluate.results import to_json
from oddwatch.metrics import (
    Region,
    event_metrics,
    frame_metrics,
    intervals_from_labels,
    poisson_interval,
    region_metrics,
    regions_from_masks,
    regions_from_truth,
)
from oddwatch.scorers import build_scorer
from oddwatch.types import (
    Dataset,
    Embeddings,
    Evaluation,
    Failure,
    FloatArray,
    FrameMetrics,
    LeaveOneOut,
    Row,
    Sample,
    ScoredSample,
    ScoreTrack,
    TruthEvent,
    VideoInfo,
)
from oddwatch.video import VideoSource, open_video

__all__ = ["evaluate", "to_json"]

OFFLINE_SECONDS = 1.5
"""Offline scores are the mean over this much time around each frame: they look into the future."""
PUBLISHED = ("autoencoder", "vector")
"""Scorer of the published method, and what it looks at."""
_CHUNK = 256
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class _Test:
    """A test video with what is known about it. seconds: (N,) of its frames; labels: (N,), None when nothing is known.

    truth: its events, from the frame labels where there is nothing better. regions: per frame, None when not known.
    derived: whether the regions are derived from pixel masks.
    """

    sample: Sample
    seconds: FloatArray
    labels: BoolArray | None
    truth: tuple[TruthEvent, ...] | None
    regions: list[list[Region]] | None
    derived: bool
    info: VideoInfo


def evaluate(
    dataset: Dataset,
    detector: Detector,
    *,
    learned: bool = False,
    others: Sequence[Detector] = (),
    floors: bool = True,
    leave_one_out: bool = True,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score the test videos of a data set with `detector`, which first learns from its usual videos unless `learned`.

    others: more detectors of the SAME backbone that learn from the same embeddings, for the table. floors: what scores
    well without learning, for the table. leave_one_out: count false alarms on each usual video by a detector of the
    others, where there are three or more. cache: where embeddings are taken from and kept; then no speed is measured.
    Videos that cannot be used are kept in `failures`. Raises OddwatchError when no test video, or no usual one, can be
    used, and DatasetError, before any work, for a test video that has another number of frames than of labels or masks.
    """
    if strange := [o.name for o in others if o.backbone_name != detector.backbone_name]:
        raise UsageError(f"only detectors of {detector.backbone_name} can be compared here, not {strange[0]}")
    described, broken = _describe(dataset.split("test"))
    if not described:
        raise OddwatchError(f"{dataset.name}: no test video to score: {_reasons(broken)}")
    grids = any(d.on == "grid" for d in (detector, *others))
    with EmbeddingStore(keep_grids=grids) as usual_store:
        if not learned:
            for sample in dataset.split("train"):
                usual_store.add_video(
                    sample.path,
                    detector.backbone,
                    fps=sample.fps,
                    label=sample.label,
                    cache=cache,
                    progress=progress,
                )
            if not usual_store.videos:
                raise OddwatchError(f"{dataset.name}: no usual video to learn from: {_reasons(usual_store.failures)}")
            try:
                detector.fit(usual_store.freeze(), progress=progress)
            except NotEnoughVideoError as error:
                raise NotEnoughVideoError(f"{dataset.name}: {error}") from error
        with EmbeddingStore(grid_shape=detector.grid_shape, keep_grids=grids) as test_store:
            began = time.perf_counter()
            tests = [
                t
                for t in described
                if test_store.add_video(
                    t.sample.path, detector.backbone, fps=t.sample.fps, cache=cache, progress=progress
                )
            ]
            broken += test_store.failures
            if not tests:
                raise OddwatchError(f"{dataset.name}: no test video to score: {_reasons(broken)}")
            test = test_store.freeze()
            tracks = _score(detector, test)
            took = time.perf_counter() - began
            rows = [_row(detector, tests, tracks, folds=detector.folds)]
            if not learned:
                rows += _compare(others, usual_store.freeze(), test, tests, detector.folds, progress)
        if floors:
            rows += _floors([t for t in tests if t.labels is not None], progress)
        loo = _leave_one_out(detector, usual_store.freeze(), progress) if leave_one_out else None
    threshold = detector.threshold
    return Evaluation(
        dataset=dataset.name,
        rows=tuple(rows),
        samples=tuple(
            ScoredSample(
                sample=replace(t.sample, truth=t.truth),
                track=replace(track, info=t.info),
                events=found,
                frame_seconds=t.seconds,
                frame_scores=track.at(t.seconds),
                frame_labels=t.labels,
            )
            for t, track, found in zip(tests, tracks, rows[0].found, strict=True)
        ),
        usual_scores=detector.calibration.scores,
        threshold=threshold.value,
        threshold_says=threshold.says,
        frames_per_second=sum(len(t.seconds) for t in tests) / took if cache is None else None,
        leave_one_out=loo,
        failures=(*usual_store.failures, *broken),
        settings={**detector.describe(), "offline_seconds": OFFLINE_SECONDS},
        citation=dataset.citation,
    )


def _reasons(failures: Sequence[Failure]) -> str:
    return "; ".join(map(str, failures)) or "it has none"


def _score(detector: Detector, stored: StoredEmbeddings) -> list[ScoreTrack]:
    """The track of each video in the store, with maps where the detector has them."""
    tracks = []
    for video in stored.videos:
        parts = []
        for first in range(video.first, video.last, _CHUNK):
            last = min(first + _CHUNK, video.last)
            embeddings = Embeddings(
                vector=stored.vectors[first:last],
                grid=None if stored.grid_shape is None else stored.grids(first, last),
                start_seconds=stored.times[first:last, 0],
                end_seconds=stored.times[first:last, 1],
            )
            parts.append(detector.score_embeddings(embeddings, video.name))
        tracks.append(ScoreTrack.concatenate(parts))
    return tracks


def _describe(samples: Sequence[Sample]) -> tuple[list[_Test], list[Failure]]:
    """What is known about the videos that can be opened, and those that cannot. Raises DatasetError."""
    tests, broken = [], []
    for sample in samples:
        try:
            with open_video(sample.path, fps=sample.fps) as source:
                info, seconds = source.info, _frame_seconds(source, sample.frame_labels)
        except VideoError as error:
            broken.append(Failure(error.source, error.reason))
            continue
        truth, labels = sample.truth, sample.frame_labels
        if labels is not None:
            _require_one_each(sample, seconds, len(labels), "labels")
            if truth is None:
                truth = tuple(TruthEvent("unusual", *stretch) for stretch in intervals_from_labels(labels, seconds))
        elif truth is not None:
            inside = [(seconds >= t.start_seconds) & (seconds <= t.end_seconds) for t in truth]
            labels = np.any(inside, axis=0) if inside else np.zeros(len(seconds), dtype=bool)
        regions = None
        if sample.masks is not None:
            regions = regions_from_masks(sample.masks())
            _require_one_each(sample, seconds, len(regions), "masks")
        elif sample.truth is not None and all(t.boxes for t in sample.truth):
            regions = regions_from_truth(sample.truth, seconds)
        tests.append(_Test(sample, seconds, labels, truth, regions, sample.masks is not None, info))
    return tests, broken


def _frame_seconds(source: VideoSource, labels: BoolArray | None) -> FloatArray:
    """(N,) when each frame is shown. Where packets and frames differ in number, frames are decoded to count them."""
    seconds = source.timeline()
    if len(seconds) and (labels is None or len(seconds) == len(labels)):
        return seconds
    return np.array([picture.time_seconds for picture in source.pictures()])


def _require_one_each(sample: Sample, seconds: FloatArray, known: int, what: str) -> None:
    if known != len(seconds):
        raise DatasetError(
            f"{sample.name}: {sample.path} has {len(seconds)} frames but {known} {what} (give one for every frame)"
        )


def _note(detector: Detector, folds: int) -> str:
    """What sets a configuration apart. folds: of the first one in the table."""
    usual = build_scorer(detector.scorer_name).options
    options = detector.describe()["scorer"]["options"]
    own = {name: value for name, value in options.items() if name != "seed" and usual.get(name) != value}
    parts = ["the published method"] if (detector.scorer_name, detector.on) == PUBLISHED else []
    parts += [f"{name} {value}" for name, value in own.items()]
    if says := detector.scorer_says:
        parts.append(says)
    if detector.folds != folds:
        parts.append(f"threshold from {detector.folds} folds, not {folds}")
    return "; ".join(parts)


def _row(detector: Detector, tests: Sequence[_Test], tracks: Sequence[ScoreTrack], *, folds: int) -> Row:
    figures, offline = _figures(tests, [track.at(t.seconds) for t, track in zip(tests, tracks, strict=True)])
    regions = [t.regions for t in tests if t.regions is not None]
    if len(regions) == len(tests) and all(track.maps is not None for track in tracks):
        found = region_metrics([_frame_maps(t, track) for t, track in zip(tests, tracks, strict=True)], regions)
        derived = any(t.derived for t in tests) if found.regions else None
        figures = replace(figures, rbdc=found.rbdc, tbdc=found.tbdc, regions_derived=derived)
    found_events = tuple(detector.events(track) for track in tracks)
    known = [i for i, t in enumerate(tests) if t.truth is not None]
    events = None
    if known:
        events = event_metrics(
            [found_events[i] for i in known],
            [tests[i].truth or () for i in known],
            watched=[tracks[i].stretches for i in known],
            threshold=detector.threshold.value,
            raised_after_seconds=detector.grouping.min_seconds,
        )
    return Row(detector.name, figures, offline, events, _note(detector, folds), found_events)


def _figures(tests: Sequence[_Test], scores: Sequence[FloatArray]) -> tuple[FrameMetrics, FrameMetrics]:
    """Causal and offline figures of scores (N,) per frame of each test video that has labels."""
    labelled = [(t, s) for t, s in zip(tests, scores, strict=True) if t.labels is not None and len(t.labels)]
    labels = [t.labels for t, _ in labelled if t.labels is not None]
    smooth = [_offline(t.seconds, s) for t, s in labelled]
    return frame_metrics([s for _, s in labelled], labels), frame_metrics(smooth, labels)


def _offline(seconds: FloatArray, scores: FloatArray) -> FloatArray:
    step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
    size = max(round(OFFLINE_SECONDS / max(step, 1e-3)), 1)
    return np.asarray(uniform_filter1d(scores, size=size, mode="nearest"))


def _frame_maps(test: _Test, track: ScoreTrack) -> NDArray[np.float32]:
    """(N, Gh, Gw): the latest map known at each frame, nothing before the first."""
    assert track.maps is not None
    latest = np.searchsorted(track.end_seconds, test.seconds + 1e-6, side="right") - 1
    maps = np.asarray(track.maps[np.maximum(latest, 0)], dtype=np.float32)
    maps[latest < 0] = 0
    return maps


def _compare(
    others: Sequence[Detector],
    usual: StoredEmbeddings,
    test: StoredEmbeddings,
    tests: Sequence[_Test],
    folds: int,
    progress: Progress | None,
) -> list[Row]:
    """Other detectors on the same embeddings; one that cannot learn says why in its note."""
    rows = []
    for done, other in enumerate(others):
        if progress:
            progress("comparing scorers", float(done), float(len(others)))
        try:
            other.fit(usual)
        except (MissingExtraError, NotEnoughVideoError) as error:
            rows.append(Row(other.name, frame_metrics([], []), note=str(error)))
            continue
        rows.append(_row(other, tests, _score(other, test), folds=folds))
    return rows


def _floors(tests: Sequence[_Test], progress: Progress | None) -> list[Row]:
    """What learns nothing, on the test videos that have labels."""
    if not tests:
        return []
    scores: list[list[FloatArray]] = [[] for _ in FLOORS]
    for done, test in enumerate(tests):
        if progress:
            progress("floors that learn nothing", float(done), float(len(tests)))
        seconds, found = floor_scores(test.sample)
        for kept, values in zip(scores, found, strict=True):
            kept.append(values[np.maximum(np.searchsorted(seconds, test.seconds + 1e-6, side="right") - 1, 0)])
    return [Row(name, *_figures(tests, values)) for name, values in zip(FLOORS, scores, strict=True)]


def _leave_one_out(detector: Detector, usual: StoredEmbeddings, progress: Progress | None) -> LeaveOneOut | None:
    """False alarms on each usual video by a detector that learned from, and calibrated on, all the others.

    None for fewer than three usual videos, or when those that are left are too little to learn from.
    """
    if len(usual.videos) < 3:
        return None
    count, seconds = 0, 0.0
    for index in range(len(usual.videos)):
        if progress:
            progress("leaving one usual video out", float(index), float(len(usual.videos)))
        other = Detector(
            backbone=detector.backbone_name,
            backbone_options=detector.backbone.options(),
            scorer=detector.scorer_name,
            scorer_options=detector.scorer_options,
            on=detector.on,
            budget=detector.budget.text,
            grouping=detector.grouping,
            folds=detector.folds,
            seed=detector.seed,
        )
        try:
            other.fit(usual.without(index))
        except NotEnoughVideoError:
            return None
        track = _score(other, usual.only(index))[0]
        count += len(other.events(track))
        seconds += track.seconds
    hours = seconds / 3600
    budget = detector.budget
    expected = None if budget.per_hour is None else budget.per_hour * hours
    return LeaveOneOut(budget.text, hours, count, poisson_interval(count), expected)
