"""Small videos for detectors, and what is compared of detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from small_videos import write

from oddwatch.detector import Detector
from oddwatch.types import ScoreTrack

USUAL_SECONDS = 30.0
QUICK: dict[str, dict[str, Any]] = {
    "autoencoder": {"hidden": (16, 8), "epochs": 1, "batch_size": 256},
    "knn": {"memory": 50},
}
"""Options with which learning takes a moment; a scorer that is not named here takes its defaults."""


def detector_videos(folder: Path) -> Path:
    """usual.mp4 (30 s), unseen.mp4 (10 s, usual too); left.mp4 and fast.mp4 (8 s, odd during `ODD_SECONDS`)."""
    write(folder / "usual.mp4", USUAL_SECONDS, seed=1)
    write(folder / "unseen.mp4", 10.0, seed=2)
    for odd in ("left", "fast"):
        write(folder / f"{odd}.mp4", 8.0, seed=3, odd=odd)
    return folder


def small_detector(videos: Path) -> Detector:
    """One that has learned usual.mp4."""
    return Detector(scorer="gaussian", budget="1/hour", folds=3).learn(videos / "usual.mp4")


def assert_equal(one: ScoreTrack, other: ScoreTrack) -> None:
    for name in ("start_seconds", "end_seconds", "scores", "boxes", "maps"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)
    assert (one.source, one.info) == (other.source, other.info)


def quick(scorer: str, **options: Any) -> Detector:
    return Detector(scorer=scorer, scorer_options=QUICK.get(scorer, {}), **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
