"""Evaluate a training run: its best checkpoint on every clip of its manifest.

Class centroids are means of the training clips, as they are and not augmented. What is calibrated is calibrated on
validation clips alone; what looks at anomalous clips to choose a threshold is marked as hindsight. Validation clips
also chose the checkpoint, so what they say is a little bright.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.calibration import Budget, Calibration
from oddwatch.datasets.manifest import ManifestClip, read_manifest
from oddwatch.embed import EmbeddingCache, Progress
from oddwatch.errors import NotEnoughVideoError, RunError, UsageError
from oddwatch.files import sha256_of
from oddwatch.finetune.best import Best, load_best
from oddwatch.finetune.clips import View
from oddwatch.finetune.embeddings import embed_usable
from oddwatch.finetune.folder import RunFolder
from oddwatch.runs import NORMAL_SPLITS, SPLITS, Area, Plane, RunEvaluation, ScoredClip, ThresholdRow
from oddwatch.scorers.centroid import CentroidScorer
from oddwatch.types import Failure, FloatArray, ScoreTrack

FALSE_ALARMS = "5%"
"""Share of validation clips that a calibrated threshold may call anomalous."""
MOST_IN_A_PLANE = 2000
_PERPLEXITY = 30.0
_FEWEST_IN_A_PLANE = 5


def evaluate_run(
    run: Path,
    *,
    cache: Path,
    threshold: float | None = None,
    false_alarms: str = FALSE_ALARMS,
    planes: bool = True,
    progress: Progress | None = None,
) -> RunEvaluation:
    """Score every clip of the manifest of the run folder `run` by its best checkpoint.

    cache: folder of kept embeddings. threshold: of the error, to be tabled too. false_alarms: a share, such as `5%`.
    planes: t-SNE too. Clips that cannot be read are left out and kept in `failures`.

    Raises RunError for a run that is not finished, cannot be read or has no clip left to train or validate with,
    UsageError for `false_alarms`, WeightsError, CacheError, MissingExtraError.
    """
    share_of(false_alarms)  # a wrong one is said before any work
    best, folder = load_best(run), RunFolder(run)
    return evaluate_best(
        best,
        read_manifest(run / "manifest.csv"),
        name=run.resolve().name,
        checkpoint=folder.best,
        epochs=folder.metrics(),
        cache=cache,
        threshold=threshold,
        false_alarms=false_alarms,
        planes=planes,
        progress=progress,
    )


def evaluate_best(
    best: Best,
    clips: Sequence[ManifestClip],
    *,
    name: str,
    checkpoint: Path,
    cache: Path,
    epochs: Sequence[dict[str, str]] = (),
    threshold: float | None = None,
    false_alarms: str = FALSE_ALARMS,
    planes: bool = True,
    progress: Progress | None = None,
) -> RunEvaluation:
    """The same for a checkpoint that need not be of a run folder. checkpoint: its file. epochs: rows of how it learned.

    Raises RunError when no clip is left to train or validate with, CacheError, WeightsError.
    """
    scored, classes, failures, rows = score_clips(clips, best, cache=cache, progress=progress)
    for split in ("train", "validation"):
        if not any(clip.split == split for clip in scored):
            says = f": {failures[0]}" if failures else ""
            raise RunError(f"{name}: no {split} clip can be scored{says}")
    asked = best.asked
    found = RunEvaluation(
        name=name,
        backbone=best.record["backbone"],
        untrained=best.record["untrained"],
        clips=scored,
        classes=classes,
        areas=(),
        thresholds=(),
        failures=failures,
        settings={
            **{key: value for key, value in asked.items() if key != "manifest"},
            "versions": best.record.get("versions", {}),
        },
        epochs=tuple(epochs),
        best_epoch=best.record["best_epoch"],
        checkpoint=sha256_of(checkpoint),
        planes=_planes(rows, asked["seed"], progress) if planes else (),
    )
    return summarise(found, threshold=threshold, false_alarms=false_alarms)


def score_clips(
    clips: Sequence[ManifestClip], best: Best, *, cache: Path, progress: Progress | None = None
) -> tuple[tuple[ScoredClip, ...], tuple[str, ...], tuple[Failure, ...], dict[str, FloatArray]]:
    """Clips with their errors and distances, the normal classes, what could not be read, and by space the rows (n, D)
    of the clips.
    """

    def told(done: int, total: int) -> None:
        if progress:
            progress("embedding clips", float(done), float(total))

    views = [View(clip, 0, best.asked["seed"], None) for clip in clips]
    workers = best.asked["data"]["workers"]
    found, failures = embed_usable(views, best.backbone, EmbeddingCache(cache), workers=workers, progress=told)
    train = np.array([view.clip.split == "train" for view, _ in found], dtype=bool)
    if not train.any():
        return (), (), tuple(failures), {}
    embeddings = np.stack([row for _, row in found])
    rows: dict[str, FloatArray] = {"embedding": embeddings, "latent": best.scorer.latent(embeddings)}
    errors = best.scorer.score(embeddings)
    labels = [view.clip.action for view, _ in found if view.clip.split == "train"]
    centroids = {space: CentroidScorer().fit(x[train], labels=labels) for space, x in rows.items()}
    distances = {space: centroids[space].distances(x) for space, x in rows.items()}
    scored = tuple(
        ScoredClip(
            view.clip.path,
            view.clip.action,
            view.clip.split,
            float(errors[i]),
            {space: tuple(map(float, values[i])) for space, values in distances.items()},
        )
        for i, (view, _) in enumerate(found)
    )
    return scored, centroids["embedding"].classes, tuple(failures), rows


def summarise(
    found: RunEvaluation, *, threshold: float | None = None, false_alarms: str = FALSE_ALARMS
) -> RunEvaluation:
    """The same with the areas and thresholds that follow from its clips."""
    ways = ("error", *found.spaces)
    return replace(
        found,
        areas=tuple(_area(found, by, split) for by in ways for split in reversed(NORMAL_SPLITS)),
        thresholds=tuple(row for by in ways for row in _thresholds(found, by, threshold, false_alarms)),
    )


def share_of(false_alarms: str) -> Budget:
    """Raises UsageError for what is no share: a clip has no clock."""
    budget = Budget.parse(false_alarms)
    if budget.p is None:
        raise UsageError(f"a clip has no clock, so {budget.text!r} does not apply to it: write a share such as 5%")
    return budget


def _area(found: RunEvaluation, by: str, split: str) -> Area:
    from sklearn.metrics import roc_auc_score

    normal, anomalous = found.scores(by, split), found.scores(by, "anomaly")
    auroc = None
    if len(normal) and len(anomalous):
        labels = np.r_[np.zeros(len(normal), bool), np.ones(len(anomalous), bool)]
        auroc = float(roc_auc_score(labels, np.r_[normal, anomalous]))
    return Area(by, split, len(anomalous), len(normal), auroc)


def _thresholds(found: RunEvaluation, by: str, given: float | None, false_alarms: str) -> list[ThresholdRow]:
    rows = []
    if given is not None and by == "error":
        rows.append(_row(found, by, "given", "given", given))
    validation = found.scores(by, "validation")
    value, says = calibrated(validation, share_of(false_alarms))
    rows.append(_row(found, by, "calibrated", says, value))
    best = _in_hindsight(found.scores(by, "test"), found.scores(by, "anomaly"))
    if best is not None:
        says = "best in hindsight: chosen with the anomalies and the test clips in view"
        rows.append(_row(found, by, "hindsight", says, best))
    return rows


def calibrated(held_out: FloatArray, share: Budget) -> tuple[float, str]:
    """The threshold above which this share of usual clips is expected, and where it comes from in words. held_out: (n,)
    their scores.
    """
    steps = np.arange(len(held_out), dtype=np.float64)
    try:
        found = Calibration([ScoreTrack("clips", steps, steps + 1, held_out)]).threshold(share, lambda *_: ())
    except NotEnoughVideoError as error:
        raise RunError("all validation clips score 0: nothing can be calibrated on them, train again") from error
    extrapolated = ", extrapolated: they are too few to certify it" if found.extrapolated else ""
    return found.value, f"{share.text} false alarms, calibrated on {len(held_out)} validation clips{extrapolated}"


def _in_hindsight(normal: FloatArray, anomalous: FloatArray) -> float | None:
    """Where the mean of the two accuracies is highest; the highest such value, midway between two scores."""
    if not (len(normal) and len(anomalous)):
        return None
    scores = np.unique(np.r_[normal, anomalous])
    candidates = np.r_[scores[0], (scores[:-1] + scores[1:]) / 2]
    right = [(normal < c).mean() + (anomalous >= c).mean() for c in candidates]
    return float(candidates[len(right) - 1 - int(np.argmax(right[::-1]))])


def _row(found: RunEvaluation, by: str, kind: str, chosen: str, value: float) -> ThresholdRow:
    accuracy: dict[str, float | None] = {}
    for split in SPLITS:
        scores = found.scores(by, split)
        right = scores >= value if split == "anomaly" else scores < value
        accuracy[split] = float(right.mean()) if len(right) else None
    return ThresholdRow(by, kind, chosen, value, accuracy)


def _planes(rows: dict[str, FloatArray], seed: int, progress: Progress | None) -> tuple[Plane, ...]:
    """t-SNE of each space (van der Maaten and Hinton 2008), of at most 2,000 clips."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    planes = []
    for done, (space, x) in enumerate(rows.items()):
        if progress:
            progress("t-SNE", float(done), float(len(rows)))
        if len(x) < _FEWEST_IN_A_PLANE:
            continue
        chosen = np.arange(len(x))
        if len(x) > MOST_IN_A_PLANE:
            chosen = np.sort(np.random.default_rng(seed).choice(len(x), MOST_IN_A_PLANE, replace=False))
        options: dict[str, Any] = {"perplexity": min(_PERPLEXITY, (len(chosen) - 1) / 3), "init": "pca"}
        with threadpool_limits(1):  # its threads wait for each other a thousand times: minutes on a busy machine
            places = TSNE(2, random_state=seed, **options).fit_transform(np.asarray(x[chosen], dtype=np.float32))
        planes.append(Plane(space, np.asarray(places, dtype=np.float64), chosen))
    return tuple(planes)
