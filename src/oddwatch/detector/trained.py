"""A detector whose scorer was trained elsewhere: calibrated on held-out usual clips that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddwatch.calibration import Calibration
from oddwatch.detector import Detector
from oddwatch.detector.learning import FittedScorer
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
