"""The scores of every frame as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from oddwatch.types import ScoredSample


def scores_csv(samples: Sequence[ScoredSample]) -> str:
    """video, frame (from 0 in each video), seconds, score, label (1 unusual, 0 usual, empty when it is not known)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "frame", "seconds", "score", "label"])
    for sample in samples:
        labels = [""] * len(sample.frame_scores) if sample.frame_labels is None else sample.frame_labels.astype(int)
        numbers = zip(sample.frame_seconds.tolist(), sample.frame_scores.tolist(), labels, strict=True)
        for frame, (seconds, score, label) in enumerate(numbers):
            writer.writerow((sample.sample.name, frame, f"{seconds:.4f}", repr(score), label))
    return text.getvalue()
