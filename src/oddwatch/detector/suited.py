"""Which scorers suit which embeddings."""

from __future__ import annotations

from oddwatch.backbones import GIVEN, backbone_class
from oddwatch.scorers import FOR_EMBEDDINGS, SCORERS, scorer_class


def suited(backbone: str, on: str) -> str:
    """What `auto` stands for: attributes where the channels have meanings, else what takes little video to fit many
    places; for whole frames what knows several usual kinds of them, or suits the embeddings of a trained network; for
    pixels what learns from pixels.
    """
    if on == "vector" and columns(backbone, on):
        return suitable_scorers(backbone, on)[0]
    if on == "vector":
        return FOR_EMBEDDINGS if is_trained(backbone) else "knn"
    return "attributes" if "attributes" in suitable_scorers(backbone, on) else "gaussian"


def is_trained(backbone: str) -> bool:
    """Whether its embeddings are those of a trained network. Raises UsageError."""
    return backbone == GIVEN or backbone_class(backbone).record.weights is not None


def suitable_scorers(backbone: str, on: str) -> list[str]:
    """Names of the scorers that can look at the `vector` or the `grid` of a backbone. Raises UsageError."""
    return [name for name in SCORERS if suits(name, backbone, on)]


def suits(scorer: str, backbone: str, on: str) -> bool:
    """Whether a scorer can look at what a backbone gives. Hundreds of thousands of pixels are for those that ask for
    them: others would need the square of that. Raises UsageError.
    """
    asked, there = tuple(scorer_class(scorer).columns), columns(backbone, on)
    return asked == there or (not asked and on == "grid")


def columns(backbone: str, on: str) -> tuple[str, ...]:
    """Names of the values in a row, none for the `vector` of a network."""
    record = backbone_class(backbone).record
    return (*record.channels, "y", "x") if on == "grid" else record.vector_columns
