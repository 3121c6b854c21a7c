"""A backbone and its autoencoder as one graph for other runtimes: ONNX, or OpenVINO's own format.

Input `clip` (1, T, H, W, 3) float32, prepared; outputs `embedding` (1, D) and `error` (1,), the summed squared error of
copying it, high = anomalous. `model.json` beside the graph has all that is needed to use it without oddwatch.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oddwatch import __version__
from oddwatch.backbones.openvino_runtime import converted, import_openvino
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.calibration import Threshold
from oddwatch.errors import MissingExtraError, RunError, UsageError
from oddwatch.files import write_bytes, write_text
from oddwatch.finetune.best import Best
from oddwatch.finetune.clips import View

GraphFormat = Literal["onnx", "openvino"]
TOLERANCE = 1e-3
"""Largest relative difference of an embedding (norm of the difference to the norm) and of an error that is let pass."""
PARITY_CLIPS = 4
RECORD = "model.json"
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]
_NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}
OPSET = 18


@dataclass(frozen=True)
class Exported:
    """model: the graph's file. clips: it was compared with torch on. embedding_difference, error_difference: the
    largest relative ones.
    """

    model: Path
    backbone: str
    threshold: Threshold
    clips: int
    embedding_difference: float
    error_difference: float


def graph_format(name: str) -> GraphFormat:
    """Raises UsageError."""
    known: tuple[GraphFormat, ...] = ("onnx", "openvino")
    for one in known:
        if one == name:
            return one
    raise UsageError(f"--format is detector, onnx or openvino, got {name!r}")


def require_format(graph: GraphFormat) -> None:
    """Raises MissingExtraError."""
    for package in _NEEDED[graph]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"--format {graph}", package, graph)


def network_of(best: Best) -> PretrainedBackbone:
    """Its backbone. Raises UsageError for one that is no network."""
    backbone = best.backbone
    if not isinstance(backbone, PretrainedBackbone) or backbone.compute.precision == "int8":
        raise UsageError(f"backbone {best.asked['backbone']} is no network of torch: only those become a graph")
    return backbone


def export_graph(best: Best, clips: Sequence[View], threshold: Threshold, out: Path, graph: GraphFormat) -> Exported:
    """Write `model.onnx`, or `model.xml` and `model.bin`, and `model.json` into the folder `out`, all or none of them.

    clips: it is compared with torch on the first few. Raises RunError when it differs by more than `TOLERANCE`.
    """
    backbone, name = network_of(best), best.asked["backbone"]
    pixels = [np.stack(view.pixels(backbone).items)[None] for view in clips[:PARITY_CLIPS]]
    wanted = [_torch_outputs(backbone, best, clip) for clip in pixels]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write, run = {"onnx": (_write_onnx, _run_onnx), "openvino": (_write_openvino, _run_openvino)}[graph]
        model = write(backbone, best, folder)
        found = run(model, pixels)
        embedding, error = differences(wanted, found)
        if not (embedding <= TOLERANCE and error <= TOLERANCE):  # so written, because neither may be NaN
            raise RunError(
                f"the graph differs from torch by {embedding:.2g} (embedding) and {error:.2g} (error), more than "
                f"{TOLERANCE:g}: nothing was written (take the other --format, or the detector)"
            )
        done = Exported(out / model.name, name, threshold, len(pixels), embedding, error)
        out.mkdir(parents=True, exist_ok=True)
        try:
            for file in sorted(folder.iterdir()):
                write_bytes(out / file.name, file.read_bytes())
            write_text(out / RECORD, json.dumps(_record(best, backbone, done), indent=1) + "\n")
        except BaseException as problem:
            shutil.rmtree(out, ignore_errors=True)
            if isinstance(problem, OSError):
                why = problem.strerror or problem
                raise RunError(f"{out} cannot be written: {why} (free some space or choose another)") from problem
            raise
    return done


def differences(wanted: Sequence[Outputs], found: Sequence[Outputs]) -> tuple[float, float]:
    """Largest relative difference of the embeddings and of the errors."""
    pairs = list(zip(wanted, found, strict=True))
    embedding = np.max([np.linalg.norm(a - b) / np.linalg.norm(a) for (a, _), (b, _) in pairs])
    error = np.max([np.max(np.abs(a - b) / np.abs(a)) for (_, a), (_, b) in pairs])
    return float(embedding), float(error)


def _parts(backbone: PretrainedBackbone, best: Best) -> tuple[Any, Callable[[Any, Any], tuple[Any, Any]]]:
    """A network that holds both, and how a clip goes through it."""
    from torch import nn

    both = nn.ModuleDict({"backbone": backbone.network, "autoencoder": best.scorer.network}).eval()

    def through(network: Any, clip: Any) -> tuple[Any, Any]:
        embedding = backbone.features(network["backbone"], clip)[0]
        return embedding, (network["autoencoder"](embedding) - embedding).square().sum(1)

    return both, through


def _torch_outputs(backbone: PretrainedBackbone, best: Best, clip: NDArray[np.float32]) -> Outputs:
    import torch

    network, through = _parts(backbone, best)
    with torch.no_grad():
        embedding, error = through(network, torch.from_numpy(clip))
    return embedding.numpy(), error.numpy()


def _write_onnx(backbone: PretrainedBackbone, best: Best, folder: Path) -> Path:
    import torch

    network, through = _parts(backbone, best)

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return through(self.network, clip)

    path = folder / "model.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, about its own future
        torch.onnx.export(
            Graph().eval(),
            (torch.zeros((1, *_shape(backbone))),),
            path,
            input_names=["clip"],
            output_names=["embedding", "error"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path


def _run_onnx(model: Path, clips: Sequence[NDArray[np.float32]]) -> list[Outputs]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return [tuple(session.run(["embedding", "error"], {"clip": clip})) for clip in clips]


def _write_openvino(backbone: PretrainedBackbone, best: Best, folder: Path) -> Path:
    network, through = _parts(backbone, best)
    model = converted(through, network, _shape(backbone))
    model.inputs[0].get_tensor().set_names({"clip"})
    for output, name in zip(model.outputs, ("embedding", "error"), strict=True):
        output.get_tensor().set_names({name})
    path = folder / "model.xml"
    import_openvino().save_model(model, path, compress_to_fp16=False)
    return path


def _run_openvino(model: Path, clips: Sequence[NDArray[np.float32]]) -> list[Outputs]:
    openvino = import_openvino()
    # What a machine without bfloat16 computes: elsewhere it would be the default.
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [(found["embedding"].copy(), found["error"].copy()) for found in (compiled([clip]) for clip in clips)]


def _shape(backbone: PretrainedBackbone) -> tuple[int, int, int, int]:
    return backbone.input.frames, backbone.input.size_px, backbone.input.size_px, 3


def _record(best: Best, backbone: PretrainedBackbone, done: Exported) -> dict[str, Any]:
    seen = backbone.input
    return {
        "format": 1,
        "model": done.model.name,
        "backbone": best.record["backbone"],
        "untrained": best.record["untrained"],
        "input": {"name": "clip", "shape": [1, *_shape(backbone)], "dtype": "float32", "colours": "RGB, last axis"},
        "prepare": {
            "frames": seen.frames,
            "which_frames": "of the n frames of a video linspace(0, n - 1, frames), truncated to whole numbers",
            "size_px": seen.size_px,
            "resize": "to size_px x size_px, bilinear between the four nearest pixels, no antialiasing, in float32",
            "scale": "divide by 255, subtract mean, divide by std, for each colour",
            "mean": list(seen.mean),
            "std": list(seen.std),
        },
        "outputs": {
            "embedding": {"shape": [1, best.record["embedding_size"]], "dtype": "float32"},
            "error": {"shape": [1], "dtype": "float32", "means": "high is anomalous"},
        },
        "threshold": asdict(done.threshold),
        "weights_sha256": best.asked["weights_sha256"],
        "tensors_that_learned": best.record["tensors"],
        "compared_with_torch": {
            "clips": done.clips,
            "embedding_difference": done.embedding_difference,
            "error_difference": done.error_difference,
            "tolerance": TOLERANCE,
        },
        "oddwatch": __version__,
    }
