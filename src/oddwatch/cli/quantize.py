"""`oddwatch backbones quantize`: a backbone and videos -> its network in INT8, if that is within a limit of error."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from oddwatch.backbones import build_backbone
from oddwatch.backbones.compute import Pixels
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import RANDOM
from oddwatch.cli.names import BackboneName, Json
from oddwatch.cli.options import Fps, Options, Videos, Weights, backbone_options, require_fps
from oddwatch.cli.output import counted, failures_json, print_json, print_table, say, say_failures
from oddwatch.errors import UsageError, VideoError
from oddwatch.types import Failure
from oddwatch.video import list_videos, sample_clip


def quantize(
    name: BackboneName,
    videos: Videos,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="File to write the network in INT8 to.")],
    weights: Weights = None,
    max_error: Annotated[
        str,
        typer.Option(
            "--max-error", metavar="SHARE", help="How far it may move embeddings from float32; the more, the faster."
        ),
    ] = "1%",
    clips: Annotated[
        int, typer.Option("--clips", metavar="N", min=2, help="Take at most so many videos, spread over all.")
    ] = 60,
    options: Options = [],  # noqa: B006 (typer makes a new one)
    fps: Fps = None,
    as_json: Json = False,
) -> None:
    """Make a backbone's network in INT8 for --quantized: half of the videos, as one clip each, set the ranges of
    numbers, the other half measures the error, which must be within the limit.
    """
    limit = _share(max_error)
    made = build_backbone(name, **backbone_options(name, weights, others=options))
    if not isinstance(made, PretrainedBackbone):
        raise UsageError(f"{name} has no network: choose another")
    made.weights_sha256()  # what is missing is said before any work
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: give the name of a file")
    from oddwatch.backbones.quantized import write_quantized
    from oddwatch.backbones.quantizing import Step, require_extra
    from oddwatch.backbones.quantizing import quantize as run

    require_extra()
    listing = list_videos(videos)
    require_fps(listing.videos, fps)
    some = np.unique(np.linspace(0, len(listing.videos) - 1, min(clips, len(listing.videos))).astype(int))
    found, failures = _sampled(made, [listing.videos[i] for i in some], fps)
    say_failures(failures := [*listing.failures, *failures])
    calibrate, held_out = found[::2], found[1::2]
    say(f"{counted(len(calibrate), 'clip')} to calibrate with, {len(held_out)} to measure on; this takes minutes")

    def done(step: Step) -> None:
        say(f"{step.share:.0%} in INT8: error {step.error:.2%}, {step.clips_per_second:.2f} clips/s")

    result = run(made, calibrate, held_out, max_error=limit, done=done)
    write_quantized(out, result.model, result.record)
    if as_json:
        steps = [asdict(step) for step in result.steps]
        print_json({"file": str(out), "steps": steps, "failures": failures_json(failures), **result.record})
    else:
        columns = ("in INT8", "error of vector", "of grid", "clips/s", "times float32 in torch", "")
        rows = []
        for step in result.steps:
            figures = (f"{step.share:.0%}", f"{step.vector_error:.2%}", f"{step.grid_error:.2%}")
            speed = (f"{step.clips_per_second:.2f}", f"{step.times_float32:.2f}")
            rows.append((*figures, *speed, "kept" if step is result.steps[-1] else ""))
        print_table(name, columns, rows, numbers=columns[:5])
        if made.options()["weights"] == RANDOM:
            print("Random weights: the error says little about that of trained ones.")
        print(f"The rest of it is in {result.record['rest']}. Saved in {out}.")
        print(f"Next: oddwatch learn VIDEO... --backbone {name} --quantized {out} --out DETECTOR")
    if failures:
        raise typer.Exit(1)


def _share(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%", text.strip())
    if not (found and 0 < float(found[1]) < 100):
        raise UsageError(f"--max-error {text!r} is not understood: write 1% or 0.5%")
    return float(found[1]) / 100


def _sampled(backbone: PretrainedBackbone, videos: list[str], fps: float | None) -> tuple[list[Pixels], list[Failure]]:
    """Each video as one clip of all of it."""
    found, failures = [], []
    for video in videos:
        try:
            clip = sample_clip(video, frames=backbone.input.frames, fps=fps)
        except VideoError as error:
            failures.append(Failure(error.source, error.reason))
        else:
            found.append(np.stack(backbone.whole(clip).items))
    return found, failures
