"""`oddwatch embed`: any number of videos -> a folder of embeddings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn

from oddwatch.backbones import build_backbone
from oddwatch.cli.commands import INTERRUPTED
from oddwatch.cli.options import (
    Device,
    Engine,
    Fps,
    Options,
    Precision,
    Quantized,
    Runtime,
    Tuned,
    Videos,
    Weights,
    backbone_options,
    require_fps,
)
from oddwatch.cli.output import clock, counted, errors, failures_json, print_json, say, say_failures
from oddwatch.embed import ArchiveProgress, EmbeddingCache, Job, Map, embed_archive, local_map
from oddwatch.errors import UsageError
from oddwatch.video import classes_by_folder, list_videos

_SAY_SECONDS = 30.0


def embed(
    videos: Videos,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to keep the embeddings in.")],
    backbone: Annotated[
        str,
        typer.Option("--backbone", metavar="NAME", help="What turns video into embeddings (see: oddwatch backbones)."),
    ],
    weights: Weights = None,
    runtime: Runtime = None,
    precision: Precision = None,
    device: Device = None,
    tuned: Tuned = False,
    quantized: Quantized = None,
    options: Options = [],  # noqa: B006 (typer makes a new one)
    grid: Annotated[
        bool, typer.Option("--grid", help="Keep the embeddings of places too: 50 to 1000 times as large.")
    ] = False,
    fps: Fps = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, help="Threads that decode; with --engine ray, processes that embed."
        ),
    ] = None,
    engine: Annotated[
        Engine, typer.Option("--engine", metavar="local|ray", help="Work here, or on a Ray cluster (RAY_ADDRESS).")
    ] = Engine.LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Embed an archive of videos once, for learn, score and evaluate. Run it again and it goes on where it was."""
    made = backbone_options(
        backbone, weights, runtime, precision, device, tuned=tuned, quantized=quantized, others=options
    )
    built = build_backbone(backbone, **made)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: give a folder")
    listing = list_videos(videos)
    require_fps(listing.videos, fps)
    jobs = [Job(index, path, fps) for index, path in enumerate(listing.videos)]
    run: Map = local_map
    if engine is Engine.RAY:
        from oddwatch.scale import ray_map

        run = ray_map(processes=workers)
    cache = EmbeddingCache(out)
    with _shown() as progress:
        try:
            done = embed_archive(
                jobs,
                built,
                cache,
                grids=grid,
                workers=workers if engine is Engine.LOCAL else None,
                map=run,
                progress=progress,
            )
        except KeyboardInterrupt:
            say(f"oddwatch: interrupted; finished videos are kept in {out}, the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None
    classes = classes_by_folder(videos)
    cache.collect({file: classes.get(path, "usual") for path, file in done.files.items()})
    failures = [*listing.failures, *done.failures]
    say_failures(failures)
    rate = done.clips / done.seconds if done.clips else 0.0
    if as_json:
        print_json(
            {
                "embeddings": str(out),
                "backbone": backbone,
                "embedded": done.embedded,
                "kept": done.kept,
                "clips": done.clips,
                "seconds": round(done.seconds, 3),
                "failures": failures_json(failures),
            }
        )
    else:
        speed = f", {rate:.1f} embeddings/s" if done.clips else ""
        print(f"Embedded {counted(done.embedded, 'video')} in {clock(done.seconds)}{speed}; {done.kept} were there.")
        if done.embedded or done.kept:
            print(f"Kept in {out}. Next: oddwatch learn {out} --out DETECTOR")
    if failures:
        raise typer.Exit(1)


@contextmanager
def _shown() -> Iterator[Callable[[ArchiveProgress], None]]:
    """A bar on a terminal, elsewhere a line every half minute."""
    if not errors.is_terminal:
        said = time.monotonic()

        def line(progress: ArchiveProgress) -> None:
            nonlocal said
            if time.monotonic() - said >= _SAY_SECONDS:
                said = time.monotonic()
                say(_words(progress))

        yield line
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), console=errors, transient=True) as bar:
        task = bar.add_task("embedding", total=1.0)
        yield lambda progress: bar.update(task, completed=progress.share, description=_words(progress))


def _words(progress: ArchiveProgress) -> str:
    rate = progress.clips / max(progress.seconds, 1e-3)
    left = "" if progress.seconds_left is None else f", about {clock(math.ceil(progress.seconds_left))[:-2]} left"
    return f"{progress.done} of {counted(progress.videos, 'video')}, {rate:.1f} embeddings/s{left}"
