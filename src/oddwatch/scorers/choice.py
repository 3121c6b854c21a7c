"""Which parts of a blend tell recordings apart: decided by usual recordings alone, before anything is scored."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.base import Rows
from oddwatch.scorers.products import NAMES, QUARTERS, Products
from oddwatch.types import FloatArray

LEAST_RECORDINGS = 5
LEAST_ROWS = 8
MOST_RECORDINGS = 40
_MOST_ROWS = 200


def candidates() -> list[tuple[str, ...]]:
    """All subsets of two parts or more, the largest first, then by alphabet."""
    return [one for size in range(len(NAMES), 1, -1) for one in combinations(NAMES, size)]


def choose(rows: Rows, groups: FloatArray, *, neighbours: int, seed: int) -> tuple[str, ...] | None:
    """Names of the parts whose mean best tells one usual recording from the others, in alphabetical order.

    Each recording in turn stands for the unusual and quarters in time of the others for the usual; what is scored, and
    the moments before and after it, is not learned from. Highest mean AUC over recordings; ties go to more parts, then
    to the alphabet. None for fewer than 5 recordings of at least 8 rows. Of more than 40 recordings 40 are drawn, and
    of more than 200 rows about 200, evenly spaced in time, are used; that few are all remembered by knn. groups: (n, 2)
    recording and time of each row. neighbours: of knn.
    """
    order = np.lexsort((groups[:, 1], groups[:, 0]))
    recording, count = np.unique(groups[:, 0], return_counts=True)
    able = recording[count >= LEAST_ROWS]
    if len(able) < LEAST_RECORDINGS:
        return None
    if len(able) > MOST_RECORDINGS:
        able = np.sort(np.random.default_rng(seed).choice(able, MOST_RECORDINGS, replace=False))
        order = order[np.isin(groups[order, 0], able)]
    order = order[_spread(groups[order, 0])]
    rows, of, moment = rows[order], groups[order, 0], _moments(groups[order])
    quarter = np.zeros(len(rows), dtype=np.int64)
    for one in np.unique(of):
        at = moment[of == one]
        quarter[of == one] = (at - at[0]) * QUARTERS // (at[-1] - at[0] + 1)
    subsets = candidates()
    columns = [[NAMES.index(name) for name in subset] for subset in subsets]
    products = Products(rows, neighbours=neighbours)
    areas = []
    for one in able:
        unusual = of == one
        for part in range(QUARTERS):
            usual = ~unusual & (quarter == part)
            near = np.isin(moment, (moment[usual][:, None] + [-1, 0, 1]).ravel())
            teach = ~unusual & ~near
            if not usual.any() or teach.sum() < 2 * QUARTERS:
                continue
            asked = np.r_[np.flatnonzero(usual), np.flatnonzero(unusual)]
            z = products.standardised(np.flatnonzero(teach), asked)
            areas.append([_area(z[:, c].mean(axis=1), int(usual.sum())) for c in columns])
    # Ties that only rounding breaks are ties.
    return subsets[int(np.round(np.mean(areas, axis=0), 9).argmax())] if areas else None


def _spread(of: FloatArray) -> NDArray[np.int64]:
    """Indices of about 200 of the rows, evenly spaced within each recording, at least 8 of each where it has them."""
    if len(of) <= _MOST_ROWS:
        return np.arange(len(of))
    kept: list[Any] = []
    for one in np.unique(of):
        at = np.flatnonzero(of == one)
        count = min(len(at), max(LEAST_ROWS, round(_MOST_ROWS * len(at) / len(of))))
        kept.append(at[np.linspace(0, len(at) - 1, count).round().astype(np.int64)])
    return np.concatenate(kept)


def _moments(groups: FloatArray) -> NDArray[np.int64]:
    """(n,) index of the moment of each row, for rows in order of time: those of one time are one moment."""
    another = (np.diff(groups, axis=0) != 0).any(axis=1)
    return np.concatenate([[0], np.cumsum(another)]).astype(np.int64)


def _area(scores: FloatArray, usual: int) -> float:
    """AUC of the rows after the first `usual` ones, by ranks."""
    from scipy.stats import rankdata

    unusual = len(scores) - usual
    ranks = rankdata(scores)[usual:].sum()
    return float((ranks - unusual * (unusual + 1) / 2) / (unusual * usual))
