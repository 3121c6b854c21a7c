"""`oddwatch learn`: usual video -> a detector folder."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from oddwatch.backbones import GIVEN
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.cli.learn_camera import camera_address, learn_from_camera
from oddwatch.cli.options import (
    Budget,
    Cache,
    Device,
    Folds,
    Fps,
    OnWhat,
    Options,
    Overwrite,
    Precision,
    Quantized,
    Runtime,
    ScorerName,
    ScorerOptions,
    Seed,
    Tuned,
    Weights,
    backbone_options,
    parsed,
    require_fps,
)
from oddwatch.cli.output import counted, failures_json, print_json, progress_bar, say_failures
from oddwatch.detector import Detector
from oddwatch.detector.folder import require_free
from oddwatch.embed import EmbeddingCache, Entry
from oddwatch.embedding_file import SUFFIXES, read_embeddings
from oddwatch.errors import NotEnoughVideoError, UsageError, VideoError
from oddwatch.monitor import Learning
from oddwatch.video import CameraOptions, classes_by_folder, display_name, list_videos


def learn(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DETECTOR", help="Folder to save the detector in.")],
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIDEO...]",
            help="Files, folders of files, folders of numbered frames, lists of these (.txt), URLs; or one folder made "
            "by oddwatch embed; or embeddings made elsewhere, .npz or .parquet, --fps of them a second.",
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            metavar="ADDRESS",
            help="Watch a camera instead (rtsp://, http://, /dev/videoN), for --minutes; $NAME in braces stands for a "
            "variable of the environment, which keeps a password out of the list of processes.",
        ),
    ] = None,
    minutes: Annotated[
        float,
        typer.Option("--minutes", metavar="N", min=0.1, help="How long to watch --camera: better a whole day, 1440."),
    ] = 60.0,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="What turns video into embeddings (see: oddwatch backbones); without, motion.",
        ),
    ] = None,
    weights: Weights = None,
    runtime: Runtime = None,
    precision: Precision = None,
    device: Device = None,
    tuned: Tuned = False,
    quantized: Quantized = None,
    options: Options = [],  # noqa: B006 (typer makes a new one)
    scorer: ScorerName = "auto",
    scorer_options: ScorerOptions = [],  # noqa: B006
    on: OnWhat = "auto",
    budget: Budget = "2/day",
    folds: Folds = 5,
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
    pictures: Annotated[
        bool,
        typer.Option("--pictures/--no-pictures", help="Keep small pictures of usual moments in DETECTOR, to be shown."),
    ] = True,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Learn from video in which nothing unusual happens."""
    require_free(out, replacing=overwrite)
    if camera is not None:
        if videos or cache_folder is not None or classes or scorer_options or on != "auto" or folds != 5:
            raise UsageError("with --camera leave out VIDEO, --cache, --classes, --scorer-option, --on and --folds")
        asked = backbone_options(
            backbone or "motion",
            weights,
            runtime,
            precision,
            device,
            tuned=tuned,
            quantized=quantized,
            others=options,
        )
        lesson = Learning(60 * minutes, backbone or "motion", asked, scorer, budget, seed=seed, pictures=pictures)
        _from_camera(CameraOptions(camera_address(camera), fps=fps or 10.0), lesson, out, as_json)
        return
    if not videos:
        raise UsageError("give VIDEO... to learn from, or --camera")
    given = [video for video in videos if video.lower().endswith(SUFFIXES)]
    kept = EmbeddingCache(videos[0]).collected() if len(videos) == 1 and os.path.isdir(videos[0]) else {}
    if given and len(given) < len(videos):
        raise UsageError(f"{display_name(given[0])} holds embeddings: give such files alone, or videos alone")
    computing = tuned or any(value is not None for value in (weights, runtime, precision, device, quantized))
    if (given or kept) and (computing or cache_folder is not None):
        raise UsageError(
            f"{display_name(videos[0])} holds embeddings: leave out --weights, --runtime, --precision, --device, "
            "--tuned, --quantized and --cache"
        )
    if fps is not None:
        require_fps([], fps)
    made: dict[str, Any]
    if given:
        if backbone is not None or options or classes:
            raise UsageError(f"{given[0]} holds embeddings: leave out --backbone, --option and --classes")
        files = [read_embeddings(path) for path in given]
        backbone = GIVEN
        made = {"vector_size": files[0].embeddings.shape[1], "seconds": 1.0 if fps is None else 1 / fps}
    elif kept:
        if fps is not None:
            raise UsageError(f"{videos[0]} holds embeddings: leave out --fps")
        kept = _of_one_backbone(kept, backbone, parsed(options))
        first = next(iter(kept))
        backbone, made = first.backbone, first.options
        on = "vector" if on == "auto" and not first.grids else on
    else:
        backbone = backbone or "motion"
        made = backbone_options(
            backbone, weights, runtime, precision, device, tuned=tuned, quantized=quantized, others=options
        )
    detector = Detector(
        backbone=backbone,
        backbone_options=made,
        scorer=scorer,
        scorer_options=parsed(scorer_options),
        on=on,
        budget=budget,
        folds=folds,
        seed=seed,
    )
    if given:
        with progress_bar() as progress:
            detector.learn_given(files, progress=progress)
    elif kept:
        labels = {entry.path: label for entry, label in kept.items()} if classes else None
        with progress_bar() as progress:
            detector.learn_kept(list(kept), labels=labels, progress=progress)
    else:
        _from_videos(detector, videos, fps, classes, cache_folder, pictures)
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
        unit = " --unit clip" if _of_clips(detector) else ""
        print(f"Saved in {out}. Next: oddwatch score {out} VIDEO{unit}")
    if detector.failures:
        raise typer.Exit(1)


