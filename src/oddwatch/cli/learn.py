"""`oddwatch learn`: usual video -> a detector folder."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from oddwatch.backbones import GIVEN, backbone_class, build_backbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.cli.output import counted, failures_json, print_json, progress_bar, say_failures
from oddwatch.detector import Detector, On
from oddwatch.detector.folder import require_free
from oddwatch.embed import EmbeddingCache, Entry
from oddwatch.embedding_file import SUFFIXES, read_embeddings
from oddwatch.errors import NotEnoughVideoError, UsageError, VideoError
from oddwatch.video import classes_by_folder, display_name, list_videos

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
ScorerName = Annotated[
    str,
    typer.Option(
        "--scorer", metavar="NAME", help="What scores them (see: oddwatch scorers); auto: what suits the backbone."
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
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Fixes everything that is random.")]


def learn(
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO...",
            help="Files, folders of files, folders of numbered frames, lists of these (.txt), URLs; or one folder made "
            "by oddwatch embed; or embeddings made elsewhere, .npz or .parquet, --fps of them a second.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DETECTOR", help="Folder to save the detector in.")],
    backbone: Backbone = "motion",
    weights: Weights = None,
    runtime: Runtime = None,
    precision: Precision = None,
    device: Device = None,
    tuned: Tuned = False,
    scorer: ScorerName = "auto",
    on: OnWhat = "auto",
    budget: Budget = "2/day",
    fps: Fps = None,
    cache_folder: Cache = None,
    classes: Annotated[
        bool,
        typer.Option(
            "--classes",
            help="Take the first folder below the named one as the class of a video; of a file the folder it lies in.",
        ),
    ] = False,
    seed: Seed = 42,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Learn from video in which nothing unusual happens."""
    require_free(out)
    given = [video for video in videos if video.lower().endswith(SUFFIXES)]
    kept = EmbeddingCache(videos[0]).entries() if len(videos) == 1 and os.path.isdir(videos[0]) else []
    computing = tuned or any(value is not None for value in (weights, runtime, precision, device))
    if (given or kept) and (computing or cache_folder is not None):
        raise UsageError(
            f"{videos[0]} holds embeddings: leave out --weights, --runtime, --precision, --device, --tuned and --cache"
        )
    options: dict[str, Any]
    if given:
        if len(given) < len(videos) or backbone != "motion" or classes:
            raise UsageError(f"{given[0]} holds embeddings: give such files alone, without --backbone and --classes")
        files = [read_embeddings(path) for path in given]
        backbone = GIVEN
        options = {"vector_size": files[0].embeddings.shape[1], "seconds": 1.0 if fps is None else 1 / fps}
    elif kept:
        if fps is not None:
            raise UsageError(f"{videos[0]} holds embeddings: leave out --fps")
        kept = _of_one_backbone(kept, None if backbone == "motion" else backbone)
        backbone, options = kept[0].backbone, kept[0].options
        on = "vector" if on == "auto" and not kept[0].grids else on
    else:
        options = backbone_options(backbone, weights, runtime, precision, device, tuned=tuned)
    detector = Detector(backbone=backbone, backbone_options=options, scorer=scorer, on=on, budget=budget, seed=seed)
    if given:
        with progress_bar() as progress:
            detector.learn_given(files, progress=progress)
    elif kept:
        labels = {entry.path: os.path.basename(os.path.dirname(entry.path)) for entry in kept} if classes else None
        with progress_bar() as progress:
            detector.learn_kept(kept, labels=labels, progress=progress)
    else:
        _from_videos(detector, videos, fps, classes, cache_folder)
    detector.save(out)
    say_failures(detector.failures)
    used = detector.describe()["inputs"]
    seconds = sum(entry["seconds"] for entry in used)
    threshold = detector.threshold
    if as_json:
        print_json(
            {
                "detector": str(out),
                "backbone": detector.backbone_name,
                "scorer": detector.scorer_name,
                "on": detector.on,
                "videos": len(used),
                "seconds": round(seconds, 3),
                "threshold": {"value": threshold.value, "says": threshold.says, "extrapolated": threshold.extrapolated},
                "failures": failures_json(detector.failures),
            }
        )
    else:
        print(f"Learned from {counted(len(used), 'video')}, {seconds / 60:.1f} minutes: {detector.name}.")
        print(f"Threshold {threshold.value:.4g} ({threshold.says}).")
        print(f"Saved in {out}. Next: oddwatch score {out} VIDEO")
    if detector.failures:
        raise typer.Exit(1)


