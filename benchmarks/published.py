"""The default scorers against the article's autoencoder, on embeddings of a pretrained network and without weights.

    OMP_NUM_THREADS=1 python benchmarks/published.py MCVAD JHMDB [--seeds 5] [--draws 20] [--resamples 1000]

MCVAD: folder of embeddings as `oddwatch evaluate embeddings` takes it; frame-level AUC of each view and their mean,
learned from the usual training scenes. The autoencoder is trained with --seeds seeds; the default gives the same for
every seed. JHMDB: folder as `benchmarks/classes.py` takes it; `histograms` of what moves, each clip as a whole, sit,
shoot_bow and walk against the rest; AUC over clips, mean of --draws draws of the usual sources.

All intervals are of the difference, 95%: over seeds and over draws by Student's t of the paired differences; over
scenes by resampling test scenes with replacement, the same ones for both scorers and both views (percentiles). The
interval over seeds says nothing about other scenes, that over draws nothing about other videos: draws share clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from classes import name, paired, read
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from oddwatch.embedding_file import EmbeddingFile, View, read_views
from oddwatch.scorers import FOR_EMBEDDINGS, build_scorer
from oddwatch.types import FloatArray

ARTICLE = ("moving", "autoencoder", False)
WITHOUT_WEIGHTS = (("moving", "knn", False), ("moving", "whitened", True))
"""What `auto` stands for, and the best there is when the classes of usual clips are known."""
UNUSUAL = ("shoot_bow", "sit", "walk")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mcvad", type=Path, metavar="MCVAD")
    parser.add_argument("jhmdb", type=Path, metavar="JHMDB")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--resamples", type=int, default=1000)
    a = parser.parse_args()
    print(f"{a.seeds} seeds, {a.draws} draws, {a.resamples} resamples\n")
    print("| data | default scorer | AUC | autoencoder | difference | over seeds or draws | over test scenes |")
    print("|---|---|---|---|---|---|---|")
    show_views(list(read_views(a.mcvad)), a.seeds, a.resamples)
    show_clips(a.jhmdb, a.draws)


def show_views(views: list[View], seeds: int, resamples: int) -> None:
    """Rows of MC-VAD."""
    ours = [_scored(view, FOR_EMBEDDINGS, 0)[None] for view in views]
    theirs = [np.stack([_scored(view, "autoencoder", 42 + seed) for seed in range(seeds)]) for view in views]
    scenes = np.unique(np.concatenate([view.test.scenes for view in views]))
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(len(scenes), size=len(scenes)), minlength=len(scenes)) for _ in range(resamples)]
    once = np.ones(len(scenes), dtype=np.int64)
    own, other, apart = [], [], []
    for view, mine, published in zip(views, ours, theirs, strict=True):
        at = np.searchsorted(scenes, view.test.scenes)
        own.append(_areas(view.test, mine, once[at]))
        other.append(_areas(view.test, published, once[at]))
        apart.append([_areas(view.test, mine, d[at])[0] - _areas(view.test, published, d[at]).mean() for d in draws])
    rows = [*zip((view.name for view in views), own, other, apart, strict=True)]
    rows.append(("mean of the views", np.mean(own, axis=0), np.mean(other, axis=0), np.mean(apart, axis=0).tolist()))
    for which, mine, published, resampled in rows:
        low, high = np.nanpercentile(resampled, [2.5, 97.5])
        _row(f"MC-VAD, {which}", FOR_EMBEDDINGS, mine, published, f"{low:+.3f} to {high:+.3f}")


def show_clips(folder: Path, draws: int) -> None:
    """Rows of JHMDB."""
    areas = read(folder, ("moving",)).areas(UNUSUAL, draws, (ARTICLE, *WITHOUT_WEIGHTS))
    for one in WITHOUT_WEIGHTS:
        _row("JHMDB", f"histograms: {name(*one)}", areas[name(*one)], areas[name(*ARTICLE)], "-")


def _row(data: str, scorer: str, mine: FloatArray, published: FloatArray, over_scenes: str) -> None:
    difference, _, half = paired(mine - published).partition(" ± ")
    cells = [data, scorer, f"{mine.mean():.3f}", f"{published.mean():.3f}", difference, f"± {half}", over_scenes]
    print(f"| {' | '.join(cells)} |", flush=True)


def _scored(view: View, scorer: str, seed: int) -> FloatArray:
    """(n,) scores of the test embeddings."""
    train = view.train
    rows, scene = train.embeddings[train.usual], train.scenes[train.usual]
    groups = np.stack([scene, np.arange(len(rows))], axis=1).astype(np.float64)
    return build_scorer(scorer, seed=seed).fit(rows, groups=groups).score(view.test.embeddings)


def _areas(test: EmbeddingFile, scores: FloatArray, often: NDArray[np.int64]) -> FloatArray:
    """(m,) AUC over frames of (m, n) scores; often: how many times each of the n embeddings counts. NaN when one kind
    of frame is not there.
    """
    assert test.frame_labels is not None
    labels = test.frame_labels
    weights = np.repeat(often, labels.shape[1])
    truth = labels.ravel()
    if not (weights[truth].sum() and weights[~truth].sum()):
        return np.full(len(scores), np.nan)
    spread = np.repeat(scores, labels.shape[1], axis=1)
    return np.array([roc_auc_score(truth, one, sample_weight=weights) for one in spread])


if __name__ == "__main__":
    main()
