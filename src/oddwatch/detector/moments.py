"""Usual moments that a detector remembers only to show them: which of them are most like what it sees now?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oddwatch.embed import StoredEmbeddings
from oddwatch.scorers import GridScorer
from oddwatch.scorers.base import Arrays, Normaliser
from oddwatch.types import Embeddings, FloatArray, covered_seconds

MOST = 256
_BYTES = 4 << 20
"""Of what is remembered of grids: crowded moments are fewer."""
_COLUMNS = 32
_WIDEST = 4096
_ROWS = 8192
"""At a time."""
_NEAR = 0.1
"""How far away a place is that is as unlike as one standard deviation of all columns, in picture heights."""
_APART_SECONDS = 2.0
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class SimilarMoment:
    """A usual moment. source: of which recording. seconds: when in it, of a camera since the first that was learned;
    wall_seconds: since 1970, None where that is not known. distance: how unlike it is, in standard deviations of usual
    video; 0 is the same. picture: a small JPEG, None when no picture was at hand.
    """

    source: str
    seconds: float
    wall_seconds: float | None
    distance: float
    picture: bytes | None = field(default=None, repr=False)


class Moments:
    """N usual moments, spread over the time that was learned from, at most `MOST`.

    sources: names. when: (N, 3) index into sources, seconds, seconds since 1970 or nan. values: (rows, k) float16,
    standardised; of vectors a row each, of grids one for each cell that holds something, and cells (rows,) says which
    one of the flattened grid of `shape` (Gh, Gw). bounds: (N + 1,) where the rows of each moment begin. basis: (d, k)
    principal directions of more than 32 columns of a grid. pictures: N JPEGs, empty where there is none.
    """

    def __init__(
        self,
        sources: Sequence[str],
        when: FloatArray,
        values: NDArray[np.float16],
        cells: NDArray[np.int32],
        bounds: NDArray[np.int64],
        normaliser: Normaliser,
        how: str,
        basis: Rows | None,
        shape: tuple[int, int] | None,
        pictures: Sequence[bytes],
    ) -> None:
        self._sources, self._when, self._values, self._cells = tuple(sources), when, values, cells
        self._bounds, self._normaliser, self._how, self._basis = bounds, normaliser, how, basis
        self._shape, self._pictures = shape, tuple(pictures)

    def __len__(self) -> int:
        return len(self._when)

    @property
    def pictured(self) -> int:
        """How many have a picture."""
        return sum(map(bool, self._pictures))

    @staticmethod
    def of(stored: StoredEmbeddings, *, on: Literal["vector", "grid"], trained: bool, seed: int) -> Moments:
        """Choose from what is learned from: of every stretch of time one of which there is a picture, in which most is
        seen. on: what is compared. trained: whether values are those of a network, whose direction says most.
        """
        rng = np.random.default_rng(seed)
        seconds = sum(covered_seconds(*stored.times[v.first : v.last].T) for v in stored.videos)
        most = min(MOST, max(int(seconds), len(stored.videos), 1))
        chosen = _chosen(stored, most, rng)
        shape, cells, columns = None, np.zeros(0, np.int32), stored.vectors.shape[1]
        if on == "grid" and stored.grid_shape is not None:
            shape, columns = stored.grid_shape[:2], stored.grid_shape[2]
            while (size := _counts(stored)[chosen].sum() * min(columns, _COLUMNS) * 2) > _BYTES and most > 1:
                most = min(int(most * _BYTES / size), most - 1)
                chosen = _chosen(stored, most, np.random.default_rng(seed))
            counts = _counts(stored)[chosen]
            ranges = [np.arange(*stored.row_bounds[item]) for item in chosen]
            rows = np.concatenate([np.zeros(0, np.int64), *ranges])
            raw, cells = stored.values, np.asarray(stored.cells[rows], np.int32)
        else:
            counts, rows = np.ones(len(chosen), np.int64), np.arange(len(chosen))
            raw = _folded(stored.vectors[chosen])
        how = "length" if trained else "columns"
        some = rows if len(rows) <= _ROWS else np.sort(rng.choice(rows, _ROWS, replace=False))
        sample = np.asarray(raw[some] if len(some) else np.zeros((1, columns)), dtype=np.float32)
        normaliser = Normaliser.of(sample, how)
        basis = None if shape is None else _basis(normaliser(sample), rng)
        parts = [
            _standardised(raw[rows[i : i + _ROWS]], normaliser, basis).astype(np.float16)
            for i in range(0, len(rows), _ROWS)
        ]
        videos = stored.video_of[chosen]
        used, source = np.unique(videos, return_inverse=True)
        middle = stored.times[chosen].mean(axis=1)
        # Those of a camera are on a clock that did not begin with it.
        began = np.array([stored.times[stored.videos[video].first, 0] for video in videos])
        when = middle if stored.wall_offsets is None else middle - began
        walls = np.full(len(chosen), np.nan) if stored.wall_offsets is None else stored.wall_offsets[chosen] + middle
        return Moments(
            [stored.videos[video].name for video in used],
            np.stack([source, when, walls], axis=1).astype(np.float64),
            np.concatenate([np.zeros((0, parts[0].shape[1] if parts else 1), np.float16), *parts]),
            cells,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            normaliser,
            how,
            basis,
            shape,
            [stored.pictures.get(int(item), b"") for item in chosen],
        )

    def similar(self, embedding: Embeddings, cell: int | None, *, most: int = 3) -> tuple[SimilarMoment, ...]:
        """The moments that are most like the first embedding, the most similar first, at least 2 s from each other.

        cell: of its flattened grid. It is compared with all that a moment has, and what is elsewhere is so much less
        like it: as unlike as one standard deviation for a tenth of the picture's height.
        """
        if not len(self):
            return ()
        away = self._distances(embedding, cell)
        found: list[int] = []
        for index in np.argsort(away, kind="stable"):
            if len(found) == most or not np.isfinite(away[index]):
                break
            same = [other for other in found if self._when[other, 0] == self._when[index, 0]]
            if all(abs(self._when[other, 1] - self._when[index, 1]) >= _APART_SECONDS for other in same):
                found.append(int(index))
        return tuple(self._moment(index, float(away[index])) for index in found)

    def _moment(self, index: int, distance: float) -> SimilarMoment:
        source, seconds, wall = self._when[index].tolist()
        known = None if np.isnan(wall) else wall
        return SimilarMoment(self._sources[int(source)], seconds, known, distance, self._pictures[index] or None)

    def _distances(self, embedding: Embeddings, cell: int | None) -> FloatArray:
        """(N,) from each moment; inf from one that holds nothing."""
        if self._shape is None or embedding.grid is None or cell is None:
            row = _standardised(_folded(embedding.vector[:1]), self._normaliser, self._basis)
            squares = self._squares(row)
        else:
            value = embedding.grid[0].reshape(-1, embedding.grid.shape[-1])[cell][None]
            squares = self._squares(_standardised(value, self._normaliser, self._basis))
            nothing = np.zeros((1, 0), np.float32)
            here = GridScorer.rows(nothing, np.array([cell]), self._shape)
            there = GridScorer.rows(np.zeros((len(self._cells), 0), np.float32), self._cells, self._shape)
            squares += ((there - here) ** 2).sum(axis=1) / _NEAR**2
        held = np.flatnonzero(np.diff(self._bounds))
        away = np.full(len(self), np.inf)
        if len(held):
            away[held] = np.sqrt(np.minimum.reduceat(squares, self._bounds[:-1][held]))
        return away

    def _squares(self, row: Rows) -> FloatArray:
        """(rows,) mean squares over all columns of what each row is away from this one (1, k)."""
        columns = len(self._normaliser.mean)
        found: FloatArray = ((self._values.astype(np.float32) - row) ** 2).sum(axis=1) / columns
        return found

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """As arrays and JSON."""
        lengths = [len(jpeg) for jpeg in self._pictures]
        arrays: dict[str, Any] = {
            "when": self._when,
            "values": self._values,
            "cells": self._cells,
            "bounds": self._bounds,
            "mean": self._normaliser.mean,
            "scale": self._normaliser.scale,
            "pictures": np.frombuffer(b"".join(self._pictures), np.uint8),
            "picture_bounds": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        }
        if self._basis is not None:
            arrays["basis"] = self._basis
        shape = None if self._shape is None else list(self._shape)
        return arrays, {"sources": list(self._sources), "how": self._how, "shape": shape}

    @staticmethod
    def from_state(arrays: Arrays, meta: dict[str, Any]) -> Moments:
        """Inverse of `state`."""
        jpegs, bounds = arrays["pictures"].tobytes(), arrays["picture_bounds"].tolist()
        shape = meta["shape"]
        return Moments(
            meta["sources"],
            arrays["when"],
            arrays["values"].astype(np.float16),
            arrays["cells"].astype(np.int32),
            arrays["bounds"].astype(np.int64),
            Normaliser(arrays["mean"], arrays["scale"], how=meta["how"]),
            meta["how"],
            arrays["basis"].astype(np.float32) if "basis" in arrays else None,
            (shape[0], shape[1]) if shape else None,
            [jpegs[start:end] for start, end in pairwise(bounds)],
        )

    @staticmethod
    def none() -> Moments:
        """Of a detector that remembers nothing to show."""
        no_values, no_cells, how = np.zeros((0, 1), np.float16), np.zeros(0, np.int32), "columns"
        normaliser = Normaliser(np.zeros(1), np.ones(1), how=how)
        bounds = np.zeros(1, np.int64)
        return Moments((), np.zeros((0, 3)), no_values, no_cells, bounds, normaliser, how, None, None, ())


def _counts(stored: StoredEmbeddings) -> NDArray[np.int64]:
    """(N,) cells that hold something."""
    counts: NDArray[np.int64] = stored.row_bounds[:, 1] - stored.row_bounds[:, 0]
    return counts


def _chosen(stored: StoredEmbeddings, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) embeddings, one of each of n <= most stretches of equal length."""
    pictured = np.zeros(len(stored), dtype=bool)
    pictured[list(stored.pictures)] = True
    counts, chance = _counts(stored), rng.random(len(stored))
    best = [
        block[np.lexsort((chance[block], counts[block], pictured[block]))[-1]]
        for block in np.array_split(np.arange(len(stored)), min(most, len(stored)))
    ]
    return np.array(best, dtype=np.int64)