def _from_camera(camera: CameraOptions, lesson: Learning, out: Path, as_json: bool) -> None:
    ready = learn_from_camera(camera, lesson, out)
    if as_json:
        print_json(
            {
                "detector": str(out),
                "seconds": round(ready.seconds, 3),
                "moments": ready.moments,
                "certified": ready.certified,
                "stable": ready.stable,
                "left_out": [list(one) for one in ready.left_out],
                "says": ready.says,
            }
        )
        return
    print(f"Learned from {camera.name}, {ready.seconds / 60:.1f} minutes. Threshold: {ready.says}.")
    if ready.left_out:
        print(f"Left out, because they stood out far from all else: {counted(len(ready.left_out), 'moment')}:")
        for start, end in ready.left_out:
            shown = datetime.fromtimestamp(start).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            print(f"  {shown}, {end - start:.0f} s")
    print(f"Saved in {out}. Next: oddwatch score {out} VIDEO")


def _of_clips(detector: Detector) -> bool:
    """Whether every video that it learned from was one clip to it."""
    if not isinstance(detector.backbone, ClipBackbone):
        return False
    window = detector.backbone.window_seconds
    return window is None or all(entry["seconds"] <= window for entry in detector.describe()["inputs"])


def _from_videos(
    detector: Detector,
    videos: list[str],
    fps: float | None,
    classes: bool,
    cache_folder: Path | None,
    pictures: bool,
) -> None:
    listed = list_videos(videos).videos
    require_fps(listed, fps)
    labels = classes_by_folder(videos) if classes else None
    cache = None if cache_folder is None else EmbeddingCache(cache_folder)
    with progress_bar() as progress:
        try:
            detector.learn(videos, fps=fps, labels=labels, cache=cache, pictures=pictures, progress=progress)
        except VideoError:
            say_failures(detector.failures[1:])
            raise
        except NotEnoughVideoError as error:
            say_failures(detector.failures)
            named = display_name(listed[0]) if len(listed) == 1 else counted(len(listed), "video")
            raise NotEnoughVideoError(f"{named}: {error}") from error


def _of_one_backbone(entries: dict[Entry, str], backbone: str | None, options: dict[str, Any]) -> dict[Entry, str]:
    """Those of the backbone, with the options, that were asked for. Raises UsageError unless all are alike."""
    found = {
        entry: label
        for entry, label in entries.items()
        if backbone in (None, entry.backbone) and options.items() <= entry.options.items()
    }
    names = ", ".join(sorted({entry.backbone for entry in entries}))
    if not found:
        raise UsageError(f"there are no embeddings of {backbone or 'these options'} here, only of {names}")
    first = next(iter(found))
    differing = {
        f"{name}={json.dumps(value)}"
        for entry in found
        for name, value in entry.options.items()
        if value != first.options.get(name)
    }
    if len({entry.backbone for entry in found}) > 1:
        raise UsageError(f"there are embeddings of several backbones here ({names}): choose one with --backbone")
    if any(entry.identity != first.identity for entry in found):
        raise UsageError(
            f"there are embeddings of {first.backbone} in several ways here ({', '.join(sorted(differing))}): choose "
            "one with --option"
        )
    return found
