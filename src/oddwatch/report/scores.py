"""The scores of every frame, or of every embedding, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from oddwatch.types import Comparison, ScoredSample


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


def comparison_csv(comparison: Comparison) -> str:
    """view, scene, embedding (from 0 in its file), frames, unusual_frames, and the score by each scorer."""
    names = [row.name for row in comparison.scorers if row.figures]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["view", "scene", "embedding", "frames", "unusual_frames", *names])
    for view in comparison.views:
        columns = [view.scores[name].tolist() for name in names]
        for i, (scene, labels) in enumerate(zip(view.scenes, view.frame_labels, strict=True)):
            numbers = (repr(column[i]) for column in columns)
            writer.writerow((view.name, scene, i, len(labels), int(labels.sum()), *numbers))
    return text.getvalue()