def _folded(vectors: FloatArray) -> Rows:
    """Vectors (n, D) of very many values (pixels) as (n, 4096) means of neighbours; others as they are."""
    rows = np.asarray(vectors, dtype=np.float32)
    if rows.shape[1] <= _WIDEST:
        return rows
    edges = np.linspace(0, rows.shape[1], _WIDEST + 1).astype(int)
    return np.asarray(np.add.reduceat(rows, edges[:-1], axis=1) / np.diff(edges), dtype=np.float32)


def _basis(rows: Rows, rng: np.random.Generator) -> Rows | None:
    """(d, 32) the directions in which standardised rows (n, d) differ most, nearly (a randomised range finder; Halko,
    Martinsson and Tropp, 2011); None for no more columns than that.
    """
    if rows.shape[1] <= _COLUMNS:
        return None
    centred = rows - rows.mean(axis=0)
    sketch = rng.normal(size=(rows.shape[1], _COLUMNS)).astype(np.float32)
    for _ in range(3):
        sketch, _ = np.linalg.qr(centred.T @ (centred @ sketch))
    return np.ascontiguousarray(sketch, dtype=np.float32)


def _standardised(rows: FloatArray, normaliser: Normaliser, basis: Rows | None) -> Rows:
    found = normaliser(np.asarray(rows, dtype=np.float32))
    if basis is not None:
        found = found @ basis
    highest = np.float32(np.finfo(np.float16).max)
    return np.asarray(np.clip(found, -highest, highest), dtype=np.float32)
