"""Rows that scorers learn from, usual and unusual."""

from __future__ import annotations

from typing import Any

import numpy as np

from oddwatch.scorers import SCORERS, Scorer, build_scorer, scorer_class
from oddwatch.scorers.base import PIXELS
from oddwatch.types import FloatArray

QUICK: dict[str, dict[str, Any]] = {"autoencoder": {"hidden": (32, 16), "epochs": 30, "batch_size": 32}}
"""Options with which a fit takes a moment; a scorer that is not named here takes its defaults."""
NAMES = sorted(name for name in SCORERS if scorer_class(name).columns != PIXELS)
"""Those of embeddings; the one of pixels has tests of its own."""
COLUMNS = 6


def usual(n: int = 200, *, seed: int = 0, columns: int = COLUMNS) -> FloatArray:
    """Correlated rows in units that differ by column."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, columns)) @ (np.eye(columns) + 0.5 * rng.normal(size=(columns, columns)))
    return np.asarray(mixed * np.linspace(1, 2, columns) + 3, dtype=np.float32)


def unusual(n: int = 20, *, columns: int = COLUMNS) -> FloatArray:
    directions = np.random.default_rng(9).normal(size=(n, columns))
    return np.asarray(3 + 60 * directions / np.linalg.norm(directions, axis=1, keepdims=True), dtype=np.float32)


NAMED_COLUMNS: dict[str, tuple[tuple[float, float], float]] = {
    "speed": ((0.1, 0.2), 2.0),
    "right": ((0.05, 0.1), -1.5),
    "down": ((-0.02, 0.02), 1.0),
    "moving": ((0.3, 0.6), 0.9),
    "stays": ((0.0, 0.02), 0.9),
    "y": ((-0.3, 0.3), 0.45),
    "x": ((-0.6, 0.6), 1.2),
}
"""Usual range and an unusual value of the columns that a scorer may ask for by name; the others are 0 to 0.5."""


def quick(name: str) -> Scorer:
    return build_scorer(name, **QUICK.get(name, {}))


def usual_for(name: str, n: int = 200, *, seed: int = 0) -> FloatArray:
    names = scorer_class(name).columns
    if not names:
        return usual(n, seed=seed)
    rng = np.random.default_rng(seed)
    ranges = [NAMED_COLUMNS.get(column, ((0.0, 0.5), 0.0))[0] for column in names]
    return np.stack([rng.uniform(*one, n) for one in ranges], axis=1).astype(np.float32)


def unusual_for(name: str) -> FloatArray:
    names = scorer_class(name).columns
    if not names:
        return unusual()
    values = [NAMED_COLUMNS.get(column, ((0.0, 0.5), 1.0))[1] for column in names]
    return np.tile(np.array(values, np.float32), (20, 1))
