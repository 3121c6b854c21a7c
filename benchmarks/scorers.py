"""Which scorer suits embeddings of pretrained networks, as far as usual scenes alone can tell; then what the test says.

    python benchmarks/scorers.py MCVAD [--kinds KINDS.npz --unusual KIND ...] [--processes 2]

MCVAD: folder with train*.npz and test*.npz, as `oddwatch evaluate embeddings` takes it. KINDS.npz: embeddings of clips
of several kinds, by another network, with arrays `embeddings` (n, D), `label` and `source` (n,): clips of one source
are never on both sides. Kinds after --unusual are not used to choose.

Chosen by, mean AUC over views and held-out parts, on scenes in which nothing is unusual:

- scene: each scene in turn stands for the unusual, quarters in time of the others for the usual; what is scored, and
  its neighbours, is not learned from.
- change: each scene in turn is held out and stands for the usual; the unusual is the same scene with a share of the
  values taken from one row of another scene, or each from any row, or a tenth of the values made 1.7 times as large.
- kind: each usual kind in turn stands for the unusual, a quarter of the sources of the others for the usual.

The choice is the lowest sum of the three ranks. Test figures are computed after that. Prints docs/results.md's table.

Below it: the blend whose parts the recordings that it learns from choose (of KINDS.npz: the kinds, in the order of
sources), and the one of three fixed parts, given the same groups.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from oddwatch.embedding_file import View, read_views
from oddwatch.scorers import build_scorer
from oddwatch.scorers.blend import BlendScorer
from oddwatch.scorers.density import DensityScorer
from oddwatch.scorers.subspace import SubspaceScorer
from oddwatch.types import FloatArray

Indices = NDArray[np.int64]
Scores = dict[str, FloatArray]
BLENDS = (
    ("knn length", "gaussian length"),
    ("knn length", "subspace"),
    ("knn length", "gaussian length", "subspace"),
    ("knn length", "density", "gaussian length"),
    ("density", "subspace"),
    ("density", "gaussian length", "subspace"),
)
CHOSEN = "chosen by the recordings"
DRAWS = 5
TEST_DRAWS = 20
_PARTS = 4


def scorer(name: str, **options: Any) -> Callable[[FloatArray], Any]:
    return lambda rows: build_scorer(name, **options).fit(rows)


ALONE: dict[str, Callable[[FloatArray], Any]] = {
    **{
        f"{name} {how}": scorer(name, normalise=how)
        for name in ("knn", "gaussian")
        for how in ("columns", "length", "none")
    },
    "centroid": scorer("centroid"),
    "subspace": lambda rows: SubspaceScorer().fit(rows),
    "density": lambda rows: DensityScorer().fit(rows),
}
BLENDED = sorted({part for blend in BLENDS for part in blend})


def fit(rows: FloatArray) -> Callable[[FloatArray], Scores]:
    """All candidates at once: a blend is the mean of its parts, each standardised by what it scores held-out rows."""
    cuts = np.array_split(np.arange(len(rows)), _PARTS)
    scale = {}
    for name in BLENDED:
        held_out = np.concatenate([ALONE[name](np.delete(rows, cut, axis=0)).score(rows[cut]) for cut in cuts])
        scale[name] = held_out.mean(), held_out.std()
    fitted = {name: make(rows) for name, make in ALONE.items()}

    def score(new: FloatArray) -> Scores:
        found = {name: one.score(new) for name, one in fitted.items()}
        z = {name: (found[name] - mean) / spread for name, (mean, spread) in scale.items()}
        return {**found, **{" + ".join(blend): np.mean([z[p] for p in blend], axis=0) for blend in BLENDS}}

    return score


def blends(rows: FloatArray, groups: FloatArray) -> Callable[[FloatArray], Scores]:
    """The blend whose parts recordings choose, and the fixed one."""
    fitted = {name: BlendScorer(choose=name == CHOSEN).fit(rows, groups=groups) for name in (CHOSEN, "fixed")}
    return lambda new: {name: one.score(new) for name, one in fitted.items()}


def areas(usual: Scores, unusual: Scores) -> dict[str, float]:
    labels = [np.r_[np.zeros(len(usual[n])), np.ones(len(unusual[n]))] for n in usual]
    both = [np.r_[usual[n], unusual[n]] for n in usual]
    return {n: float(roc_auc_score(y, s)) for n, y, s in zip(usual, labels, both, strict=True)}


def mean(found: Iterable[dict[str, float]]) -> dict[str, float]:
    every = list(found)
    return {name: float(np.mean([one[name] for one in every])) for name in every[0]}


def usual_rows(view: View) -> tuple[FloatArray, Indices]:
    """The one place where training files are read: rows and scenes in which nothing is unusual."""
    return view.train.embeddings[view.train.usual], view.train.scenes[view.train.usual]


def by_scene(view: View) -> dict[str, float]:
    rows, scene = usual_rows(view)
    quarter = np.zeros(len(rows), dtype=np.int64)
    for one in np.unique(scene):
        at = np.flatnonzero(scene == one)
        quarter[at] = np.arange(len(at)) * _PARTS // len(at)
    found = []
    for one in np.unique(scene):
        for part in range(_PARTS):
            tested = (scene != one) & (quarter == part)
            near = tested | np.r_[tested[1:], False] | np.r_[False, tested[:-1]]
            score = fit(rows[(scene != one) & ~near])
            found.append(areas(score(rows[tested]), score(rows[scene == one])))
    return mean(found)


def by_change(view: View) -> dict[str, float]:
    rows, scene = usual_rows(view)
    found = []
    for one in np.unique(scene):
        others, held = rows[scene != one], rows[scene == one]
        score, rng = fit(others), np.random.default_rng(0)
        usual = score(held)
        for _ in range(3):
            found += [areas(usual, score(changed)) for changed in _changes(held, others, rng)]
    return mean(found)


def _changes(rows: FloatArray, others: FloatArray, rng: np.random.Generator) -> Iterator[FloatArray]:
    size = others.shape[1]
    yield np.where(rng.random(rows.shape) < 0.3, others[rng.integers(len(others), size=len(rows))], rows)
    yield np.where(
        rng.random(rows.shape) < 0.15, others[rng.integers(len(others), size=rows.shape), np.arange(size)], rows
    )
    yield np.where(rng.random((1, size)) < 0.1, rows * np.float32(1.7), rows)


def by_kind(
    file: Path, unusual: tuple[str, ...], kinds: tuple[str, ...], draws: int, choosing: bool = False
) -> dict[str, float]:
    """kinds: each in turn, or all together where they are the unusual ones, against the kinds that are not unusual."""
    with np.load(file, allow_pickle=False) as found:
        rows, label, source = found["embeddings"], found["label"], found["source"]
    groups = np.stack([np.unique(of, return_inverse=True)[1] for of in (label, source)], axis=1).astype(np.float64)
    areas_found = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        for kind in [kinds] if kinds == unusual else [(k,) for k in kinds]:
            usual = ~np.isin(label, [*unusual, *kind])
            sources = np.unique(source[usual])
            tested = usual & np.isin(source, rng.choice(sources, len(sources) // 4, replace=False))
            learned = rng.permutation(np.flatnonzero(usual & ~np.isin(source, source[tested])))
            score = blends(rows[learned], groups[learned]) if choosing else fit(rows[learned])
            areas_found.append(areas(score(rows[tested]), score(rows[np.isin(label, kind)])))
    return mean(areas_found)


def on_test(view: View, choosing: bool = False) -> dict[str, float]:
    labels = view.test.frame_labels
    assert labels is not None
    rows, scene = usual_rows(view)
    groups = np.stack([scene, np.arange(len(rows))], axis=1).astype(np.float64)
    found = (blends(rows, groups) if choosing else fit(rows))(view.test.embeddings)
    return {n: float(roc_auc_score(labels.ravel(), s.repeat(labels.shape[1]))) for n, s in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kinds", type=Path)
    parser.add_argument("--unusual", nargs="*", default=[])
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    views, unusual = read_views(arguments.folder), tuple(arguments.unusual)
    with ProcessPoolExecutor(arguments.processes) as pool:
        chosen_by = {"scene": pool.map(by_scene, views), "change": pool.map(by_change, views)}
        tested = {f"test, {v.name}": pool.submit(on_test, v) for v in views}
        choosing = {f"test, {v.name}": pool.submit(on_test, v, True) for v in views}
        if arguments.kinds:
            with np.load(arguments.kinds, allow_pickle=False) as found:
                usual = tuple(sorted({*found["label"].tolist()} - {*unusual}))
            chosen_by["kind"] = pool.map(by_kind, [arguments.kinds], [unusual], [usual], [DRAWS])
            if unusual:
                tested["test, kinds"] = pool.submit(by_kind, arguments.kinds, unusual, unusual, TEST_DRAWS)
                choosing["test, kinds"] = pool.submit(by_kind, arguments.kinds, unusual, unusual, TEST_DRAWS, True)
        selection = {name: mean(one) for name, one in chosen_by.items()}
        test = {name: one.result() for name, one in tested.items()}
        chosen = {name: one.result() for name, one in choosing.items()}
    names = list(next(iter(selection.values())))
    ranks = {n: [1 + sum(s[o] > s[n] for o in names) for s in selection.values()] for n in names}
    print("| scorer | " + " | ".join([*selection, "sum of ranks", *test]) + " |")
    print("|---" * (2 + len(selection) + len(test)) + "|")
    for name in sorted(names, key=lambda n: (sum(ranks[n]), max(ranks[n]))):
        before = [f"{one[name]:.3f}" for one in selection.values()]
        print(
            f"| {name} | "
            + " | ".join([*before, str(sum(ranks[name])), *(f"{t[name]:.3f}" for t in test.values())])
            + " |"
        )
    print("\n| blend | " + " | ".join(chosen) + " |\n" + "|---" * (1 + len(chosen)) + "|")
    for name in (CHOSEN, "fixed"):
        print(f"| {name} | " + " | ".join(f"{one[name]:.3f}" for one in chosen.values()) + " |")


if __name__ == "__main__":
    main()
