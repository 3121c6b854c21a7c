"""Which scorers suit which embeddings."""

from __future__ import annotations

from oddwatch.backbones import GIVEN, backbone_class
from oddwatch.scorers import FOR_EMBEDDINGS, SCORERS, scorer_class


def suited(backbone: str, on: str) -> str:
    """What `auto` stands for: attributes where the channels have meanings, else what takes little video to fit many
    places; for whole frames what knows several usual kinds of them, or suits the embeddings of a trained network.
    """
    if on == "vector":
        trained = backbone == GIVEN or backbone_class(backbone).record.weights is not None
        return FOR_EMBEDDINGS if trained else "knn"
    return "attributes" if "attributes" in suitable_scorers(backbone, on) else "gaussian"


def suitable_scorers(backbone: str, on: str) -> list[str]:
    """Names of the scorers that can look at the `vector` or the `grid` of a backbone. Raises UsageError."""
    there = columns(backbone, on)
    return [name for name in SCORERS if scorer_class(name).columns in ((), there)]


def columns(backbone: str, on: str) -> tuple[str, ...]:
    """Names of the values in a row, none for a `vector`."""
    return (*backbone_class(backbone).record.channels, "y", "x") if on == "grid" else ()
