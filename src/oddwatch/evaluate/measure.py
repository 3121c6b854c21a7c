"""What both `evaluate` and `bench` measure: a detector on test videos and on usual ones, and the floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from oddwatch.detector import Detector
from oddwatch.embed import Progress, StoredEmbeddings
from oddwatch.errors import DatasetError, NotEnoughVideoError, VideoError
from oddwatch.evaluate.floors import FLOORS, floor_scores
from oddwatch.metrics import (
    Region,
    event_metrics,
    frame_metrics,
    intervals_from_labels,
    pixel_scores,
    poisson_interval,
    region_metrics,
    regions_from_masks,
    regions_from_truth,
)
from oddwatch.scorers import build_scorer
from oddwatch.types import (
    Embeddings,
    Event,
    EventMetrics,
    Failure,
    FloatArray,
    FrameMetrics,
    LeaveOneOut,
    Row,
    Sample,
    ScoreTrack,
    TruthEvent,
    VideoInfo,
)
from oddwatch.video import VideoSource, open_video

SMOOTHED_SECONDS = 1.5
"""Smoothed scores are the mean over this much time around each frame: they look into the future."""
PUBLISHED = ("autoencoder", "vector")
"""Scorer of the published method, and what it looks at."""
_CHUNK = 256
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class KnownVideo:
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


def score_stored(detector: Detector, stored: StoredEmbeddings) -> list[ScoreTrack]:
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


def describe(samples: Sequence[Sample]) -> tuple[list[KnownVideo], list[Failure]]:
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
        tests.append(KnownVideo(sample, seconds, labels, truth, regions, sample.masks is not None, info))
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


def note(detector: Detector, folds: int) -> str:
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


def row(detector: Detector, tests: Sequence[KnownVideo], tracks: Sequence[ScoreTrack], *, folds: int) -> Row:
    """All that `evaluate` says of one configuration. folds: of the first one in the table."""
    figures, smoothed = figures_of(tests, [frame_scores(t, track) for t, track in zip(tests, tracks, strict=True)])
    figures = with_places(figures, tests, tracks)
    found, events = events_of(detector, tests, tracks)
    return Row(detector.name, figures, smoothed, events, note(detector, folds), found)


def frame_scores(test: KnownVideo, track: ScoreTrack, *, ahead: bool = False) -> FloatArray:
    """(N,) the latest score known at each frame. Before the first it is 0; ahead: of what may look into the future, the
    first one, which is known by then.
    """
    scores = track.at(test.seconds)
    if ahead and len(track):
        scores[test.seconds + 1e-6 < track.end_seconds[0]] = track.scores[0]
    return scores


def with_places(
    figures: FrameMetrics, tests: Sequence[KnownVideo], tracks: Sequence[ScoreTrack], *, ahead: bool = False
) -> FrameMetrics:
    """The same with what the maps of the tracks say, where there are any and the truth has places. ahead: see
    `frame_scores`.
    """
    regions = [t.regions for t in tests if t.regions is not None]
    if len(regions) != len(tests) or any(track.maps is None for track in tracks):
        return figures
    maps = [_frame_maps(t, track, ahead) for t, track in zip(tests, tracks, strict=True)]
    found = region_metrics(maps, regions)
    derived = any(t.derived for t in tests) if found.regions else None
    pixel = None
    masked = [t.sample.masks for t in tests if t.sample.masks is not None]
    if len(masked) == len(tests):
        scores, labels = zip(*(pixel_scores(m, masks()) for m, masks in zip(maps, masked, strict=True)), strict=True)
        pixel = frame_metrics(scores, labels).micro_auc
    return replace(figures, rbdc=found.rbdc, tbdc=found.tbdc, regions_derived=derived, pixel_auc=pixel)


def events_of(
    detector: Detector, tests: Sequence[KnownVideo], tracks: Sequence[ScoreTrack]
) -> tuple[tuple[tuple[Event, ...], ...], EventMetrics | None]:
    """The events of each track at the detector's threshold, and what they are worth where the truth is known."""
    found = tuple(detector.events(track) for track in tracks)
    known = [i for i, t in enumerate(tests) if t.truth is not None]
    if not known:
        return found, None
    return found, event_metrics(
        [found[i] for i in known],
        [tests[i].truth or () for i in known],
        watched=[tracks[i].stretches for i in known],
        threshold=detector.threshold.value,
        raised_after_seconds=detector.grouping.min_seconds,
    )


def figures_of(tests: Sequence[KnownVideo], scores: Sequence[FloatArray]) -> tuple[FrameMetrics, FrameMetrics]:
    """Figures of scores (N,) per frame of each test video that has labels, as they are and smoothed."""
    labelled = [(t, s) for t, s in zip(tests, scores, strict=True) if t.labels is not None and len(t.labels)]
    labels = [t.labels for t, _ in labelled if t.labels is not None]
    smooth = [_smooth(t.seconds, s) for t, s in labelled]
    return frame_metrics([s for _, s in labelled], labels), frame_metrics(smooth, labels)


def _smooth(seconds: FloatArray, scores: FloatArray) -> FloatArray:
    step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
    size = max(round(SMOOTHED_SECONDS / max(step, 1e-3)), 1)
    return np.asarray(scipy.ndimage.uniform_filter1d(scores, size=size, mode="nearest"))


def _frame_maps(test: KnownVideo, track: ScoreTrack, ahead: bool) -> NDArray[np.float32]:
    """(N, Gh, Gw): the latest map known at each frame, nothing before the first, or as `frame_scores` has it."""
    assert track.maps is not None
    latest = np.searchsorted(track.end_seconds, test.seconds + 1e-6, side="right") - 1
    maps = np.asarray(track.maps[np.maximum(latest, 0)], dtype=np.float32)
    if not ahead:
        maps[latest < 0] = 0
    return maps


def floor_rows(tests: Sequence[KnownVideo], progress: Progress | None) -> list[Row]:
    """What learns nothing, on the test videos that have labels."""
    tests = [t for t in tests if t.labels is not None]
    if not tests:
        return []
    scores: list[list[FloatArray]] = [[] for _ in FLOORS]
    for done, test in enumerate(tests):
        if progress:
            progress("floors that learn nothing", float(done), float(len(tests)))
        seconds, found = floor_scores(test.sample)
        for kept, values in zip(scores, found, strict=True):
            kept.append(values[np.maximum(np.searchsorted(seconds, test.seconds + 1e-6, side="right") - 1, 0)])
    return [Row(name, *figures_of(tests, values)) for name, values in zip(FLOORS, scores, strict=True)]


def leave_one_out_of(detector: Detector, usual: StoredEmbeddings, progress: Progress | None) -> LeaveOneOut | None:
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
        track = score_stored(other, usual.only(index))[0]
        count += len(other.events(track))
        seconds += track.seconds
    hours = seconds / 3600
    budget = detector.budget
    expected = None if budget.per_hour is None else budget.per_hour * hours
    return LeaveOneOut(budget.text, hours, count, poisson_interval(count), expected)