def _from_videos(
    detector: Detector, videos: list[str], fps: float | None, classes: bool, cache_folder: Path | None
) -> None:
    listed = list_videos(videos).videos
    require_fps(listed, fps)
    labels = classes_by_folder(videos) if classes else None
    cache = None if cache_folder is None else EmbeddingCache(cache_folder)
    with progress_bar() as progress:
        try:
            detector.learn(videos, fps=fps, labels=labels, cache=cache, progress=progress)
        except VideoError:
            say_failures(detector.failures[1:])
            raise
        except NotEnoughVideoError as error:
            say_failures(detector.failures)
            named = display_name(listed[0]) if len(listed) == 1 else counted(len(listed), "video")
            raise NotEnoughVideoError(f"{named}: {error}") from error


def _of_one_backbone(entries: list[Entry], backbone: str | None) -> list[Entry]:
    """Those of the backbone that was asked for. Raises UsageError unless all are of one backbone, alike in options."""
    found = [entry for entry in entries if backbone in (None, entry.backbone)]
    names = sorted({entry.backbone for entry in entries})
    if not found:
        raise UsageError(f"there are no embeddings of {backbone} here, only of {', '.join(names)}")
    if any(entry.identity != found[0].identity for entry in found):
        what = "with different options or weights" if len({e.backbone for e in found}) == 1 else ", ".join(names)
        raise UsageError(f"there are embeddings of several backbones here ({what}): choose one with --backbone")
    return found


def backbone_options(
    backbone: str,
    weights: str | None,
    runtime: str | None = None,
    precision: str | None = None,
    device: str | None = None,
    *,
    tuned: bool = False,
) -> dict[str, Any]:
    """What the command line says about a backbone, as its options; with `tuned` the pair that was measured to be best
    here, by name. Raises UsageError: for a backbone without a network, for `tuned` beside a choice of one's own or
    before anything was measured.
    """
    if weights is not None and backbone_class(backbone).record.weights is None:
        raise UsageError(f"{backbone} uses no weights: leave out --weights, or choose another --backbone")
    given = {"weights": weights, "runtime": runtime, "precision": precision, "device": device}
    options = {name: value for name, value in given.items() if value is not None}
    chosen = [name for name in ("runtime", "precision", "device") if name in options]
    if (chosen or tuned) and not issubclass(backbone_class(backbone), PretrainedBackbone):
        flags = ", ".join(f"--{name}" for name in [*chosen, *["tuned"] * tuned])
        raise UsageError(f"{backbone} has no network: leave out {flags}, or choose another --backbone")
    if tuned:
        if chosen:
            raise UsageError(f"give --tuned or --{chosen[0]}, not both")
        from oddwatch.backbones.tuning import best_for

        made = build_backbone(backbone, **options)
        assert isinstance(made, PretrainedBackbone)
        options["runtime"], options["precision"] = best_for(made)
    return options


def require_fps(videos: Sequence[str], fps: float | None) -> None:
    """Raises UsageError before any work: for a rate that is none, and for a folder of frames whose rate is missing."""
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise UsageError(f"--fps must be a positive number, got {fps:g}")
    folder = next((video for video in videos if os.path.isdir(video)), None)
    if fps is None and folder is not None:
        raise UsageError(f"{folder}: a folder of frames does not say how fast it was filmed: give --fps")
