"""`oddwatch demo`: the whole path on a rendered scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.output import clock, counted, print_table, progress_bar
from oddwatch.types import Event, TruthEvent

if TYPE_CHECKING:
    from oddwatch.demo import DemoResult


_ROLES = ("The default", "The article's method")


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the videos, the report and the detector.")
    ] = Path("demo"),
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Another number shows another place and other people.")
    ] = 0,
) -> None:
    """Learn a rendered walkway, find what is unusual in unseen video."""
    from oddwatch.demo import run_demo

    with progress_bar() as progress:
        result = run_demo(out, seed=seed, progress=progress)
    show(result)


def show(result: DemoResult) -> None:
    """The truth with what each detector said of it, then where to look."""
    rows = []
    for happened in result.truth:
        seen = [_spans(side.matching(happened), "missed") for side in result.sides]
        rows.append([happened.kind.replace("_", " "), _spans([happened], ""), *seen])
    rows.append(["false alarms", "", *(_spans(side.false_alarms(result.truth), "none") for side in result.sides)])
    heads = [f"{role}:\n{side.name}".replace(" on ", "\non ") for role, side in zip(_ROLES, result.sides, strict=True)]
    print_table("What happened, and what was found", ("unusual", "truth", *heads), rows)
    for role, side in zip(_ROLES, result.sides, strict=True):
        found = sum(bool(side.matching(happened)) for happened in result.truth)
        false = len(side.false_alarms(result.truth))
        print(f"{role}: {found} of {len(result.truth)} found, {counted(false, 'false alarm')}.")
        print(f"  Threshold {side.threshold:.4g} ({side.says}).")
        if side.note:
            print(f"  To save time: {side.note}.")
    print()
    print(f"Usual video:     {result.usual_video}")
    print(f"Unseen video:    {result.unseen_video}")
    print(f"Detector:        {result.detector}")
    print(f"Annotated video: {result.annotated}")
    print(f"Report:          {result.report}")


def _spans(stretches: Sequence[Event | TruthEvent], nothing: str) -> str:
    return "\n".join(f"{clock(s.start_seconds)} to {clock(s.end_seconds)}" for s in stretches) or nothing
