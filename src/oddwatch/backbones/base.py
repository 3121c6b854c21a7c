"""What a backbone is: frames of one stream in, embeddings out. Knows nothing of scorers, files or cameras."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oddwatch.backbones.weights import WeightsRecord
from oddwatch.types import Embeddings, Frame


@dataclass(frozen=True)
class BackboneRecord:
    """What there is to know about a backbone without building it.

    summary: one line for a table. vector_size: D. grid_size: d of the local vectors, None without a grid.
    channels: names of the d local values when each has a meaning of its own. weights: those that are published, None
    when it needs none. paper: whom to cite.
    """

    name: str
    summary: str
    vector_size: int
    grid_size: int | None
    channels: tuple[str, ...] = ()
    weights: WeightsRecord | None = None
    paper: str = ""


class EmbeddingStream(ABC):
    """The state of ONE stream of video."""

    @abstractmethod
    def push(self, frames: Sequence[Frame]) -> Embeddings | None:
        """Embeddings that became known with these frames (in order of time), None when there are none yet."""

    def close(self) -> Embeddings | None:
        """What is left to say at the end of the video, None when nothing is. Nothing is pushed after it."""
        return None


class Backbone(ABC):
    """Turns video into embeddings. Options are keywords of the constructor and come back from `options()`."""

    record: BackboneRecord

    @abstractmethod
    def stream(self) -> EmbeddingStream:
        """A fresh state for one stream of video."""

    def weights_sha256(self) -> str | None:
        """What tells its weights from others, None when it has none. Raises WeightsError when they are not there."""
        return None

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Keywords that build an equal backbone again; JSON types only."""
