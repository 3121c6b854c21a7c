"""`oddwatch export`: a finished training run -> a detector folder, or a graph for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddwatch.cli.options import Overwrite
from oddwatch.errors import UsageError
from oddwatch.export import export_run, export_run_graph
from oddwatch.export.graph import TOLERANCE, graph_format


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Made by oddwatch train: a folder, or s3://BUCKET/RUN.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to save it in.")],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="detector, for oddwatch score; onnx or openvino: backbone and autoencoder as one graph, from a "
            "prepared clip to its embedding and error, for use without oddwatch.",
        ),
    ] = "detector",
    cache: Annotated[
        Path, typer.Option("--cache", metavar="FOLDER", help="Where embeddings are kept between runs.")
    ] = Path("embeddings"),
    budget: Annotated[
        str, typer.Option("--budget", metavar="SHARE", help="Share of usual clips that may be called unusual: 5%.")
    ] = "5%",
    overwrite: Overwrite = False,
) -> None:
    """Make a detector or a graph of a training run.

    It has the best checkpoint, and is calibrated on the validation clips.
    """
    if kind == "detector":
        threshold = export_run(run, out, cache=cache, budget=budget, overwrite=overwrite).threshold
        print(f"Threshold {threshold.value:.4g} ({threshold.says}).")
        print(f"Saved in {out}. Next: oddwatch score {out} VIDEO --unit clip")
        return
    if overwrite:
        raise UsageError("--overwrite is for detectors: give a graph a new folder")
    done = export_run_graph(run, out, graph=graph_format(kind), cache=cache, budget=budget)
    print(
        f"Largest relative difference from torch on {done.clips} validation clips: {done.embedding_difference:.1e} "
        f"(embedding), {done.error_difference:.1e} (error); at most {TOLERANCE:g} is let pass."
    )
    print(f"Threshold {done.threshold.value:.4g} ({done.threshold.says}).")
    print(f"Saved as {done.model}; model.json beside it says how to use it.")
