"""What an unusual event on stage consists of, and where in the view it is put."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oddwatch.scenes.place import Place
from oddwatch.scenes.shapes import Shape
from oddwatch.scenes.traffic import Mover

BESIDE_M = 0.3
"""Beyond a lane's edges there is room as well."""


@dataclass(frozen=True, eq=False)
class Happening:
    """An unusual event on stage.

    movers: who and what takes part, to be drawn. start_seconds, end_seconds: while it is unusual, in view or not.
    unusual: the unusual part of it at a moment. things: what is drawn too, and is in nobody's way.
    """

    kind: str
    movers: tuple[Mover, ...]
    start_seconds: float
    end_seconds: float
    unusual: Callable[[float], Shape]
    things: tuple[Mover, ...] = ()


def mid_view(
    place: Place, rng: np.random.Generator, y_m: float, direction: int, *, ahead_m: float
) -> tuple[float, float]:
    """Somewhere in the middle of the view, so that what happens `ahead_m` further on is well in sight."""
    left, right = place.view(y_m)
    return left + (right - left) * float(rng.uniform(0.35, 0.65)) - direction * ahead_m, y_m
