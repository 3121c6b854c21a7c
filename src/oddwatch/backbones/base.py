"""What a backbone is: frames of one stream in, embeddings out. Knows nothing of scorers, files or cameras."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oddwatch.types import Embeddings, Frame


@dataclass(frozen=True)
class BackboneRecord:
    """What there is to know about a backbone without building it.

    summary: one line for a table. vector_size: D. grid_size: d of the local vectors, None without a grid.
    channels: names of the d local values when each has a meaning of its own. weights: where they come from, None when
    it needs none. licence: of the weights. paper: whom to cite.
    """

    name: str
    summary: str
    vector_size: int
    grid_size: int | None
    channels: tuple[str, ...] = ()
    weights: str | None = None
    licence: str | None = None
    paper: str = ""


class EmbeddingStream(ABC):
    """The state of ONE stream of video."""

    @abstractmethod
    def push(self, frames: Sequence[Frame]) -> Embeddings | None:
        """Embeddings that became known with these frames (in order of time), None when there are none yet."""


class Backbone(ABC):
    """Turns video into embeddings. Options are keywords of the constructor and come back from `options()`."""

    record: BackboneRecord

    @abstractmethod
    def stream(self) -> EmbeddingStream:
        """A fresh state for one stream of video."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Keywords that build an equal backbone again; JSON types only."""
