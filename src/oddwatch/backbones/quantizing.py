"""Making a network of INT8 from one of float32, and measuring how far that moves its embeddings.

Static post-training quantization by NNCF: the ranges of activations are those of the clips it is given.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import numpy as np

from oddwatch import __version__
from oddwatch.backbones.compute import Embedder, Pixels, processor
from oddwatch.backbones.openvino_runtime import converted, embedder_of, how, import_openvino, openvino_knows_bfloat16
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.errors import MissingExtraError, UsageError

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_VERSIONED = ("nncf", "openvino", "torch")


@dataclass(frozen=True)
class Step:
    """share: of the operations of convolutions and matrix products that are computed in INT8, 0..1. vector_error,
    grid_error: |a - b| / |b| to float32 in torch, the mean over the held-out clips. clips_per_second: one clip at a
    time, the median. times_float32: that over float32 in torch, which was measured before it.
    """

    share: float
    vector_error: float
    grid_error: float
    clips_per_second: float
    times_float32: float

    @property
    def error(self) -> float:
        """The larger of the two."""
        return max(self.vector_error, self.grid_error)


@dataclass(frozen=True)
class Quantized:
    """model: of OpenVINO. record: what `write_quantized` takes. steps: all that were measured; the first is what the
    network is without INT8, the last is the model's.
    """

    model: Any
    record: dict[str, Any]
    steps: tuple[Step, ...]


def require_extra() -> None:
    """Raises MissingExtraError without OpenVINO or NNCF."""
    for name in ("openvino", "nncf"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError("INT8", name, "openvino")


def quantize(
    backbone: PretrainedBackbone,
    calibrate: Sequence[Pixels],
    held_out: Sequence[Pixels],
    *,
    max_error: float,
    done: Callable[[Step], None] = lambda step: None,
) -> Quantized:
    """calibrate, held_out: prepared clips (T, S, S, 3), the former to take ranges from, the
    latter to measure the error on. max_error: of the larger of vector and grid. done: told of each step.

    Raises UsageError when nothing can be in INT8 within the limit, and what `require_extra` does.
    """
    require_extra()
    if not (calibrate and held_out):
        raise UsageError("INT8 needs a clip to calibrate with and another to measure the error on")
    exact = backbone.computed(runtime="torch", precision="float32")
    rest = "bfloat16" if openvino_knows_bfloat16() else "float32"
    config = how(rest, backbone.compute.threads)
    i = backbone.input
    model = converted(backbone.features, backbone.simplified(), (i.frames, i.size_px, i.size_px, 3))
    flop = _flop(model)
    core = import_openvino().Core()
    wanted = _Wanted(exact.embed, held_out)
    steps: list[Step] = []

    def measured(tried: Any) -> Step:
        compiled = core.compile_model(tried, "CPU", config)
        vector, grid, seconds = wanted.compared(embedder_of(compiled))
        share = sum(flop.get(name, 0) for name in _in_int8(compiled)) / sum(flop.values())
        step = Step(share, vector, grid, 1 / seconds, wanted.seconds / seconds)
        steps.append(step)
        done(step)
        return step

    impossible = f"{backbone.record.name} in INT8 within an error of {max_error:.2%} cannot be made"
    if measured(model).error > max_error:
        raise UsageError(f"{impossible}: {rest} without INT8 has {steps[0].error:.2%}: raise --max-error")
    found = _quantized(model, calibrate)
    if measured(found).error > max_error:
        raise UsageError(f"{impossible}: it has {steps[-1].error:.2%}: raise --max-error, or take {rest}")
    versions = {name: metadata.version(name) for name in _VERSIONED}
    record = {
        "oddwatch": __version__,
        "from": backbone.quantized_from(),
        "rest": rest,
        "clips": {"calibrate": len(calibrate), "held_out": len(held_out)},
        "measured": asdict(steps[-1]),
        "max_error": max_error,
        "versions": versions,
        "processor": processor(),
    }
    return Quantized(found, record, tuple(steps))


class _Wanted:
    """What float32 gives for some clips, one at a time; seconds: the median for one."""

    def __init__(self, embed: Callable[[Pixels], tuple[Pixels, Pixels | None]], clips: Sequence[Pixels]) -> None:
        self._clips = clips
        embed(clips[0][None])
        self._embeddings, self.seconds = _timed(embed, clips)

    def compared(self, embed: Embedder) -> tuple[float, float, float]:
        """(error of the vector, of the grid, seconds) of another way."""
        embed(self._clips[0][None])
        found, seconds = _timed(embed, self._clips)
        pairs = zip(found, self._embeddings, strict=True)
        errors = [[np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(*pair, strict=True)] for pair in pairs]
        vector, grid = np.mean(errors, axis=0)
        return float(vector), float(grid), seconds


def _timed(embed: Callable[[Pixels], Any], clips: Sequence[Pixels]) -> tuple[list[Any], float]:
    found, seconds = [], []
    for clip in clips:
        began = time.perf_counter()
        found.append(embed(clip[None]))
        seconds.append(time.perf_counter() - began)
    return found, float(np.median(seconds))


def _quantized(model: Any, clips: Sequence[Pixels]) -> Any:
    import_openvino()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # NNCF draws its progress there
        warnings.simplefilter("ignore")
        import nncf
        from nncf.common.quantization.quantizer_propagation.structs import QuantizerPropagationRule

        nncf.set_log_level(logging.ERROR)
        return nncf.quantize(
            model,
            nncf.Dataset([clip[None] for clip in clips]),
            subset_size=len(clips),
            # With the usual rule, or as a model of type TRANSFORMER, OpenVINO 2026.4 cannot compile TimeSformer.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                quantizer_propagation_rule=QuantizerPropagationRule.MERGE_IF_ALL_BRANCHES_SAME
            ),
        )


def _flop(model: Any) -> dict[str, float]:
    """Operations of each layer that could be in INT8, in the network's order."""
    found = {}
    for op in model.get_ordered_ops():
        if op.get_type_name() in _LAYERS:
            a, b = (tuple(op.input(k).get_shape()) for k in (0, 1))
            if op.get_type_name() == "MatMul":
                inner = a[-2] if op.get_attributes()["transpose_a"] else a[-1]
            else:
                inner = math.prod(b[2:] if op.get_type_name() == "GroupConvolution" else b[1:])
            found[op.get_friendly_name()] = 2.0 * math.prod(op.output(0).get_shape()) * inner
    return found


def _in_int8(compiled: Any) -> Iterator[str]:
    """Names of the layers that the processor computes in INT8, as the compiled model itself says."""
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        if str(info["runtimePrecision"].value) in ("i8", "u8"):
            yield from str(info["originalLayersNames"].value).split(",")
