"""A small data set of rendered videos to evaluate a detector on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from small_videos import ODD_SECONDS, write

from oddwatch.detector import Detector
from oddwatch.types import Dataset, Sample, TruthBox, TruthEvent

START, END = ODD_SECONDS
TRUTH = (
    TruthEvent(
        "against",
        START,
        END,
        boxes=(
            TruthBox(START, (0.9, 0.4, 1.0, 0.7)),
            TruthBox(END, (0.15, 0.4, 0.25, 0.7)),
        ),
    ),
)


def dataset_videos(folder: Path) -> Path:
    """usual.mp4 (20 s), quiet.mp4 (6 s, usual) and odd.mp4 (9 s, someone walks against the flow)."""
    write(folder / "usual.mp4", 20.0, seed=1)
    write(folder / "quiet.mp4", 6.0, seed=2)
    write(folder / "odd.mp4", 9.0, seed=3, odd="left")
    return folder


def small_dataset(videos: Path) -> Dataset:
    """To learn from usual.mp4; to test on odd.mp4, whose truth is `TRUTH`, and quiet.mp4."""
    samples = (
        Sample("usual", str(videos / "usual.mp4"), "train", truth=()),
        Sample("odd", str(videos / "odd.mp4"), "test", truth=TRUTH),
        Sample("quiet", str(videos / "quiet.mp4"), "test", truth=()),
    )
    return Dataset("small", samples, "Nobody: Nothing. 2026")


def only(dataset: Dataset, **changes: Any) -> Dataset:
    """The data set with its test video `odd` alone, changed."""
    train, odd, _ = dataset.samples
    return replace(dataset, samples=(train, replace(odd, **changes)))


def gaussian(budget: str = "1/hour") -> Detector:
    return Detector(scorer="gaussian", budget=budget)
