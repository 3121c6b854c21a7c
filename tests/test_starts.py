"""The first second of a stream of `motion`, and after a gap: less is known then, and nothing is told of that alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_detectors import detector_videos, small_detector
from small_videos import images

from oddwatch.backbones import build_backbone
from oddwatch.backbones.motion.carried import Carried
from oddwatch.detector import Detector
from oddwatch.grouping import group
from oddwatch.types import Embeddings, FloatArray, Frame

FPS = 10.0
SETTLED = 9
"""A mean with the weight 0.2 varies as a plain one of so many values."""


def frames(count: int, *, since: float = 0.0) -> list[Frame]:
    return [Frame(image, since + i / FPS, i) for i, image in enumerate(images(count / FPS, seed=5))]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return small_detector(detector_videos(tmp_path_factory.mktemp("starts")))


def test_it_takes_as_long_as_the_mean_does() -> None:
    assert build_backbone("motion").settling_seconds == pytest.approx(0.9)
    assert build_backbone("motion", carry=1.0).settling_seconds == pytest.approx(0.1)
    assert build_backbone("motion", carry=0.01).settling_seconds == 2.0
    assert build_backbone("histograms").settling_seconds == 0.0


def test_means_of_few_values_vary_more() -> None:
    """As many as `count` says: of noise, whose plain mean of n values has a variance of 1 / n."""
    rng = np.random.default_rng(0)
    carried, still = Carried(0.2), np.zeros((2, 100, 100), np.float32)
    for number in range(1, 31):
        noise = rng.normal(size=(1, 100, 100)).astype(np.float32)
        mean = carried.step(np.concatenate([np.full_like(noise, 9.0), noise]), still, 0.1)
        assert carried.count == pytest.approx(min(number, SETTLED))
        assert mean[1].var() == pytest.approx(1 / carried.count, rel=0.2)
    assert mean[1].var() == pytest.approx(1 / SETTLED, rel=0.1)


def test_a_high_score_at_the_start_is_no_event(detector: Detector) -> None:
    """Usual video, begun at many moments: the first scores are often the highest."""
    given, higher = frames(120), 0
    prompt = replace(detector.grouping, min_seconds=0.0)
    for start in range(15, 100, 4):
        embedded = detector.backbone.stream().push(given[start : start + 2 * SETTLED])
        assert embedded is not None
        track = detector.score_embeddings(embedded, "begun")
        level = 1.2 * float(track.scores[SETTLED - 1 :].max())
        found = group(track, level, replace(prompt, settling_seconds=0.0))
        higher += found != ()
        assert group(track, level, prompt) == ()
    assert higher > 5


def test_offline_means_at_the_ends_are_of_what_there_is() -> None:
    """The first moment is known almost only from what comes after it, and weighs as the one value that it is."""
    given, options = frames(40), {"quality": "fine", "carry": 0.2}
    causal, offline = (build_backbone("motion", **options, offline=offline) for offline in (False, True))
    forward = _grid(causal.stream().push(given))
    stream = offline.stream()
    both = _grid(Embeddings.concatenate([e for e in (stream.push(given), stream.close()) if e is not None]))
    assert both.shape == forward.shape
    edges = slice(4, 8)
    spread = [abs(both[i, ..., edges] - forward[i, ..., edges]).mean() for i in (0, -1)]
    assert spread[0] > 2 * spread[1]  # the last one is known from what was before it


def _grid(found: Embeddings | None) -> FloatArray:
    assert found is not None
    assert found.grid is not None
    return found.grid
