"""Measure a detector on a data set: fit on its usual videos, score its test videos, compare with what is simpler.

Nothing is chosen here by looking at test labels: thresholds come from the usual videos, scores are never normalised per
video. A configuration whose scorer does not keep its defaults, or that has other folds than the first, says so in its
note.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from oddwatch.detector import Detector
from oddwatch.embed import EmbeddingCache, EmbeddingStore, Progress, StoredEmbeddings
from oddwatch.errors import MissingExtraError, NotEnoughVideoError, OddwatchError, UsageError
from oddwatch.evaluate.measure import (
    SMOOTHED_SECONDS,
    KnownVideo,
    describe,
    floor_rows,
    frame_scores,
    leave_one_out_of,
    row,
    score_stored,
)
from oddwatch.evaluate.results import to_json
from oddwatch.metrics import frame_metrics
from oddwatch.types import Dataset, Evaluation, Failure, Row, ScoredSample

__all__ = ["evaluate", "to_json"]


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
    described, broken = describe(dataset.split("test"))
    if not described:
        raise OddwatchError(f"{dataset.name}: no test video to score: {_reasons(broken)}")
    grids = any(d.on == "grid" for d in (detector, *others))
    with EmbeddingStore(keep_grids=grids, pictures=True) as usual_store:
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
            tracks = score_stored(detector, test)
            took = time.perf_counter() - began
            rows = [row(detector, tests, tracks, folds=detector.folds)]
            if not learned:
                rows += _compare(others, usual_store.freeze(), test, tests, detector.folds, progress)
        if floors:
            rows += floor_rows(tests, progress)
        loo = leave_one_out_of(detector, usual_store.freeze(), progress) if leave_one_out else None
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
                frame_scores=frame_scores(t, track),
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
        settings={**detector.describe(), "smoothed_seconds": SMOOTHED_SECONDS},
        citation=dataset.citation,
    )


def _reasons(failures: Sequence[Failure]) -> str:
    return "; ".join(map(str, failures)) or "it has none"


def _compare(
    others: Sequence[Detector],
    usual: StoredEmbeddings,
    test: StoredEmbeddings,
    tests: Sequence[KnownVideo],
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
        rows.append(row(other, tests, score_stored(other, test), folds=folds))
    return rows
