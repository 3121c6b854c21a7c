"""Networks in OpenVINO: converted, compiled for the CPU, kept on disk. Nothing is sent anywhere."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.backbones.compute import Compute, Embedder, Features, Pixels, processor
from oddwatch.errors import UsageError
from oddwatch.files import write_bytes

log = logging.getLogger(__name__)
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_KEPT = 8
_DIGEST = 32


def import_openvino() -> Any:
    """The module openvino, without its telemetry: as shipped, its import alone writes into the home folder and sends
    an event, and so does each conversion. Without the package `openvino_telemetry` it does neither, so this process
    does not find that package; where the program has imported OpenVINO before, its sender does nothing from now on.
    """
    modules: dict[str, Any] = sys.modules
    if "openvino" not in modules:
        modules["openvino_telemetry"] = None
    elif modules.get("openvino_telemetry") is not None:
        from openvino_telemetry.utils.sender import TelemetrySender

        TelemetrySender.send = _nothing
    import openvino

    return openvino


def _nothing(*_: Any, **__: Any) -> None:
    pass


def openvino_embedder(
    features: Features,
    network: Callable[[], Any],
    compute: Compute,
    *,
    shape: tuple[int, int, int, int],
    key: str | None,
) -> Embedder:
    """network: makes what is converted, when it has to be. shape: (T, H, W, 3) of a clip. key: what tells this network
    from all others, see `network_key`; None: not kept on disk.

    Clips go through one at a time, so that an embedding does not depend on what it is in a batch with.
    Raises UsageError where the processor does not know bfloat16: OpenVINO would compute in float32.
    """
    openvino = import_openvino()
    core = openvino.Core()
    if compute.precision == "bfloat16" and not openvino_knows_bfloat16():
        raise UsageError("precision bfloat16: OpenVINO does not have it on this processor: take float32")
    config = how(compute.precision, compute.threads)
    path = None if key is None else _folder() / f"{_digest(key, compute, openvino)}.blob"
    compiled = None if path is None else _read(path, core, config)
    if compiled is None:
        compiled = core.compile_model(converted(features, network(), shape), "CPU", config)
        if path is not None:
            _write(path, compiled.export_model().getvalue())
    return embedder_of(compiled)


def how(precision: str, threads: int | None) -> dict[str, Any]:
    """What OpenVINO is told when it compiles a model. precision: of what the model itself leaves open."""
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    return config if threads is None else {**config, "INFERENCE_NUM_THREADS": threads}


def embedder_of(compiled: Any) -> Embedder:
    """A compiled model, one clip at a time."""
    request = compiled.create_infer_request()
    sizes = [tuple(output.shape)[1:] for output in compiled.outputs]

    def embed(clips: Pixels) -> tuple[Pixels, Pixels]:
        vectors, grids = (np.empty((len(clips), *size), np.float32) for size in sizes)
        for i in range(len(clips)):
            found = request.infer([clips[i : i + 1]])
            vectors[i], grids[i] = found[0][0], found[1][0]
        return vectors, grids

    return embed


def openvino_knows_bfloat16() -> bool:
    """Whether OpenVINO computes in it on this processor; elsewhere it would take float32 without a word."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def network_key(network: Any, options: dict[str, Any]) -> str:
    """What tells a network from all others: every weight in it, its options and the code that it is made by."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.numpy()).data)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(key: str, compute: Compute, openvino: Any) -> str:
    """Also what a compiled network depends on beside itself."""
    versions = [metadata.version(name) for name in ("torch", "torchvision", "transformers")]
    parts = [key, str(compute.options()), openvino.get_version(), *versions, processor()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def converted(features: Features, network: Any, shape: tuple[int, int, int, int]) -> Any:
    """A model of OpenVINO that takes (1, T, H, W, 3) and gives vectors and grids, not compiled."""
    openvino = import_openvino()
    import torch

    class Embedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return features(self.network, clips)

    example = torch.zeros((1, *shape))
    with warnings.catch_warnings(), _quiet("transformers.modeling_utils"), torch.no_grad():
        warnings.simplefilter("ignore")  # the shapes that tracing fixes are fixed here
        traced = torch.jit.trace(Embedding().eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, example_input=example)
    model.reshape({0: [1, *shape]})
    return model


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Tracing looks at every property of a network, also at the loss function that it has none of."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "oddwatch" / "openvino"


def _read(path: Path, core: Any, config: dict[str, Any]) -> Any:
    """None when it is not there or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        return None
    path.touch()
    return core.import_model(data[_DIGEST:], "CPU", config)


def _write(path: Path, data: bytes) -> None:
    """Keep it, and only the newest few: each is as large as its weights."""
    try:
        write_bytes(path, hashlib.sha256(data).digest() + data)
        for old in sorted(path.parent.glob("*.blob"), key=lambda p: p.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be written (%s): the next start converts again", path, error.strerror or error)
