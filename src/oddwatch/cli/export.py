"""`oddwatch export`: a finished training run -> a detector folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddwatch.export import export_run


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder made by oddwatch train.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DETECTOR", help="Folder to save the detector in.")],
    cache: Annotated[
        Path, typer.Option("--cache", metavar="FOLDER", help="Where embeddings are kept between runs.")
    ] = Path("embeddings"),
    budget: Annotated[
        str, typer.Option("--budget", metavar="SHARE", help="Share of usual clips that may be called unusual: 5%.")
    ] = "5%",
) -> None:
    """Make a detector of a training run.

    It has the best checkpoint, and is calibrated on the validation clips.
    """
    detector = export_run(run, out, cache=cache, budget=budget)
    threshold = detector.threshold
    print(f"Threshold {threshold.value:.4g} ({threshold.says}).")
    print(f"Saved in {out}. Next: oddwatch score {out} VIDEO --unit clip")
