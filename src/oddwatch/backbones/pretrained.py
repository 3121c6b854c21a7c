"""What the pretrained clip backbones have in common: weights, precision of the answer, a network built when needed."""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oddwatch.backbones.base import EmbeddingStream
from oddwatch.backbones.clips import ClipBackbone, Pixels
from oddwatch.backbones.weights import PUBLISHED, RANDOM, find_weights, load_strictly
from oddwatch.errors import MissingExtraError
from oddwatch.files import sha256_of

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
_PRECISIONS = ("float32", "bfloat16")


class PretrainedBackbone(ClipBackbone):
    """A network of torch with weights. Frozen: evaluation mode, no gradients.

    weights: `published` (fetched once, kept in the standard cache), a path of a safetensors file or a checkpoint, or
    `random`, which only tests and benchmarks have a use for. seed: of `random`. precision: `float32`, or `bfloat16`,
    which is faster where the processor knows it and moves embeddings by about 1% (docs/backbones.md); a detector
    remembers what it was learned with. model: arguments of the library's own constructor of the network, such as
    smaller sizes for tests. Other options: see `ClipBackbone`.
    """

    speed_options = (*ClipBackbone.speed_options, "weights", "seed")  # the weights' checksum stands for both

    def __init__(
        self,
        *,
        weights: str = PUBLISHED,
        seed: int = 0,
        precision: str = "float32",
        model: dict[str, Any] | None = None,
        **clips: Any,
    ) -> None:
        super().__init__(**clips)
        self._model = dict(model or {})
        if precision not in _PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(_PRECISIONS)}, got {precision!r}")
        self._weights, self._seed, self._precision = weights, seed, precision
        self._network: torch.nn.Module | None = None

    def options(self) -> dict[str, Any]:
        own = {"weights": self._weights, "seed": self._seed, "precision": self._precision}
        return {**own, **({"model": self._model} if self._model else {}), **super().options()}

    def weights_file(self) -> Path | None:
        """Where the weights are, fetched if need be; None for random ones. Raises WeightsError."""
        assert self.record.weights is not None
        return find_weights(self.record.name, self.record.weights, self._weights, notice=log.warning)

    def weights_sha256(self) -> str:
        """What tells these weights from others."""
        file = self.weights_file()
        return f"{RANDOM} {self._seed}" if file is None else sha256_of(file)

    def stream(self) -> EmbeddingStream:
        if self._network is None:
            self.weights_file()  # what is missing is said before the seconds that the imports take
        return super().stream()

    @property
    def network(self) -> torch.nn.Module:
        """The network with its weights, classifier included, frozen. Raises WeightsError, MissingExtraError."""
        if self._network is None:
            file = self.weights_file()
            torch = _torch()
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self._seed)
                network = self.build()
            if file is not None:
                load_strictly(network, file, self.record.name)
            self._network = network.eval().requires_grad_(False)
        return self._network

    def embed(self, clips: Pixels) -> tuple[Pixels, Pixels | None]:
        torch = _torch()
        network = self.network
        fast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision == "bfloat16")
        with torch.inference_mode(), fast:
            vector, grid = self.features(network, torch.from_numpy(np.ascontiguousarray(clips)))
        return vector.float().numpy(), grid.float().numpy()

    @abstractmethod
    def build(self) -> torch.nn.Module:
        """The network with random weights."""

    @abstractmethod
    def features(self, network: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (B, D) and grids (B, Gh, Gw, d) of clips (B, T, H, W, 3), without the classifier."""

    def backbone_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """Names and parameters without the classifier's, in the network's order: what fine-tuning counts in."""
        head = self.classifier
        return [(name, p) for name, p in self.network.named_parameters() if not (head and name.startswith(head))]

    classifier: str
    """What the names of the classifier's parameters begin with; empty where there is none."""


def over_time(features: torch.Tensor) -> torch.Tensor:
    """(B, C, T, H, W) -> (B, H, W, C), the mean over time."""
    return features.mean(2).permute(0, 2, 3, 1)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("a pretrained backbone", "torch", "backbones") from error
    return torch
