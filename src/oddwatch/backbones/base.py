"""What a backbone is: frames of one stream in, embeddings out. Knows nothing of scorers, files or cameras."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oddwatch.backbones.weights import WeightsRecord
from oddwatch.errors import UsageError
from oddwatch.files import sha256_of
from oddwatch.types import Embeddings, Frame


@dataclass(frozen=True)
class BackboneRecord:
    """What there is to know about a backbone without building it.

    summary: one line for a table. vector_size: D. grid_size: d of the local vectors, None without a grid.
    channels: names of the d local values when each has a meaning of its own. vector_columns: ("pixels",) when a vector
    is pixels, which only scorers that ask for them can look at. weights: those that are published, None
    when it needs none. paper: whom to cite.
    """

    name: str
    summary: str
    vector_size: int
    grid_size: int | None
    channels: tuple[str, ...] = ()
    vector_columns: tuple[str, ...] = ()
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
    name = ""
    """What `build_backbone` built it by; empty when it was built directly."""
    version = 1
    """Counts up when the same video and options give other embeddings than before: what was kept is not used again."""
    settling_seconds: float = 0.0
    """For so long after a stream began, or went on after a gap, embeddings vary more than later: no event is made of
    them alone.
    """
    speed_options: tuple[str, ...] = ()
    """Options that do not change an embedding by more than rounding."""

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process is built anew from the options: what runs a network cannot be sent."""
        return rebuilt, (type(self), self.name, self.options())

    @abstractmethod
    def stream(self) -> EmbeddingStream:
        """A fresh state for one stream of video."""

    def suited_to(self, seconds: Sequence[float]) -> Backbone:
        """What a detector should go on with that learned from videos of these lengths, as this backbone sees them: most
        often the same.
        """
        return self

    def weights_sha256(self) -> str | None:
        """What tells its weights from others, None when it has none. Raises WeightsError when they are not there."""
        return None

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Keywords that build an equal backbone again; JSON types only."""

    def source_sha256(self) -> str | None:
        """Of the file that a class which is not oddwatch's own is written in. Raises UsageError when it is in none."""
        own = type(self)
        if own.__module__.partition(".")[0] == __name__.partition(".")[0]:
            return None
        try:
            return sha256_of(Path(inspect.getfile(own)))
        except (OSError, TypeError) as error:
            raise UsageError(
                f"{own.__qualname__} is in no file, so that nothing can tell when it changes: write it into one"
            ) from error

    def identity(self) -> dict[str, Any]:
        """All that an embedding depends on besides the video, as JSON types. Raises WeightsError.

        Of a class that is not oddwatch's own the source file is part of it, because only its author knows its version.
        """
        own = type(self)
        return {
            "class": f"{own.__module__}:{own.__qualname__}",
            "source_sha256": self.source_sha256(),
            "version": self.version,
            "options": {name: value for name, value in self.options().items() if name not in self.speed_options},
            "weights_sha256": self.weights_sha256(),
        }


def rebuilt(kind: type[Backbone], name: str, options: dict[str, Any]) -> Backbone:
    """One of the same name with these options."""
    made = kind(**options)
    made.name = name
    return made
