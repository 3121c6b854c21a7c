"""`blend`: ways in which the direction of an embedding can be far from usual ones, on one scale, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from oddwatch.scorers.base import Arrays, Rows, Scorer, checked
from oddwatch.scorers.choice import choose
from oddwatch.scorers.density import DensityScorer
from oddwatch.scorers.gaussian import GaussianScorer
from oddwatch.scorers.knn import KnnScorer
from oddwatch.scorers.products import LEAST_SPREAD, QUARTERS
from oddwatch.scorers.subspace import SubspaceScorer
from oddwatch.types import FloatArray

FIXED = ("gaussian", "knn", "subspace")
_CHUNK = 4096


class BlendScorer(Scorer):
    """Mean of scorers of the direction of embeddings: `knn`, `gaussian` and the distance from a subspace, or what
    usual recordings choose.

    knn sees what is far from every usual moment, gaussian what is odd in view of how usual values vary together, the
    subspace (principal components that hold 80% of the variance, the linear form of an autoencoder) what the usual
    cannot be mixed to, and density (a kernel density) where the usual is rare. Rows are normalised by `length`
    (`Normaliser`). The parts are on different scales, so each is standardised by mean and deviation of what it scores
    held-out usual rows: contiguous quarters of time, each scored by what learned from the others (fewer than 8 rows are
    too few for that: they are scored by what learned from all). The score is log(1 + e^z) of their mean z: in the order
    of z, near z where that is large, and never below 0. neighbours, memory: of `knn`.

    choose: let the usual recordings (sources in `groups`) decide between all subsets of two or more of the four parts:
    the one that best tells each recording from the others is taken (`choice.choose`). That needs at least 5 recordings
    of at least 8 rows; with fewer, or without groups, as for one long video, and with choose=False it is knn, gaussian
    and subspace. `parts` has the names, `chosen` says whether recordings decided.
    """

    name = "blend"
    summary = "several distances from usual directions, averaged, chosen by recordings; for pretrained embeddings"
    max_rows = 4_000  # it fits five times, and a density keeps all rows

    def __init__(self, *, neighbours: int = 3, memory: int = 2000, choose: bool = True, seed: int = 42) -> None:
        self.options: dict[str, Any] = {"neighbours": neighbours, "memory": memory, "choose": choose, "seed": seed}
        self.parts: tuple[str, ...] = FIXED
        self.chosen = False
        self._memory = self._knn()
        self._fitted: list[Scorer] = []
        self._scale: FloatArray | None = None
        """(2, parts) mean and deviation of what each part scores held-out usual rows."""

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        """See `Scorer.fit`. groups also say which rows are neighbours in time; without them the order of rows does."""
        rows = checked(x, at_least=2)
        order = np.arange(len(rows)) if groups is None else np.lexsort((groups[:, 1], groups[:, 0]))
        found = None
        if groups is not None and self.options["choose"]:
            found = choose(rows, groups, neighbours=self.options["neighbours"], seed=self.options["seed"])
        parts = found or FIXED
        scale = self._held_out(parts, rows, order)
        memory = self._knn().fit(rows, groups=groups)
        self._fitted = [memory if name == "knn" else self._part(name).fit(rows) for name in parts]
        self.parts, self.chosen, self._memory, self._scale = parts, found is not None, memory, scale
        return self

    def score(self, x: FloatArray) -> FloatArray:
        if self._scale is None:
            raise ValueError("score before fit")
        mean, spread = self._scale
        z = ((_scores(self._fitted, x) - mean) / spread).mean(axis=1)
        return np.asarray(np.logaddexp(0, z), dtype=np.float64)

    def origins(self, x: FloatArray) -> FloatArray:
        """(n, 2) source index and seconds of the nearest remembered row; -1 when `fit` got no groups."""
        return self._memory.origins(x)

    def says(self) -> str:
        """Its parts and who chose them, in short."""
        return " + ".join(self.parts) + (", chosen by the recordings" if self.chosen else "")

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._scale is None:
            raise ValueError("state before fit")
        kept = {p.name: p for p in (*self._fitted, self._memory)}
        arrays = {f"{p.name}.{name}": value for p in kept.values() for name, value in p.state()[0].items()}
        return {**arrays, "scale": self._scale}, {"parts": list(self.parts), "chosen": self.chosen}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        def restored(part: Scorer) -> Scorer:
            prefix = f"{part.name}."
            return part.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}, {})

        self.parts, self.chosen = tuple(meta["parts"]), bool(meta["chosen"])
        restored(self._memory)
        self._fitted = [self._memory if name == "knn" else restored(self._part(name)) for name in self.parts]
        self._scale = np.asarray(arrays["scale"], dtype=np.float64)
        return self

    def _knn(self) -> KnnScorer:
        options = {name: self.options[name] for name in ("neighbours", "memory", "seed")}
        return KnnScorer(normalise="length", **options)

    def _part(self, name: str) -> Scorer:
        if name == "knn":
            return self._knn()
        if name == "gaussian":
            return GaussianScorer(normalise="length")
        return {"density": DensityScorer, "subspace": SubspaceScorer}[name]()

    def _held_out(self, parts: Sequence[str], rows: Rows, order: Any) -> FloatArray:
        """(2, parts) mean and deviation of what each part scores rows that it has not learned from."""
        every = np.ones(len(rows), dtype=bool)
        cuts = np.array_split(order, QUARTERS) if len(rows) >= 2 * QUARTERS else [order]
        found = []
        for cut in cuts:
            teach = every.copy()
            teach[cut] = len(cuts) == 1
            found.append(_scores([self._part(name).fit(rows[teach]) for name in parts], rows[cut]))
        scores = np.concatenate(found)
        return np.stack([scores.mean(0), np.maximum(scores.std(0), LEAST_SPREAD)])


def _scores(parts: Sequence[Scorer], rows: FloatArray) -> FloatArray:
    """(n, parts) what each part scores, a chunk of rows at a time: each part makes copies of what it is given."""
    chunks = [rows[i : i + _CHUNK] for i in range(0, max(len(rows), 1), _CHUNK)]
    return np.concatenate([np.stack([part.score(chunk) for part in parts], axis=1) for chunk in chunks])
