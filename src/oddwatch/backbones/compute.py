"""How the network of a backbone is computed: which runtime, in which precision, on what, with how many threads."""

from __future__ import annotations

import copy
import importlib.util
import logging
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.errors import MissingExtraError, UsageError

log = logging.getLogger(__name__)
Pixels = NDArray[np.float32]
Embedder = Callable[[Pixels], tuple[Pixels, Pixels]]
"""(N, T, H, W, 3) clips -> (N, D) vectors and (N, Gh, Gw, d) grids, all float32."""
Features = Callable[[Any, Any], tuple[Any, Any]]
"""A network of torch and a tensor of clips -> tensors of vectors and grids."""

RUNTIMES = ("torch", "openvino")
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Compute:
    """runtime: `torch`, or `openvino` (extra `openvino`; a CPU only). precision: what the large products are computed
    in; embeddings are float32 always. `float16` is for a GPU only, `int8` for OpenVINO and a file that was quantized
    (`oddwatch.backbones.quantized`). device: `cpu`, or `cuda`: never guessed. threads: of
    the CPU; None: all that the runtime takes by itself.

    Raises ValueError for what is none of these or does not go together, MissingExtraError without OpenVINO.
    """

    runtime: str = "torch"
    precision: str = "float32"
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        for key, allowed in (("runtime", RUNTIMES), ("precision", PRECISIONS), ("device", DEVICES)):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key} is one of {', '.join(allowed)}, got {getattr(self, key)!r}")
        if self.threads is not None and (not isinstance(self.threads, int) or self.threads < 1):
            raise ValueError(f"threads is a number from 1, or None for all, got {self.threads!r}")
        if self.runtime == "openvino":
            if self.device != "cpu":
                raise ValueError("runtime openvino is for the CPU: leave out device, or take runtime torch")
            if importlib.util.find_spec("openvino") is None:
                raise MissingExtraError("runtime openvino", "openvino", "openvino")
        if self.precision == "float16" and self.device == "cpu":
            raise ValueError("precision float16 is for a GPU (device cuda): take bfloat16 on a CPU")
        if self.precision == "int8" and self.runtime != "openvino":
            raise ValueError("precision int8 is for runtime openvino and a file made by oddwatch backbones quantize")

    def options(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}" + ("" if self.device == "cpu" else f" on {self.device}")


def torch_embedder(features: Features, network: Any, simplify: Callable[[Any], None], compute: Compute) -> Embedder:
    """In float32 on the CPU the network as it is. Otherwise a copy that `simplify` made quicker, whose large weights
    are held in the precision they are used in (autocast alone would convert them again for each batch).

    Raises UsageError without the GPU that is asked for.
    """
    import torch

    if compute.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device cuda: torch {torch.__version__} finds no GPU (take device cpu, or install its driver)"
        )
    dtype = getattr(torch, compute.precision)
    exact = dtype is torch.float32
    if not exact and compute.device == "cpu" and not knows_bfloat16():
        log.warning("this processor does not know bfloat16: torch imitates it, which is slower than float32")
    if not (exact and compute.device == "cpu"):
        network = copy.deepcopy(network)
        simplify(network)
        network.to(compute.device)
        for module in network.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.Conv3d):
                module.to(dtype)

    def embed(clips: Pixels) -> tuple[Pixels, Pixels]:
        mixed = torch.autocast(compute.device, dtype=dtype) if not exact else nullcontext()
        with _threads(compute.threads), torch.inference_mode(), mixed:
            vector, grid = features(network, torch.from_numpy(clips).to(compute.device))
        return vector.float().cpu().numpy(), grid.float().cpu().numpy()

    return embed


def knows_bfloat16() -> bool:
    """Whether torch finds the CPU's own instructions for it."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def processor() -> str:
    """Model of the CPU and its number of cores, such as `AMD EPYC, 2 cores`: what measurements hold for."""
    model = platform.processor() or platform.machine()
    try:  # what `platform` leaves empty on Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """The number belongs to the whole process: it is put back."""
    import torch

    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
