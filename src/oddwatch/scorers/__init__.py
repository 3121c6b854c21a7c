"""Scorers by name. A user's own is `module:Class`, a subclass of `Scorer`."""

from __future__ import annotations

from typing import Any

from oddwatch.registry import build, find_class
from oddwatch.scorers.base import Scorer
from oddwatch.scorers.grid import GridScorer

SCORERS: dict[str, str] = {
    "attributes": "oddwatch.scorers.attributes:AttributesScorer",
    "gaussian": "oddwatch.scorers.gaussian:GaussianScorer",
    "blend": "oddwatch.scorers.blend:BlendScorer",
    "knn": "oddwatch.scorers.knn:KnnScorer",
    "centroid": "oddwatch.scorers.centroid:CentroidScorer",
    "autoencoder": "oddwatch.scorers.autoencoder:AutoencoderScorer",
    "convlstm": "oddwatch.scorers.convlstm:ConvLSTMScorer",
}

FOR_EMBEDDINGS = "blend"
"""What `auto` stands for on the vectors of a network with published weights, and on embeddings made elsewhere."""

__all__ = ["FOR_EMBEDDINGS", "SCORERS", "GridScorer", "Scorer", "build_scorer", "scorer_class"]


def scorer_class(name: str) -> type[Scorer]:
    """The class behind a name of `SCORERS` or `module:Class`. Raises UsageError that lists the valid names."""
    return find_class(name, SCORERS, Scorer)  # type: ignore[type-abstract]


def build_scorer(name: str, **options: Any) -> Scorer:
    """A fresh scorer. Raises UsageError for an unknown name or option."""
    return build(name, SCORERS, Scorer, options)  # type: ignore[type-abstract]
