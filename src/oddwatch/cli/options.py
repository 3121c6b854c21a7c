"""What the commands have in common: their options, and what these say of a backbone."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from oddwatch.backbones import backbone_class, build_backbone
from oddwatch.backbones.pretrained import INT8, PretrainedBackbone
from oddwatch.detector import On
from oddwatch.errors import UsageError


class Engine(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


Videos = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO...", help="Files, folders of files, folders of numbered frames, lists of these (.txt), URLs."
    ),
]
Fps = Annotated[
    float | None, typer.Option("--fps", metavar="RATE", help="Frames per second of folders of numbered frames.")
]
Backbone = Annotated[
    str, typer.Option("--backbone", metavar="NAME", help="What turns video into embeddings (see: oddwatch backbones).")
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="The backbone's weights in a file of yours (safetensors or a checkpoint) instead of the published ones.",
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option("--runtime", metavar="torch|openvino", help="What computes the backbone's network; usually torch."),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="float32|bfloat16|float16",
        help="What it is computed in: usually float32; float16 only with --device cuda.",
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda", help="What it is computed on; usually cpu.")
]
Tuned = Annotated[
    bool, typer.Option("--tuned", help="Take the runtime and precision that oddwatch backbones tune found to be best.")
]
Quantized = Annotated[
    str | None,
    typer.Option(
        "--quantized", metavar="FILE", help="Compute it in INT8, from a file made by oddwatch backbones quantize."
    ),
]
Options = Annotated[
    list[str],
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of the backbone, such as window_seconds=null (a whole video is one clip) or batch=8; again for "
        "more.",
    ),
]
ScorerName = Annotated[
    str,
    typer.Option(
        "--scorer", metavar="NAME", help="What scores them (see: oddwatch scorers); auto: what suits the backbone."
    ),
]
ScorerOptions = Annotated[
    list[str],
    typer.Option(
        "--scorer-option",
        metavar="NAME=VALUE",
        help="An option of the scorer, such as epochs=10 (oddwatch scorers lists them); again for more.",
    ),
]
Folds = Annotated[
    int,
    typer.Option(
        "--folds",
        metavar="N",
        min=2,
        help="Parts that usual video is held out in, for the threshold: the scorer learns so many times and once more.",
    ),
]
OnWhat = Annotated[
    On,
    typer.Option(
        "--on",
        metavar="auto|vector|grid",
        help="Score the whole frame (vector) or its places (grid); auto: places where there are any.",
    ),
]
Budget = Annotated[
    str,
    typer.Option("--budget", metavar="BUDGET", help="False alarms allowed: 2/day, 1/hour, 3/week; or a share: 1%."),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="Take embeddings from this folder, and keep in it those it does not have: the next run is quick.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the detector that is in the folder already.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Fixes everything that is random.")]


def backbone_options(
    backbone: str,
    weights: str | None,
    runtime: str | None = None,
    precision: str | None = None,
    device: str | None = None,
    *,
    tuned: bool = False,
    quantized: str | None = None,
    others: Sequence[str] = (),
) -> dict[str, Any]:
    """What the command line says about a backbone, as its options; with `tuned` the pair that was measured to be best
    here, by name. quantized: a file, which says what computes it. others: NAME=VALUE, the value as JSON or else as
    text. Raises UsageError: for a backbone without a network, for `tuned` or `quantized` beside a choice of one's own,
    for `tuned` before anything was measured, for an option without a value.
    """
    if weights is not None and backbone_class(backbone).record.weights is None:
        raise UsageError(f"{backbone} uses no weights: leave out --weights, or choose another --backbone")
    given = {"weights": weights, "runtime": runtime, "precision": precision, "device": device}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if twice := [name for name in parsed(others) if name in options]:
        raise UsageError(f"{twice[0]} is given twice: leave out --option {twice[0]}=...")
    options.update(parsed(others))
    chosen = [name for name in ("runtime", "precision", "device") if name in options]
    flags = [*chosen, *["tuned"] * tuned, *["quantized"] * (quantized is not None)]
    if flags and not issubclass(backbone_class(backbone), PretrainedBackbone):
        named = ", ".join(f"--{name}" for name in flags)
        raise UsageError(f"{backbone} has no network: leave out {named}, or choose another --backbone")
    if (tuned or quantized is not None) and len(flags) > 1:
        raise UsageError(f"give --{flags[-1]} or --{flags[0]}, not both")
    if quantized is not None:
        options |= {**INT8, "quantized": quantized}
    if tuned:
        from oddwatch.backbones.tuning import best_for

        made = build_backbone(backbone, **options)
        assert isinstance(made, PretrainedBackbone)
        options["runtime"], options["precision"] = best_for(made)
    return options


def parsed(options: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE as a dictionary. Raises UsageError for one without a name or a value."""
    found: dict[str, Any] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"an option is NAME=VALUE, got {text!r}")
        if name in found:
            raise UsageError(f"{name} is given twice: leave out --option {text}")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def require_fps(videos: Sequence[str], fps: float | None) -> None:
    """Raises UsageError before any work: for a rate that is none, and for a folder of frames whose rate is missing."""
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise UsageError(f"--fps must be a positive number, got {fps:g}")
    folder = next((video for video in videos if os.path.isdir(video)), None)
    if fps is None and folder is not None:
        raise UsageError(f"{folder}: a folder of frames does not say how fast it was filmed: give --fps")
