"""A detector: backbone + scorer + calibration. Learns usual video, scores new video, saved and loaded as a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from oddwatch import __version__
from oddwatch.backbones import GIVEN, backbone_class, build_backbone
from oddwatch.backbones.given import GivenEmbeddings
from oddwatch.calibration import Budget, Calibration, Threshold
from oddwatch.detector.compatible import check_learned_with, code, computed_otherwise, versions, with_quantized
from oddwatch.detector.folder import read_folder, write_folder
from oddwatch.detector.learning import FittedScorer, hold_out, inputs_of, maker
from oddwatch.detector.moments import Moments, SimilarMoment
from oddwatch.detector.suited import is_trained, suitable_scorers, suited, suits
from oddwatch.detector.verdict import ClipVerdict
from oddwatch.embed import (
    EmbeddingCache,
    EmbeddingStore,
    Entry,
    Progress,
    StoredEmbeddings,
    cached_video,
    fingerprint,
    too_short,
)
from oddwatch.embed.given import scenes
from oddwatch.embedding_file import EmbeddingFile
from oddwatch.errors import DetectorError, MissingExtraError, NotEnoughVideoError, OddwatchError, UsageError, VideoError
from oddwatch.grouping import Grouping, group, sustained_levels
from oddwatch.scorers import build_scorer
from oddwatch.scorers.centroid import CentroidScorer
from oddwatch.types import Embeddings, Event, Failure, FloatArray, ScoreTrack, VideoInfo
from oddwatch.video import display_name, list_videos, same_video

log = logging.getLogger(__name__)
On = Literal["auto", "vector", "grid"]
CLIP_SHARE = Budget.parse("5%")
"""Share of usual clips that the default clip threshold calls anomalous."""


class Detector:
    """Learns what is usual and scores anything else.

    backbone, scorer: names (`oddwatch backbones`, `oddwatch scorers`) or `module:Class`; scorer `auto` and on `auto`
    resolve to what suits the backbone. on: score the `vector` of the whole frame or the `grid` of places.
    budget: false alarms allowed, such as `2/day`. folds: parts that usual video is held out in. seed: of all that is
    random, unless `scorer_options` has another for the scorer.

    >>> Detector().scorer_name, Detector(on="vector").scorer_name
    ('attributes', 'knn')
    """

    def __init__(
        self,
        *,
        backbone: str = "motion",
        scorer: str = "auto",
        on: On = "auto",
        budget: str = "2/day",
        backbone_options: dict[str, Any] | None = None,
        scorer_options: dict[str, Any] | None = None,
        grouping: Grouping | None = None,
        folds: int = 5,
        seed: int = 42,
    ) -> None:
        record = backbone_class(backbone).record
        if on not in ("auto", "vector", "grid"):
            raise UsageError(f"on is auto, vector or grid, got {on!r}")
        if on == "grid" and record.grid_size is None:
            raise UsageError(f"backbone {backbone!r} has no grid: use on=vector")
        if folds < 2:
            raise UsageError(f"folds is at least 2, got {folds}")
        self.on: Literal["vector", "grid"] = on if on != "auto" else ("vector" if record.grid_size is None else "grid")
        self.scorer_name = scorer if scorer != "auto" else suited(backbone, self.on)
        if not suits(self.scorer_name, backbone, self.on):
            raise UsageError(
                f"scorer {self.scorer_name!r} does not suit {backbone} on {self.on}: choose one of "
                f"{', '.join(suitable_scorers(backbone, self.on))}"
            )
        self.backbone_name = backbone
        self.backbone = build_backbone(backbone, **(backbone_options or {}))
        self.grouping = grouping or Grouping(settling_seconds=self.backbone.settling_seconds)
        self.budget = Budget.parse(budget)
        self.folds = folds
        self.seed = seed
        self.failures: tuple[Failure, ...] = ()
        """Videos that the last `learn` could not use."""
        self.moments = Moments.none()
        """Usual moments to show beside what is unusual."""
        self.scorer_options = dict(scorer_options or {})
        if "seed" in self._build_scorer().options:
            self.scorer_options.setdefault("seed", seed)
        self._fitted: FittedScorer | None = None
        self._classes: CentroidScorer | None = None
        self._calibration: Calibration | None = None
        self._clip_calibration: Calibration | None = None
        self._clip_seconds = 0.0
        self._threshold: Threshold | None = None
        self._grid_shape: tuple[int, int, int] | None = None
        self._inputs: list[dict[str, Any]] = []
        self._learned_with: dict[str, Any] | None = None  # options of the backbone, where it has been exchanged since

    @property
    def name(self) -> str:
        """Its configuration in short, such as `motion, gaussian on grid`."""
        return f"{self.backbone_name}, {self.scorer_name} on {self.on}"

    # learning

    def learn(
        self,
        videos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        budget: str | None = None,
        fps: float | None = None,
        labels: dict[str, str] | None = None,
        cache: EmbeddingCache | None = None,
        pictures: bool = True,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from usual video: files, folders, file lists (`x.txt`), folders of frames (with `fps`).

        budget: replaces that of the constructor. labels: class of a video by its path; without, all are one class.
        cache: where embeddings are kept, so that the next run need not make them again. pictures: keep small ones of
        usual moments, of videos that are not taken from the cache, for `similar`.
        Videos that cannot be used are kept in `failures`. Raises VideoError when none can be used, NotEnoughVideoError
        when there is too little, UsageError for a budget that is none and for a label of a video that is not given.
        """
        if budget is not None:
            Budget.parse(budget)  # before any work
        given = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
        listing = list_videos([os.fspath(v) for v in given])
        classes = {same_video(path): (path, label) for path, label in (labels or {}).items()}
        known = {same_video(path) for path in listing.videos}
        if strange := [path for real, (path, _) in classes.items() if real not in known]:
            raise UsageError(f"labels has {strange[0]!r}, which is none of the videos to learn from: check the path")
        with EmbeddingStore(keep_grids=self.on == "grid", pictures=pictures) as store:
            store.failures.extend(listing.failures)
            for path in listing.videos:
                label = classes.get(same_video(path), (path, "usual"))[1]
                store.add_video(path, self.backbone, fps=fps, label=label, cache=cache, progress=progress)
            return self._learn(store, budget, progress)

    def learn_kept(
        self,
        entries: Sequence[Entry],
        *,
        budget: str | None = None,
        labels: dict[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from embeddings that an `EmbeddingCache` has, without their videos. Arguments and errors: as `learn`.

        Raises UsageError also for embeddings of another backbone and for those without the grids that `on` needs.
        """
        identity = self.backbone.identity()
        for entry in entries:
            if entry.identity != identity:
                raise UsageError(f"{entry.path}: its embeddings are of another backbone, other options or weights")
            if self.on == "grid" and not entry.grids:
                raise UsageError(f"{entry.path}: its embeddings have no grids: embed with --grid, or learn on vector")
        with EmbeddingStore(keep_grids=self.on == "grid") as store:
            for entry in entries:
                store.add_entry(entry, label=(labels or {}).get(entry.path, "usual"))
            return self._learn(store, budget, progress)

    def learn_given(
        self,
        files: Sequence[EmbeddingFile],
        *,
        budget: str | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from the usual scenes of files of embeddings that were made elsewhere; the backbone is `given`.

        Arguments and errors: as `learn`. Raises UsageError also for vectors of another size.
        """
        backbone = self.backbone
        if not isinstance(backbone, GivenEmbeddings):
            raise UsageError(f"embeddings made elsewhere need backbone {GIVEN!r}, not {self.backbone_name!r}")
        with EmbeddingStore(keep_grids=False) as store:
            for file in files:
                if (size := file.embeddings.shape[1]) != backbone.vector_size:
                    raise UsageError(f"{file.path} has embeddings of {size} values, not {backbone.vector_size}")
                if not file.usual.any():
                    raise UsageError(f"{file.path} has no scene in which nothing is unusual: nothing to learn from")
                for source, embeddings in scenes(file, backbone, only_usual=True):
                    store.add_scene(source, embeddings, sha256=fingerprint(str(file.path)))
            return self._learn(store, budget, progress)

    def _learn(self, store: EmbeddingStore, budget: str | None, progress: Progress | None) -> Self:
        self.failures = tuple(store.failures)
        if not store.videos:
            if not store.failures:
                raise UsageError("no video was given to learn from")
            first, *others = self.failures
            more = f" (and {len(others)} more that cannot be used)" if others else ""
            raise VideoError(first.source, first.reason + more)
        return self.fit(store.freeze(), budget=budget, progress=progress)

    def fit(
        self,
        stored: StoredEmbeddings,
        *,
        budget: str | None = None,
        calibrate: bool = True,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from embeddings. budget: as in `learn`. calibrate: hold usual video out for p-values and thresholds;
        without it the detector only scores. Raises NotEnoughVideoError.
        """
        asked = self.budget if budget is None else Budget.parse(budget)
        if len(stored) < 2:
            raise NotEnoughVideoError("the usual video is too short to learn from: give at least a few seconds")
        make = maker(stored, self._build_scorer, self.on, seed=self.seed, times=self.folds + 1, progress=progress)
        fitted = make(np.arange(len(stored)))
        fitted.survey(stored)
        calibration, clip_calibration, threshold, clip_seconds = None, None, None, 0.0
        if calibrate:
            settling = self.grouping.settling_seconds
            held_out = hold_out(stored, make, folds=self.folds, whole=fitted, settling_seconds=settling)
            calibration = Calibration(held_out.tracks)
            steps = np.arange(len(held_out.clip_scores), dtype=np.float64)
            clips = ScoreTrack("clips", steps, steps + 1, held_out.clip_scores)
            clip_calibration = Calibration([clips])
            clip_seconds = float(np.median(held_out.clip_seconds))
            threshold = calibration.threshold(asked, self._peaks)
            self.moments = Moments.of(stored, on=self.on, trained=is_trained(self.backbone_name), seed=self.seed)
        self._fitted = fitted
        clips_mean = np.stack([stored.vectors[v.first : v.last].mean(axis=0) for v in stored.videos])
        self._classes = CentroidScorer().fit(clips_mean, labels=[v.label for v in stored.videos])
        self._calibration, self._clip_calibration, self._threshold = calibration, clip_calibration, threshold
        self._clip_seconds = clip_seconds
        self.budget, self._grid_shape, self._learned_with = asked, stored.grid_shape, None
        self._inputs = inputs_of(stored)
        self.backbone = self.backbone.suited_to([one["seconds"] for one in self._inputs])
        return self

    def _build_scorer(self) -> Any:
        return build_scorer(self.scorer_name, **self.scorer_options)

    def _peaks(self, track: ScoreTrack, threshold: float) -> list[float]:
        return sustained_levels(track, threshold, replace(self.grouping, settling_seconds=0.0))  # pieces of video

    # scoring

    def score(
        self,
        video: str | os.PathLike[str],
        *,
        fps: float | None = None,
        maps: bool = False,
        cache: EmbeddingCache | None = None,
        progress: Progress | None = None,
    ) -> ScoreTrack:
        """The score track of one video, using no frame later than the moment it scores. maps: keep the anomaly maps
        (memory grows with the video). cache: where embeddings are taken from and kept. Raises VideoError.
        """
        return self._score(os.fspath(video), fps=fps, maps=maps, cache=cache, progress=progress)[0]

    def score_embeddings(
        self, embeddings: Embeddings, source: str, *, maps: bool = True, reasons_from: float = 0.0
    ) -> ScoreTrack:
        """The score track of embeddings of this detector's backbone. reasons_from: lower scores get none, which is
        quicker. Raises VideoError for another shape of picture.
        """
        return self._learned().track(embeddings, source, self._grid_shape, maps=maps, reasons_from=reasons_from)

    def similar(
        self, embeddings: Embeddings, *, anomaly_map: FloatArray | None = None, most: int = 3
    ) -> tuple[SimilarMoment, ...]:
        """The usual moments that are most like the first of these embeddings; on a grid most like it at the highest
        cell of its anomaly map (Gh, Gw), which is made without one. Empty when `moments` is.
        """
        cell = self._learned().highest_cell(embeddings, anomaly_map)
        return self.moments.similar(embeddings, cell, most=most)

    def _score(
        self, path: str, *, fps: float | None, maps: bool, cache: EmbeddingCache | None, progress: Progress | None
    ) -> tuple[ScoreTrack, np.ndarray[Any, Any]]:
        """The track, and the mean vector of the whole video (1, D)."""
        self._learned()
        parts: list[ScoreTrack] = []
        info: VideoInfo | None = None
        total, count = 0.0, 0
        grids = self.on == "grid"
        for info, embeddings in cached_video(path, self.backbone, cache, grids=grids, fps=fps, progress=progress):
            parts.append(self.score_embeddings(embeddings, info.name, maps=maps))
            total, count = total + embeddings.vector.sum(axis=0, dtype=np.float64), count + len(embeddings)
        if not parts or info is None:
            raise too_short(display_name(path))
        return replace(ScoreTrack.concatenate(parts), info=info), np.asarray(total / count, dtype=np.float32)[None]

    def score_clip(
        self,
        video: str | os.PathLike[str],
        *,
        fps: float | None = None,
        budget: str | None = None,
        threshold: float | None = None,
        cache: EmbeddingCache | None = None,
        progress: Progress | None = None,
    ) -> ClipVerdict:
        """The article's way: ONE score for a whole clip (Randellini 2023). The threshold is the one given, or the one
        that calls `budget` (a share such as `5%`, the default) of usual clips anomalous: the videos that it learned
        from, or pieces of them when there were fewer than ten. Clips of another length score differently, on a grid
        most of all, where the highest moment counts; a warning is logged. Raises VideoError, UsageError.
        """
        if budget is not None and threshold is not None:
            raise UsageError("give a budget or a threshold, not both")
        given = threshold
        threshold = self.clip_threshold(budget).value if given is None else given
        track, mean = self._score(os.fspath(video), fps=fps, maps=False, cache=cache, progress=progress)
        if given is None and not 0.5 <= track.seconds / max(self._clip_seconds, 1e-6) <= 2:
            log.warning(
                "%s: a clip of %.1f s is judged by usual clips of about %.1f s: learn from clips of its length, or "
                "give a threshold",
                track.source,
                track.seconds,
                self._clip_seconds,
            )
        assert self._classes is not None
        score = self._learned().clip_score(mean, track.scores)
        distances = self._classes.distances(mean)[0]
        nearest = int(distances.argmin())
        return ClipVerdict(track.source, score, threshold, self._classes.classes[nearest], float(distances[nearest]))

    def events(self, track: ScoreTrack, *, threshold: float | None = None) -> tuple[Event, ...]:
        """Events of a track at a threshold (default: the budget's), each with its p-value when calibrated."""
        level = self.threshold.value if threshold is None else threshold
        found = group(track, level, self.grouping)
        if self._calibration is None:
            return found
        return tuple(replace(e, p_value=float(self._calibration.p_value(e.peak_score))) for e in found)

    @property
    def grid_shape(self) -> tuple[int, int, int] | None:
        """(Gh, Gw, d) of the grids that it learned from, None where there were none."""
        return self._grid_shape

    @property
    def scorer_says(self) -> str:
        """What its scorer has to say of what became of it, empty when that is nothing."""
        says: str = self._learned().scorer.says()
        return says

    @property
    def calibrated(self) -> bool:
        """Whether it knows p-values and thresholds."""
        return self._calibration is not None

    @property
    def threshold(self) -> Threshold:
        """The alert threshold of the budget it learned with."""
        if self._threshold is None:
            raise DetectorError("the detector has no threshold: it was fitted with calibrate=False")
        return self._threshold

    @property
    def calibration(self) -> Calibration:
        """Held-out scores of usual video."""
        self._learned()
        if self._calibration is None:
            raise DetectorError("the detector has no calibration: it was fitted with calibrate=False")
        return self._calibration

    def threshold_for(self, budget: str) -> Threshold:
        """The alert threshold of another budget."""
        return self.calibration.threshold(Budget.parse(budget), self._peaks)

    def clip_threshold(self, budget: str | None = None) -> Threshold:
        """The threshold of a share of usual clips, such as `5%`. Raises UsageError for a rate: a clip has no clock."""
        share = CLIP_SHARE if budget is None else Budget.parse(budget)
        if share.p is None:
            raise UsageError(f"a clip has no clock, so {share.text!r} does not apply to it: write a share such as 5%")
        self._learned()
        if self._clip_calibration is None:
            raise DetectorError("the detector has no calibration: it was fitted with calibrate=False")
        found = self._clip_calibration.threshold(share, self._peaks)
        n = len(self._clip_calibration.scores)
        return replace(
            found,
            says=f"{share.text} of usual clips of about {self._clip_seconds:.0f} s, from {n} held out"
            + (", extrapolated" if found.extrapolated else ""),
        )

    def _learned(self) -> FittedScorer:
        if self._fitted is None:
            raise DetectorError("the detector has not learned anything yet: call learn, or load one")
        return self._fitted

    # saving

    def describe(self) -> dict[str, Any]:
        """All settings and what it learned from, as JSON types."""
        return {
            "backbone": {
                "name": self.backbone_name,
                "options": self._learned_with or self.backbone.options(),
                "weights_sha256": self.backbone.weights_sha256(),
                **code(self.backbone),
            },
            "scorer": {"name": self.scorer_name, "options": self._build_scorer().options, "on": self.on},
            "grouping": asdict(self.grouping),
            "budget": self.budget.text,
            "folds": self.folds,
            "seed": self.seed,
            "inputs": self._inputs,
            "versions": versions(),
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the detector as a folder, replacing a detector that is there, at once. Raises DetectorError."""
        fitted = self._learned()
        assert self._classes is not None
        if self._calibration is None or self._clip_calibration is None or self._threshold is None:
            raise DetectorError("only a calibrated detector can be saved: fit it with calibrate=True")
        scorer_arrays, scorer_meta = fitted.scorer.state()
        class_arrays, class_meta = self._classes.state()
        times, blocks = self._calibration.state()
        kept, moments = self.moments.state()
        record = {
            "oddwatch": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **self.describe(),
            "threshold": asdict(self._threshold),
            "clip_seconds": self._clip_seconds,
            "grid_shape": list(self._grid_shape) if self._grid_shape else None,
            "state": {"scorer": scorer_meta, "classes": class_meta, "calibration": blocks, "moments": moments},
        }
        clips = {"scores": self._clip_calibration.scores}
        tensors = dict(scorer=scorer_arrays, classes=class_arrays, calibration=times, clips=clips, moments=kept)
        write_folder(Path(folder), record, tensors)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        runtime: str | None = None,
        precision: str | None = None,
        device: str | None = None,
        quantized: str | None = None,
    ) -> Detector:
        """Read a saved detector. Raises DetectorError: not one, damaged, half-written, or from a newer version.

        runtime, precision, device: compute its backbone in another way than it learned with; quantized: with this file
        in INT8, or where the one it learned with lies now. How far that moves embeddings is measured and logged as a
        warning; by more than 2% is refused with a DetectorError.
        """
        record, tensors = read_folder(Path(folder))
        asked_for = dict(runtime=runtime, precision=precision, device=device, quantized=quantized)
        try:
            detector = cls(
                backbone=record["backbone"]["name"],
                backbone_options=with_quantized(record["backbone"]["options"], quantized),
                scorer=record["scorer"]["name"],
                scorer_options=record["scorer"]["options"],
                on=record["scorer"]["on"],
                budget=record["budget"],
                grouping=Grouping(**record["grouping"]),
                folds=record["folds"],
                seed=record["seed"],
            )
            check_learned_with(detector.backbone, record["backbone"])
            state = record["state"]
            scorer = detector._build_scorer().restore(tensors["scorer"], state["scorer"])
            detector._fitted = FittedScorer(scorer, detector.on)
            detector._classes = CentroidScorer().restore(tensors["classes"], state["classes"])
            detector._calibration = Calibration.from_state(tensors["calibration"], state["calibration"])
            if "moments" in tensors:  # detectors of before there were any have none
                detector.moments = Moments.from_state(tensors["moments"], state["moments"])
            clips = tensors["clips"]["scores"]
            steps = np.arange(len(clips), dtype=np.float64)
            detector._clip_calibration = Calibration([ScoreTrack("clips", steps, steps + 1, clips)])
            detector._clip_seconds = float(record["clip_seconds"])
            detector._threshold = Threshold(**record["threshold"])
            shape = record["grid_shape"]
            detector._grid_shape = (shape[0], shape[1], shape[2]) if shape else None
            detector._inputs = record["inputs"]
            if asked := {name: value for name, value in asked_for.items() if value is not None}:
                learned = detector.backbone
                detector.backbone = computed_otherwise(learned, asked)
                detector._learned_with = learned.options()
        except MissingExtraError as error:
            raise DetectorError(f"{folder} learned with what is not installed here: {error}") from error
        except OddwatchError:
            raise
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError) as error:
            raise DetectorError(f"{folder} is damaged: {error!r} (learn again or restore a copy)") from error
        return detector
