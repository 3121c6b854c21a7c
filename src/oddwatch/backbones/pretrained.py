"""What the pretrained clip backbones have in common: weights, how they are computed, a network built when needed."""

from __future__ import annotations

import copy
import json
import logging
import os
from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from oddwatch.backbones.base import EmbeddingStream
from oddwatch.backbones.clips import ClipBackbone, Pixels
from oddwatch.backbones.compute import Compute, Embedder, torch_embedder
from oddwatch.backbones.weights import PUBLISHED, RANDOM, find_weights, load_strictly
from oddwatch.errors import MissingExtraError, WeightsError
from oddwatch.files import sha256_of

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
INT8 = {"runtime": "openvino", "precision": "int8"}
"""What goes with a file that was quantized."""


class PretrainedBackbone(ClipBackbone):
    """A network of torch with weights. Frozen: evaluation mode, no gradients.

    weights: `published` (fetched once, kept in the standard cache), a path of a safetensors file or a checkpoint, or
    `random`, which only tests and benchmarks have a use for. seed: of `random`. runtime, precision, device, threads:
    see `Compute`; `bfloat16` is faster where the processor knows it and moves embeddings by up to 1%
    (docs/backbones.md). A detector remembers what it was learned with. quantized: a file made by
    `oddwatch backbones quantize` from these weights, for runtime `openvino` in precision `int8`. model: arguments of
    the library's own constructor of the network, such as smaller sizes for tests. Other options: see `ClipBackbone`.
    """

    heavy = True
    # `weights_sha256` stands for three of them.
    speed_options = (*ClipBackbone.speed_options, "weights", "seed", "quantized", "threads")

    def __init__(
        self,
        *,
        weights: str = PUBLISHED,
        seed: int = 0,
        runtime: str = "torch",
        precision: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
        quantized: str | None = None,
        model: dict[str, Any] | None = None,
        **clips: Any,
    ) -> None:
        super().__init__(**clips)
        self.compute = Compute(runtime, precision, device, threads)
        if (quantized is None) == (precision == "int8"):
            raise ValueError(
                "runtime openvino, precision int8 and quantized=FILE (oddwatch backbones quantize) go together"
            )
        self._model = dict(model or {})
        self._weights, self._seed, self._quantized = weights, seed, quantized
        self._network: torch.nn.Module | None = None
        self._embedder: tuple[Any, Embedder] | None = None

    def options(self) -> dict[str, Any]:
        own = {"weights": self._weights, "seed": self._seed, **self.compute.options()}
        given = {"quantized": self._quantized, "model": self._model}
        return {**own, **{name: value for name, value in given.items() if value}, **super().options()}

    def computed(self, **changes: Any) -> Self:
        """The same backbone with the same network, computed in another way: fields of `Compute`, which says what it
        raises; or quantized, a file, which says the other fields.
        """
        if changes.get("quantized"):
            changes = {**INT8, **changes}
        elif changes.get("precision", "int8") != "int8":
            changes["quantized"] = None
        other = type(self)(**{**self.options(), **changes})
        other.name, other._network = self.name, self.network
        return other

    def weights_file(self) -> Path | None:
        """Where the weights are, fetched if need be; None for random ones. Raises WeightsError."""
        assert self.record.weights is not None
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the hub's library is imported
        return find_weights(self.record.name, self.record.weights, self._weights, notice=log.warning)

    def weights_sha256(self) -> str:
        """What tells these weights from others: those in INT8 are others than those that they were made from."""
        own = self._float32_sha256()
        return own if self._quantized is None else f"{own} int8 {sha256_of(self._quantized_file())}"

    def _float32_sha256(self) -> str:
        file = self.weights_file()
        return f"{RANDOM} {self._seed}" if file is None else sha256_of(file)

    def _quantized_file(self) -> Path:
        path = Path(self._quantized or "").expanduser()
        if not path.is_file():
            raise WeightsError(f"{path}: no such file of {self.record.name} in INT8 (oddwatch backbones quantize)")
        return path

    def quantized_from(self) -> dict[str, Any]:
        """What a file of this network in INT8 depends on, as JSON types. Raises WeightsError."""
        own = type(self)
        return {
            "backbone": self.record.name,
            "class": f"{own.__module__}:{own.__qualname__}",
            "version": self.version,
            "clip": json.loads(json.dumps(asdict(self.input))),
            "model": self._model,
            "weights_sha256": self._float32_sha256(),
        }

    def stream(self) -> EmbeddingStream:
        if self._quantized is not None:
            self._quantized_file()
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
        """See `ClipBackbone`. Raises as `ready`."""
        return self.ready()(np.ascontiguousarray(clips))

    def ready(self) -> Embedder:
        """What embeds, its weights read and its network compiled, which takes seconds the first time.

        Raises WeightsError, MissingExtraError; UsageError for what this machine cannot do.
        """
        if self._quantized is not None:
            state = []  # the file holds the network
        else:
            tensors = (*self.network.parameters(), *self.network.buffers())
            # What runs may be a converted copy: of exactly these weights, which fine-tuning may change in place.
            state = [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]
        if self._embedder is None or self._embedder[0] != state:
            self._embedder = state, self._make_embedder()
        return self._embedder[1]

    def _make_embedder(self) -> Embedder:
        if self._quantized is not None:
            from oddwatch.backbones.quantized import quantized_embedder

            return quantized_embedder(self._quantized_file(), self.quantized_from(), threads=self.compute.threads)
        network = self.network
        if self.compute.runtime == "torch":
            return torch_embedder(self.features, network, self.simplify, self.compute)
        from oddwatch.backbones.openvino_runtime import network_key, openvino_embedder

        i = self.input
        return openvino_embedder(
            self.features,
            self.simplified,
            self.compute,
            shape=(i.frames, i.size_px, i.size_px, 3),
            key=None if self._weights == RANDOM else network_key(network, self.identity()),
        )

    def simplified(self) -> torch.nn.Module:
        """A copy of the network that `simplify` has changed."""
        copied = copy.deepcopy(self.network)
        self.simplify(copied)
        return copied

    @abstractmethod
    def build(self) -> torch.nn.Module:
        """The network with random weights."""

    @abstractmethod
    def features(self, network: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (B, D) and grids (B, Gh, Gw, d) of clips (B, T, H, W, 3), without the classifier."""

    def simplify(self, network: Any) -> None:
        """Change a copy of the network so that it computes the same with less work; here nothing. The network itself
        stays what its library made, and float32 in torch is computed with that.
        """

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
