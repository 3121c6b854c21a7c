"""The backbone `histograms` and the scorer `whitened`: what they see and what they take no notice of."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from test_motion import texture

from oddwatch.backbones import build_backbone
from oddwatch.backbones.histograms import HistogramsBackbone
from oddwatch.errors import UsageError
from oddwatch.scorers import build_scorer
from oddwatch.scorers.whitened import WhitenedScorer
from oddwatch.types import FloatArray

FRAMES = 7


def described(
    *,
    x: float = 60,
    y: float = 40,
    step: float = 3,
    pan: int = 0,
    side: int = 48,
    vertical: bool = False,
    **options: Any,
) -> FloatArray:
    """A textured square that goes `step` px a frame before a textured wall, seen by a camera that goes `pan` px."""
    made = build_backbone("histograms", frames=FRAMES, **options)
    assert isinstance(made, HistogramsBackbone)
    wall, square = texture(200, 300, seed=1), texture(48, 48, seed=2)
    images = []
    for i in range(FRAMES):
        gray = wall[30:150, 60 + pan * i : 220 + pan * i].copy()
        left, top = (x - pan * i, y + step * i) if vertical else (x + (step - pan) * i, y)
        matrix = np.array([[1, 0, left], [0, 1, top]], np.float32)
        moved = cv2.warpAffine(square, matrix, (160, 120))
        mask = cv2.warpAffine(np.full_like(square, 255), matrix, (160, 120)) > 127
        images.append(np.repeat(np.where(mask, moved, gray)[..., None], 3, axis=2))
    clip = np.stack([made.prepare(image) for image in images])
    vector, grid = made.embed(clip[None])
    assert grid is None
    return np.asarray(vector[0], np.float64)


def likeness(one: FloatArray, other: FloatArray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_every_kind_weighs_alike() -> None:
    vector = described()
    sizes = [84 * bins for bins in (9, 16, 8)]
    parts = np.split(vector, np.cumsum(sizes)[:-1])
    assert [len(part) for part in parts] == sizes
    assert [float((part**2).sum()) for part in parts] == pytest.approx([1, 1, 1], abs=1e-5)
    assert described(pool="picture").shape == (21 * 33,)


@pytest.mark.parametrize(("changes", "bin_"), [({}, 0), ({"vertical": True, "y": 20}, 2), ({"step": -3}, 4)])
def test_the_direction_is_seen(changes: dict[str, Any], bin_: int) -> None:
    flow = described(**changes)[: 84 * 9].reshape(84, 9)[:, :8]
    assert int((flow**2).sum(0).argmax()) == bin_


def test_place_and_a_turning_camera_matter_little() -> None:
    usual = described()
    other = likeness(usual, described(step=-3))
    assert likeness(usual, described(x=20, y=60)) > 0.9
    assert likeness(usual, described(pan=2)) > 0.85
    assert other < 0.8
    plain = described(pool="picture")
    assert likeness(plain, described(x=20, y=60, pool="picture")) < likeness(usual, described(x=20, y=60))


def test_a_still_clip_is_finite() -> None:
    vector = described(step=0)
    assert np.isfinite(vector).all()
    assert (vector[84 * 9 : 84 * 25] ** 2).sum() < 1.0 + 1e-6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pool": "max"}, "pool is moving or picture, got 'max'"),
        ({"size_px": 64}, "120 px high"),
        ({"frames": 3}, "more"),
    ],
)
def test_wrong_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        build_backbone("histograms", **options)


def kinds(rng: np.random.Generator, count: int) -> tuple[FloatArray, list[str]]:
    """Three kinds, each along an axis of its own; who does it makes far more difference than what is done."""
    labels = rng.integers(0, 3, count)
    rows = rng.normal(size=(count, 12)) * np.r_[[0.3] * 4, [3.0] * 8]
    rows[np.arange(count), labels] += 2
    return rows, [f"kind {label}" for label in labels]


def test_what_varies_within_a_class_counts_little() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    rows, labels = kinds(rng, 300)
    usual, _ = kinds(rng, 100)
    odd, _ = kinds(rng, 100)
    odd[:, :3] = 0
    odd[:, 3] += 2
    truth = np.r_[np.zeros(100), np.ones(100)]
    told, untold = WhitenedScorer().fit(rows, labels=labels), WhitenedScorer().fit(rows)
    areas = [roc_auc_score(truth, scorer.score(np.concatenate([usual, odd]))) for scorer in (told, untold)]
    assert areas[0] > 0.9
    assert areas[0] > areas[1] + 0.03


def test_the_covariance_within_classes_is_whitened() -> None:
    """All but what the shrinkage adds to directions of little variance."""
    rows, labels = kinds(np.random.default_rng(1), 400)
    arrays, _ = WhitenedScorer().fit(rows, labels=labels).state()
    standardised = (rows - arrays["mean"]) / arrays["scale"]
    directions = standardised / np.linalg.norm(standardised, axis=1, keepdims=True)
    turned = (directions - arrays["direction"]) @ arrays["projection"]
    names = np.array(labels)
    residuals = turned - np.stack([turned[names == label].mean(0) for label in labels])
    covariance = residuals.T @ residuals / len(rows)
    variances = np.diag(covariance)
    assert np.abs(covariance - np.diag(variances)).max() < 1e-5
    assert 0.5 < variances.min() < variances.max() < 1.1


def test_labels_are_one_per_row() -> None:
    with pytest.raises(ValueError, match="2 labels for 3 rows"):
        WhitenedScorer().fit(np.eye(3), labels=["a", "b"])
    with pytest.raises(UsageError, match="at least 1"):
        build_scorer("whitened", neighbours=0)
