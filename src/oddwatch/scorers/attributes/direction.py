"""`direction`: going another way than things go here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.base import Attribute, Bins, Sums, Usual, column
from oddwatch.scorers.attributes.placed import NEVER, bins, blurred, placed_sum
from oddwatch.scorers.base import Rows

WAYS = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")
_CLEAR = 0.7  # moving share from which the velocity of a window is that of what moves in it
_SPEEDS = (0.01, 0.02, 0.04, 0.08, 0.16)  # frame heights per second: what is kept apart until the usual pace is known
_TRUSTED = 0.02  # of the mean count, what a place must have seen before its own directions count


class Direction(Attribute):
    """Log of how much more often things went the most usual way there than this way, for what goes somewhere."""

    name = "direction"
    floor = 0.7

    def sums(self, rows: Rows) -> Sums:
        heading, speed, clear = _heading(rows), _speed(rows), _clear(rows)
        level = np.digitize(speed, _SPEEDS)
        ways = [
            [placed_sum(rows, clear * (heading == way) * (level == one)) for way in range(len(WAYS))]
            for one in range(len(_SPEEDS) + 1)
        ]
        sure = clear >= 1
        pace = np.array([sure.sum(), np.square(speed[sure].astype(np.float64)).sum()])
        return {"ways": np.array(ways), "pace": pace}

    def usual(self, sums: Sums) -> Usual:
        n, squared = sums["pace"]
        pace = float(np.sqrt(max(squared / max(n, 1.0), 1e-12)))
        middles = np.array([_SPEEDS[0] / 2, *np.sqrt(np.multiply(_SPEEDS[:-1], _SPEEDS[1:])), 2 * _SPEEDS[-1]])
        counts = np.tensordot(np.minimum(middles / (pace / 2), 1), np.maximum(sums["ways"], 0), axes=1)
        counts = (np.roll(counts, 1, axis=0) + 2 * counts + np.roll(counts, -1, axis=0)) / 4
        counts = np.stack([blurred(one) for one in counts])
        total = counts.sum(axis=0)
        trusted = _TRUSTED * total[total > 0].mean() if total.any() else 1.0
        counts += trusted * (counts.sum(axis=(1, 2)) / max(float(counts.sum()), 1e-6))[:, None, None]
        return _UsualDirection(counts / np.maximum(counts.max(axis=0), 1e-6), pace)


@dataclass(frozen=True)
class _UsualDirection(Usual):
    """shares: (8, bins, 3 bins) of each way as a share of the most usual one there. pace: usual speed of what moves."""

    shares: NDArray[np.float64]
    pace: float

    def measure(self, rows: Rows, where: Bins) -> Rows:
        share = np.maximum(self.shares.reshape(len(WAYS), -1)[_heading(rows), where], NEVER)
        # What moves on the spot goes nowhere.
        purpose = _clear(rows) * np.minimum(_speed(rows) / (self.pace / 2), 1)
        return np.asarray(purpose * -np.log(share), np.float32)

    def says(self, row: Rows) -> str:
        usually = WAYS[int(self.shares.reshape(len(WAYS), -1)[:, bins(row[None])[0]].argmax())]
        return f"going {WAYS[int(_heading(row[None])[0])]}, here one goes {usually}"


def _heading(rows: Rows) -> NDArray[np.intp]:
    """(n,) which of `WAYS`."""
    angle = np.arctan2(column(rows, "course_down"), column(rows, "course_right"))
    return np.round(angle * len(WAYS) / (2 * np.pi)).astype(np.intp) % len(WAYS)


def _clear(rows: Rows) -> Rows:
    """(n,) 0..1: how sure the course of the window is that of what moves in it."""
    return np.asarray(np.minimum(column(rows, "moving") / _CLEAR, 1), np.float32)


def _speed(rows: Rows) -> Rows:
    """(n,) of what moves, not diluted by what does not."""
    return np.hypot(column(rows, "course_right"), column(rows, "course_down"))
