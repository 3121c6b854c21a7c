"""How well are clips of actions that nobody allowed told from clips of allowed ones, without weights?

    python benchmarks/classes.py FOLDER [--unusual sit shoot_bow walk] [--draws 20] [--choose 15]

FOLDER: index.csv with the columns path, label and source, and the clips. Classes after --unusual are unusual, the rest
usual; three quarters of the usual sources are learned from, the clips of the rest and of all unusual classes are the
test: one AUC per draw. Prints mean and standard deviation over the draws, and for each candidate the paired difference
to `pyramids, knn` (HOF, MBH and HOG of every frame in spatial pyramids, nearest neighbours: the plain descriptor of
`pyramids.py`), to `picture, knn` (the same of 16 frames of the whole picture) and to the article's autoencoder, with
95% intervals (t, over draws; draws share clips, so they are too narrow for other data).

--choose N: instead, the mean over N other partitions of the same classes in which other classes are unusual, 3 draws of
each: what choices may be made on, so without the autoencoder, which is not chosen. `labels`: the scorer was told the
classes of the usual clips.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyramids import distances, pyramids
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from oddwatch.backbones import build_backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.scorers import build_scorer
from oddwatch.types import FloatArray
from oddwatch.video import sample_clip

PLAIN = "pyramids, knn"
PICTURE = "picture, knn"
ARTICLE = "moving, autoencoder"
Candidate = tuple[str, str, bool]
"""Pool of `histograms` or `pyramids`, scorer, whether it is told the classes."""
PYRAMIDS: Candidate = ("pyramids", "knn", False)
CANDIDATES: tuple[Candidate, ...] = (
    PYRAMIDS,
    ("picture", "knn", False),
    ("picture", "whitened", True),
    ("moving", "autoencoder", False),
    ("moving", "knn", False),
    ("moving", "blend", False),
    ("moving", "whitened", False),
    ("moving", "whitened", True),
)


@dataclass(frozen=True)
class Clips:
    """label and source of each clip, (n,), and its (n, D) embedding by each pool, (n, 3, D) of `pyramids`."""

    label: NDArray[np.str_]
    source: NDArray[np.str_]
    rows: dict[str, FloatArray]

    def draw(self, unusual: tuple[str, ...], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the clips to learn from and of those to test."""
        usual = ~np.isin(self.label, unusual)
        sources = np.random.default_rng(seed).permutation(np.unique(self.source[usual]))
        learned = np.isin(self.source, sources[: round(0.75 * len(sources))])
        return np.flatnonzero(usual & learned), np.flatnonzero(~(usual & learned))

    def areas(
        self, unusual: tuple[str, ...], draws: int, candidates: Sequence[Candidate] = CANDIDATES
    ) -> dict[str, FloatArray]:
        """(draws,) AUC of each candidate."""
        found: dict[str, list[float]] = {name(*candidate): [] for candidate in candidates}
        for seed in range(draws):
            learn, test = self.draw(unusual, seed)
            for candidate in candidates:
                score = self.scores(learn, test, candidate)
                found[name(*candidate)].append(roc_auc_score(np.isin(self.label[test], unusual), score))
        return {key: np.array(values) for key, values in found.items()}

    def scores(self, learn: NDArray[np.int64], test: NDArray[np.int64], candidate: Candidate) -> FloatArray:
        """(len(test),) of a candidate that learned from `learn`."""
        pool, scorer, told = candidate
        rows = self.rows[pool]
        if candidate == PYRAMIDS:
            return distances(rows[learn], rows[test])
        labels = self.label[learn].tolist() if told else None
        return build_scorer(scorer).fit(rows[learn], labels=labels).score(rows[test])


def name(pool: str, scorer: str, told: bool) -> str:
    return f"{pool}, {scorer}{', labels' if told else ''}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--unusual", nargs="+", default=["sit", "shoot_bow", "walk"])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--choose", type=int, default=0, metavar="N")
    a = parser.parse_args()
    clips = read(a.folder)
    unusual = tuple(sorted(a.unusual))
    if a.choose:
        show_means(clips, list(other_partitions(clips, unusual, a.choose)))
    else:
        show(clips.areas(unusual, a.draws), unusual)


def read(folder: Path, pools: Sequence[str] = ("pyramids", "picture", "moving")) -> Clips:
    """Embed every clip of the index as a whole."""
    with (folder / "index.csv").open(newline="") as file:
        index = list(csv.DictReader(file))
    rows: dict[str, list[Any]] = {}
    for pool in pools:
        if pool == PYRAMIDS[0]:
            rows[pool] = [pyramids(folder / row["path"]) for row in index]
            continue
        made = build_backbone("histograms", pool=pool, window_seconds=None)
        assert isinstance(made, ClipBackbone)
        sampled = (sample_clip(folder / row["path"], frames=made.input.frames) for row in index)
        rows[pool] = [made.embed_windows([made.whole(clip)]).vector[0] for clip in sampled]
    return Clips(
        np.array([row["label"] for row in index]),
        np.array([row["source"] for row in index]),
        {pool: np.stack(found) for pool, found in rows.items()},
    )


def other_partitions(clips: Clips, unusual: tuple[str, ...], count: int) -> Iterator[tuple[str, ...]]:
    """Seeded: as many unusual classes, but not these."""
    others = [p for p in combinations(np.unique(clips.label).tolist(), len(unusual)) if p != unusual]
    for chosen in np.random.default_rng(1).permutation(len(others))[:count]:
        yield others[chosen]


def show_means(clips: Clips, partitions: list[tuple[str, ...]]) -> None:
    """The mean of each candidate over partitions."""
    candidates = [one for one in CANDIDATES if name(*one) != ARTICLE]
    found = [clips.areas(partition, 3, candidates) for partition in partitions]
    print(f"{len(partitions)} other partitions, 3 draws each\n\n| | AUC |\n|---|---|")
    for candidate in found[0]:
        print(f"| {candidate} | {np.mean([areas[candidate].mean() for areas in found]):.3f} |")


def show(areas: dict[str, FloatArray], unusual: tuple[str, ...]) -> None:
    """The table of docs/results.md."""
    print(f"Unusual: {', '.join(unusual)}; {len(areas[PLAIN])} draws\n")
    others = PLAIN, PICTURE, ARTICLE
    print(f"| | AUC | sd | {' | '.join(f'to {other}' for other in others)} |\n|---|---|---|---|---|---|")
    for candidate, values in areas.items():
        pairs = " | ".join(paired(values - areas[other]) for other in others)
        print(f"| {candidate} | {values.mean():.3f} | {values.std(ddof=1):.3f} | {pairs} |")


def paired(apart: FloatArray) -> str:
    """Mean and 95% interval (t) of differences, empty where there is none."""
    half = student.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / len(apart) ** 0.5
    return f"{apart.mean():+.3f} ± {half:.3f}" if apart.any() else ""


if __name__ == "__main__":
    main()
