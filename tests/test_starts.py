"""The first second of a stream of `motion`, and after a gap: less is known then, and nothing is made of that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_detectors import detector_videos, small_detector
from small_videos import images

from oddwatch.backbones import build_backbone
from oddwatch.types import Embeddings, FloatArray, Frame

FPS = 10.0
AFTER = 9
"""A mean with the weight 0.2 varies as one of so many values."""


def frames(count: int, *, since: float = 0.0) -> list[Frame]:
    return [Frame(image, since + i / FPS, i) for i, image in enumerate(images(count / FPS, seed=5))]


def grid(found: Embeddings | None) -> FloatArray:
    assert found is not None
    assert found.grid is not None
    return found.grid


@pytest.mark.parametrize("batch", [1, 4])
def test_the_first_moments_are_told_when_enough_is_known(batch: int) -> None:
    stream = build_backbone("motion").stream()
    given = frames(20) + frames(15, since=30.0)
    parts = [stream.push(given[i : i + batch]) for i in range(0, len(given), batch)]
    told = [i * batch for i, part in enumerate(parts) if part is not None]
    assert told[0] == AFTER // batch * batch
    assert 20 + AFTER in range(next(i for i in told if i >= 20), 20 + AFTER + batch)
    found = Embeddings.concatenate([part for part in parts if part is not None])
    assert len(found) == len(given) - 2
    np.testing.assert_allclose(found.end_seconds, [f.time_seconds for f in (*given[1:20], *given[21:])])
    rows = grid(found)
    for first in (0, 19):
        assert (rows[first : first + AFTER] == rows[first]).all()
        assert (rows[first + AFTER] != rows[first]).any()
    assert stream.close() is None


def test_of_a_shorter_stream_there_is_what_there_is() -> None:
    stream = build_backbone("motion").stream()
    assert stream.push(frames(5)) is None
    found = stream.close()
    assert found is not None
    np.testing.assert_allclose(found.end_seconds, [0.1, 0.2, 0.3, 0.4])
    assert (grid(found)[0] != grid(found)[-1]).any()


def test_a_start_is_as_usual_as_what_comes_later(tmp_path: Path) -> None:
    """Usual video, begun at many moments: its first scores are hardly higher than without a beginning."""
    detector = small_detector(detector_videos(tmp_path))
    given = frames(120)
    stream = detector.backbone.stream()
    whole = detector.score_embeddings(_one(stream.push(given)), "whole").scores
    ratios = []
    for start in range(15, 100, 4):
        stream = detector.backbone.stream()
        begun = detector.score_embeddings(_one(stream.push(given[start : start + AFTER + 1])), "begun").scores
        ratios.append(max(begun) / max(whole[start : start + AFTER]))
    assert np.quantile(ratios, 0.9) < 1.2


def _one(found: Embeddings | None) -> Embeddings:
    assert found is not None
    return found
