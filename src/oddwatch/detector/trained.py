"""A detector whose scorer was trained elsewhere: calibrated on held-out usual clips that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.calibration import Calibration
from oddwatch.detector import Detector
from oddwatch.detector.learning import FittedScorer
from oddwatch.detector.moments import Moments
from oddwatch.embed import EmbeddedVideo, StoredEmbeddings
from oddwatch.scorers import Scorer
from oddwatch.scorers.centroid import CentroidScorer
from oddwatch.types import FloatArray, ScoreTrack


@dataclass(frozen=True, eq=False)
class UsualClip:
    """name, label: its path and class. vector: (D,) its embedding. sha256: of its bytes. fps: of a folder of frames."""

    name: str
    label: str
    vector: FloatArray
    seconds: float
    sha256: str | None
    fps: float | None


def trained_detector(
    detector: Detector, scorer: Scorer, *, learned: Sequence[UsualClip], held_out: Sequence[UsualClip]
) -> Detector:
    """`detector`, not fitted yet and on vectors, with this scorer of the same options. learned: what it was trained on;
    held_out: what calibrates it. Raises NotEnoughVideoError when nothing held out has any length.
    """
    scores = scorer.score(np.stack([clip.vector for clip in held_out]))
    tracks = [
        ScoreTrack(clip.name, np.zeros(1), np.array([clip.seconds]), scores[place : place + 1])
        for place, clip in enumerate(held_out)
    ]
    calibration = Calibration(tracks)
    steps = np.arange(len(scores), dtype=np.float64)
    detector._threshold = calibration.threshold(detector.budget, detector._peaks)
    detector._calibration = calibration
    detector._clip_calibration = Calibration([ScoreTrack("clips", steps, steps + 1, scores)])
    detector._clip_seconds = float(np.median([clip.seconds for clip in held_out]))
    detector._fitted = FittedScorer(scorer, detector.on)
    detector.moments = Moments.of(_stored(learned), on="vector", trained=True, seed=detector.seed)
    classes = [clip.label for clip in learned]
    detector._classes = CentroidScorer().fit(np.stack([clip.vector for clip in learned]), labels=classes)
    detector._inputs = [
        {
            "name": clip.name,
            "label": clip.label,
            "sha256": clip.sha256,
            "fps": clip.fps,
            "seconds": round(clip.seconds, 3),
        }
        for clip in (*learned, *held_out)
    ]
    return detector


def _stored(clips: Sequence[UsualClip]) -> StoredEmbeddings:
    """One embedding of each."""
    videos = [
        EmbeddedVideo(clip.name, clip.name, place, place + 1, clip.label, clip.sha256, clip.fps)
        for place, clip in enumerate(clips)
    ]
    return StoredEmbeddings(
        videos=tuple(videos),
        vectors=np.stack([clip.vector for clip in clips]).astype(np.float32),
        times=np.array([(0.0, clip.seconds) for clip in clips]),
        grid_shape=None,
        values=np.zeros((0, 0), np.float32),
        cells=np.zeros(0, np.int32),
        row_bounds=np.zeros((len(clips), 2), np.int64),
    )
