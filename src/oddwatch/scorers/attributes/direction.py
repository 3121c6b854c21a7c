"""`direction`: going another way than things go here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Attribute, Sums, Usual, column
from oddwatch.scorers.attributes.placed import NEVER, bins, blurred, placed_sum
from oddwatch.scorers.base import Rows

WAYS = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")
_CLEAR = 0.3  # moving share from which the velocity of a window is that of what moves in it
_COHERENT = 0.5, 0.9  # length of the mean velocity as a share of the mean speed: moving on the spot, going somewhere
_TRUSTED = 0.02  # of the mean count, what a place must have seen before its own directions count


class Direction(Attribute):
    """Log of how much more often things went the most usual way there than this way, for what goes somewhere."""

    name = "direction"
    floor = 2.0

    def sums(self, rows: Rows) -> Sums:
        heading, purpose = _heading(rows), _purpose(rows)
        return {"ways": np.stack([placed_sum(rows, purpose * (heading == way)) for way in range(len(WAYS))])}

    def usual(self, sums: Sums) -> Usual:
        counts = np.maximum(sums["ways"], 0)
        counts = (np.roll(counts, 1, axis=0) + 2 * counts + np.roll(counts, -1, axis=0)) / 4
        counts = np.stack([blurred(one) for one in counts])
        total = counts.sum(axis=0)
        trusted = _TRUSTED * total[total > 0].mean() if total.any() else 1.0
        counts += trusted * (counts.sum(axis=(1, 2)) / max(float(counts.sum()), 1e-6))[:, None, None]
        return _UsualDirection(counts / np.maximum(counts.max(axis=0), 1e-6))


@dataclass(frozen=True)
class _UsualDirection(Usual):
    """shares: (8, bins, 3 bins) of each way as a share of the most usual one there."""

    shares: NDArray[np.float64]

    def measure(self, rows: Rows) -> Rows:
        share = np.maximum(self.shares[_heading(rows), *bins(rows)], NEVER)
        return np.asarray(_purpose(rows) * -np.log(share), np.float32)

    def says(self, row: Rows) -> str:
        y, x = bins(row[None])
        usually = WAYS[int(self.shares[:, y[0], x[0]].argmax())]
        return f"going {WAYS[int(_heading(row[None])[0])]}, here one goes {usually}"


def _heading(rows: Rows) -> NDArray[np.intp]:
    """(n,) which of `WAYS`."""
    angle = np.arctan2(column(rows, "down"), column(rows, "right"))
    return np.round(angle * len(WAYS) / (2 * np.pi)).astype(np.intp) % len(WAYS)


def _purpose(rows: Rows) -> Rows:
    """(n,) 0..1: how clearly the window shows something that goes somewhere rather than moves on the spot."""
    length = np.hypot(column(rows, "right"), column(rows, "down"))
    coherence = length / np.maximum(column(rows, "speed"), 1e-6)
    low, high = _COHERENT
    share = np.clip((coherence - low) / (high - low), 0, 1)
    return np.asarray(np.minimum(column(rows, "moving") / _CLEAR, 1) * share, np.float32)
