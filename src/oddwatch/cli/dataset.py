"""`oddwatch dataset prepare`: folders of clips -> a manifest and a chart of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.options import Fps
from oddwatch.cli.output import counted, failures_json, print_json, print_table, progress_bar, say_failures
from oddwatch.datasets.manifest import NAME, SPLITS, write_manifest
from oddwatch.datasets.prepare import MIN_SECONDS, Prepared, Progress, prepare_folders, prepare_ucf_sports, read_groups
from oddwatch.datasets.transcode import FOLDER as VIDEOS
from oddwatch.datasets.transcode import transcode
from oddwatch.errors import DatasetError, MissingExtraError, UsageError
from oddwatch.files import write_bytes

CHART = "clips.png"
Source = Annotated[Path, typer.Argument(metavar="SRC", help="Folder that holds the clips. Nothing in it is changed.")]
Target = Annotated[Path, typer.Argument(metavar="DST", help=f"Folder for {NAME} and {CHART}.")]
SplitSeed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Which clips go where.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


Transcode = Annotated[
    bool,
    typer.Option(
        "--transcode",
        help=f"Write mp4 copies (H.264) into {VIDEOS}/ beside the manifest, which then names those. Goes on where it "
        "was stopped.",
    ),
]


def ucf_sports(
    source: Source, target: Target, seed: SplitSeed = 42, copies: Transcode = False, as_json: Json = False
) -> None:
    """UCF Sports Action: sub-classes merged, clips under a second dropped, 50% train, 40% test, 10% validation."""
    _require_folder(source)
    with progress_bar() as progress:
        prepared = prepare_ucf_sports(source, seed=seed, progress=progress)
        prepared = _copied(prepared, target, copies, progress)
    _write(prepared, target, as_json)


def folders(
    source: Source,
    target: Target,
    normal: Annotated[
        str, typer.Option("--normal", metavar="A,B,...", help="Folders of the classes that are allowed.")
    ],
    anomalous: Annotated[
        str, typer.Option("--anomalous", metavar="X,Y,...", help="Folders of the classes that must be found.")
    ],
    split_by: Annotated[
        Path | None,
        typer.Option(
            "--split-by",
            metavar="CSV",
            help="Columns path and source: clips of one source, such as one recording, stay on one side.",
        ),
    ] = None,
    min_seconds: Annotated[
        float, typer.Option("--min-seconds", metavar="S", min=0.0, help="Shorter clips are dropped, and listed.")
    ] = MIN_SECONDS,
    fps: Fps = None,
    seed: SplitSeed = 42,
    copies: Transcode = False,
    as_json: Json = False,
) -> None:
    """Any folder with a folder of clips for each class."""
    _require_folder(source)
    with progress_bar() as progress:
        prepared = prepare_folders(
            source,
            normal=_names(normal),
            anomalous=_names(anomalous),
            groups=None if split_by is None else read_groups(split_by),
            fps=fps,
            min_seconds=min_seconds,
            seed=seed,
            progress=progress,
        )
        prepared = _copied(prepared, target, copies, progress)
    _write(prepared, target, as_json)


def _names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise UsageError("name at least one class")
    return found


def _require_folder(source: Path) -> None:
    if not source.is_dir():
        raise DatasetError(f"{source} is not a folder: give the one that holds the folders of the classes")


def _copied(prepared: Prepared, target: Path, copies: bool, progress: Progress | None) -> Prepared:
    if not copies:
        return prepared
    return replace(prepared, clips=transcode(prepared.clips, target, progress=progress))


def _write(prepared: Prepared, target: Path, as_json: bool) -> None:
    file = target / NAME
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file: give a folder")
    write_manifest(file, prepared.clips)
    counts = Counter((clip.action, clip.split) for clip in prepared.clips)
    classes = list(dict.fromkeys(clip.action for clip in prepared.clips))
    table = [[counts[action, split] for split in SPLITS] for action in classes]
    chart: Path | None = target / CHART
    try:
        from oddwatch.report.figures import stacked_bars

        write_bytes(target / CHART, stacked_bars(classes, SPLITS, table))
    except MissingExtraError:
        chart = None
    say_failures(prepared.dropped)
    if as_json:
        print_json(
            {
                "manifest": str(file),
                "classes": {a: dict(zip(SPLITS, row, strict=True)) for a, row in zip(classes, table, strict=True)},
                "dropped": failures_json(prepared.dropped),
            }
        )
        return
    rows = [[action, *(str(n or "-") for n in row)] for action, row in zip(classes, table, strict=True)]
    totals = [str(sum(column)) for column in zip(*table, strict=True)]
    print_table(
        f"{counted(len(prepared.clips), 'clip')}", ("class", *SPLITS), [*rows, ["all", *totals]], numbers=SPLITS
    )
    print(f"Manifest: {file}" + ("" if chart is None else f"; chart: {chart}"))
