"""A finished training run -> a detector folder, for `score`."""

from __future__ import annotations

import os
from pathlib import Path

from oddwatch.detector import Detector
from oddwatch.detector.folder import require_free
from oddwatch.detector.trained import UsualClip, trained_detector
from oddwatch.embed import EmbeddingCache, fingerprint
from oddwatch.files import is_remote
from oddwatch.finetune.best import WEIGHTS, load_best, scorer_options
from oddwatch.finetune.clips import clips_of, views_of
from oddwatch.finetune.embeddings import embed_views
from oddwatch.finetune.folder import RunFolder
from oddwatch.finetune.recipe import Data


def export_run(run: str | os.PathLike[str], out: Path, *, cache: Path, budget: str = "5%") -> Detector:
    """Save the best checkpoint of a run as a detector, calibrated on the run's validation clips; these also chose the
    checkpoint, so thresholds are a little low. cache: as for `train`. A backbone that has learned is written to
    `backbone.safetensors` in the run folder, which the detector names; of a run that is an address, beside `out`.

    Raises RunError for a run that is not finished or whose backbone has other weights by now, DetectorError for `out`.
    """
    require_free(out)
    folder = RunFolder(run).folder
    weights = out.with_name(f"{out.name}-{WEIGHTS}") if is_remote(folder) else None
    best = load_best(run, weights=weights)
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
    clips = clips_of(folder / "manifest.csv")
    usual = {}
    for split in ("train", "validation"):
        views = views_of(clips, split, 0, Data(), asked["seed"])
        rows = embed_views(views, best.backbone, EmbeddingCache(cache), workers=asked["data"]["workers"])
        usual[split] = [
            UsualClip(v.clip.path, v.clip.action, row, v.clip.seconds, fingerprint(v.clip.path), v.fps)
            for v, row in zip(views, rows, strict=True)
        ]
    trained_detector(detector, best.scorer, learned=usual["train"], held_out=usual["validation"]).save(out)
    return detector
