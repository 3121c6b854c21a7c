"""No backbone: embeddings that were made elsewhere and come in files."""

from __future__ import annotations

from typing import Any

from oddwatch.backbones.base import Backbone, BackboneRecord, EmbeddingStream
from oddwatch.errors import UsageError


class GivenEmbeddings(Backbone):
    """Stands in a detector for a network that oddwatch does not have. Vectors of `vector_size` values, one every
    `seconds` seconds.
    """

    record = BackboneRecord("given", "embeddings made elsewhere, in files", vector_size=0, grid_size=None)

    def __init__(self, *, vector_size: int, seconds: float = 1.0) -> None:
        if vector_size < 1 or not seconds > 0:
            raise ValueError(f"vector_size and seconds must be above 0, got {vector_size} and {seconds}")
        self.vector_size, self.seconds = vector_size, seconds

    def options(self) -> dict[str, Any]:
        return {"vector_size": self.vector_size, "seconds": self.seconds}

    def stream(self) -> EmbeddingStream:
        raise UsageError(
            "this detector learned from embeddings made elsewhere and cannot look at video: give it files of embeddings"
        )
