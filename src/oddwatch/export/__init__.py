"""A finished training run -> a detector folder, for `score`, or one graph for another runtime."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from oddwatch.detector import Detector
from oddwatch.detector.folder import require_free
from oddwatch.detector.trained import UsualClip, trained_detector
from oddwatch.embed import EmbeddingCache, fingerprint
from oddwatch.errors import RunError
from oddwatch.export.graph import Exported, GraphFormat, export_graph, network_of, require_format
from oddwatch.files import is_remote
from oddwatch.finetune.best import WEIGHTS, Best, load_best, scorer_options
from oddwatch.finetune.clips import clips_of, views_of
from oddwatch.finetune.embeddings import embed_views
from oddwatch.finetune.folder import RunFolder
from oddwatch.finetune.recipe import Data

__all__ = ["Exported", "GraphFormat", "export_run", "export_run_graph"]

_LEARNED = ("train", "validation")


def export_run(
    run: str | os.PathLike[str], out: Path, *, cache: Path, budget: str = "5%", overwrite: bool = False
) -> Detector:
    """Save the best checkpoint of a run as a detector, calibrated on the run's validation clips; these also chose the
    checkpoint, so thresholds are a little low. cache: as for `train`. A backbone that has learned is written to
    `backbone.safetensors` in the run folder, which the detector names; of a run that is an address, beside `out`. A
    detector in `out` is replaced when `overwrite` says so.

    Raises RunError for a run that is not finished or whose backbone has other weights by now, DetectorError for `out`.
    """
    require_free(out, replacing=overwrite)
    folder = RunFolder(run).folder
    best = load_best(run, weights=out.with_name(f"{out.name}-{WEIGHTS}") if is_remote(folder) else None)
    detector = _calibrated(best, folder, cache, budget)
    detector.save(out)
    return detector


def export_run_graph(
    run: str | os.PathLike[str], out: Path, *, graph: GraphFormat, cache: Path, budget: str = "5%"
) -> Exported:
    """Write the best checkpoint of a run as one graph, from a prepared clip to its embedding and error, and a JSON file
    that says how to prepare clips and what the threshold is (`oddwatch.export.graph`). It is run on validation clips
    and compared with torch. The threshold is that of `export_run`.

    Raises RunError as `export_run` does, and when the graph differs too much; then nothing is written. UsageError for a
    backbone that is no network, MissingExtraError.
    """
    require_format(graph)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is there and not empty: give --out a new folder")
    folder = RunFolder(run).folder
    with tempfile.TemporaryDirectory() as scratch:
        best = load_best(run, weights=Path(scratch) / WEIGHTS)
        clips = clips_of(folder / "manifest.csv", splits=_LEARNED)
        views = views_of(clips, "validation", 0, Data(), best.asked["seed"])
        network_of(best)  # what cannot be is said before the work
        detector = _calibrated(best, folder, cache, budget)
        return export_graph(best, views, detector.clip_threshold(budget), out, graph)


def _calibrated(best: Best, folder: Path, cache: Path, budget: str) -> Detector:
    asked = best.asked
    detector = Detector(
        backbone=asked["backbone"],
        backbone_options=best.options,
        scorer="autoencoder",
        scorer_options=scorer_options(asked),
        on="vector",
        budget=budget,
        seed=asked["seed"],
    )
    clips = clips_of(folder / "manifest.csv", splits=_LEARNED)
    usual = {}
    for split in _LEARNED:
        views = views_of(clips, split, 0, Data(), asked["seed"])
        rows = embed_views(views, best.backbone, EmbeddingCache(cache), workers=asked["data"]["workers"])
        usual[split] = [
            UsualClip(v.clip.path, v.clip.action, row, v.clip.seconds, fingerprint(v.clip.path), v.fps)
            for v, row in zip(views, rows, strict=True)
        ]
    return trained_detector(detector, best.scorer, learned=usual["train"], held_out=usual["validation"])
