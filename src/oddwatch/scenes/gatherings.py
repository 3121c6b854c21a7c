"""Unusual things that people do who walk like others: one stays, many come at once, all run apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from oddwatch.scenes.body import STANDING, Person, blended, figure, run_stride_m, running, some_person
from oddwatch.scenes.happening import BESIDE_M, Happening, mid_view
from oddwatch.scenes.place import PATH_HALF_M, Place
from oddwatch.scenes.shapes import Array, Shape, joined
from oddwatch.scenes.traffic import Course, Walker, Way, crossing, lane, some_speed

_STAY_SECONDS = (33.0, 40.0)
_APART_M = 0.65
_TURN_SECONDS = 0.35
_TRIES = 60


def loitering(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    """Somebody leaves the stream and stands at the edge of the walkway, pacing to and fro, for more than half a minute.

    Unusual from the first step aside until the last one back.
    """
    (low, _), direction = lane(bool(rng.random() < 0.5))
    side = math.copysign(1.0, low)
    x, y = mid_view(place, rng, side * float(rng.uniform(2.2, 2.8)), direction, ahead_m=0.5)
    spot_y = side * float(rng.uniform(PATH_HALF_M - 0.1, PATH_HALF_M + 0.15))
    speed, pace = some_speed(rng), float(rng.uniform(0.6, 0.9))
    start, end = crossing(place, y, direction)
    aside = (x + direction * 1.0, spot_y)
    stay = float(rng.uniform(*_STAY_SECONDS))
    steps: list[tuple[float, float, float]] = [(x, y, speed), (*aside, speed)]
    at, left = aside[0], stay
    while left > 0:
        wait = float(rng.uniform(2.0, 6.0))
        to = aside[0] + float(rng.uniform(-1.2, 1.2))
        steps += [(at, spot_y, wait), (to, spot_y, pace)]
        left -= wait + abs(to - at) / pace + 0.6
        at = to
    steps += [(at + direction * 1.0, y, speed), (end[0], y, speed)]
    began = start_seconds - abs(x - start[0]) / speed
    way = Way.through((start[0], y), steps, start_seconds=began, heading=0.0 if direction > 0 else math.pi)
    walker = Walker(some_person(rng), way, phase=float(rng.random()), speed_m_s=speed)
    last = way.times_seconds[-2]
    return Happening("loitering", (walker,), start_seconds, float(last), walker.shape)


def crowd(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    """Fourteen to twenty people close together, the usual way at the usual speed: but many."""
    (low, high), direction = lane(bool(rng.random() < 0.5))
    speed = 1.3 * float(rng.uniform(0.85, 1.1))
    lead = place.unseen_m / 2 / speed
    people = []
    count, abreast = int(rng.integers(14, 21)), 4
    for i in range(count):
        row, column = divmod(i, abreast)
        across = (column + 0.5 * (row % 2)) / (abreast - 0.5) + float(rng.uniform(-0.03, 0.03))
        y = low - BESIDE_M + (high - low + 2 * BESIDE_M) * across
        start, end = crossing(place, y, direction)
        course = Course.steady(
            start,
            end,
            start_seconds=start_seconds - lead + (row * 0.9 + float(rng.uniform(-0.15, 0.15))) / speed,
            speed_m_s=speed,
            sway_m=0.03,
            sway_phase=float(rng.uniform(0, 2 * math.pi)),
        )
        people.append(Walker(some_person(rng), course, phase=float(rng.random()), speed_m_s=speed))
    return _together("crowd", place, people, min(p.start_seconds for p in people))


def dispersal(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    """Six to eight people who walk their ways meet; suddenly all run apart. Unusual from the first one that turns."""
    centre, _ = mid_view(place, rng, 0.0, 1, ahead_m=0.0)
    paces = some_speed(rng), some_speed(rng)
    taken: list[tuple[float, float]] = []
    runners: list[_Fleeing] = []
    for _ in range(_TRIES):
        near = bool(rng.random() < 0.5)
        (low, high), direction = lane(near)
        at = centre + float(rng.uniform(-1.8, 1.8)), float(rng.uniform(low, high))
        if any(math.dist(at, other) < _APART_M for other in taken):
            continue
        taken.append(at)
        runners.append(_fleeing(place, rng, at, centre, direction, paces[near], start_seconds))
        if len(runners) == 8:
            break
    return _together("dispersal", place, runners[: int(rng.integers(6, 9))], start_seconds)


def _together(kind: str, place: Place, people: Sequence[Walker], start_seconds: float) -> Happening:
    """Unusual are those who are in view."""

    def in_view(shape: Shape) -> bool:
        left, top, right, bottom = place.camera.bounds_px(shape)
        width, height = place.canvas_px
        return left < width and top < height and right > 0 and bottom > 0

    def unusual(seconds: float) -> Shape:
        shapes = [p.shape(seconds) for p in people]
        return joined(*([s for s in shapes if in_view(s)] or shapes[:1]))

    return Happening(kind, tuple(people), start_seconds, max(p.end_seconds for p in people), unusual)


class _Fleeing(Walker):
    """Walks until it is frightened, turns and runs."""

    def __init__(self, person: Person, way: Way, *, phase: float, speed_m_s: float, turns_seconds: float,
                 run_m_s: float) -> None:  # fmt: skip
        super().__init__(person, way, phase=phase, speed_m_s=speed_m_s)
        self._turns_seconds = turns_seconds
        self._runs_seconds = turns_seconds + _TURN_SECONDS
        self._run_stride_m = run_stride_m(run_m_s)

    def shape(self, seconds: float) -> Shape:
        if seconds <= self._turns_seconds:
            return super().shape(seconds)
        x, y = self.at(seconds)
        stride = self._run_stride_m
        step = running(self.course.along(seconds) / stride, stride=stride / self.person.height_m)
        begun = (seconds - self._runs_seconds) / 0.4
        pose = blended(STANDING, step, begun) if begun > 0 else blended(self.pose(seconds), STANDING, 1 + begun)
        return figure(pose, self.person).moved(x, y, heading=self.course.heading_at(seconds))


def _fleeing(
    place: Place,
    rng: np.random.Generator,
    at: tuple[float, float],
    centre: float,
    direction: int,
    pace: float,
    start_seconds: float,
) -> _Fleeing:
    start, _ = crossing(place, at[1], direction)
    frightened = start_seconds + float(rng.uniform(0.0, 0.4))
    away = 1.0 if at[0] >= centre else -1.0
    # Behind the far lawn is a wall: those on the far lane run along the walkway, the others also over the near lawn.
    angle = math.radians(float(rng.uniform(-8, 8) if at[1] > 0 else rng.uniform(-65, -5)))
    run = float(rng.uniform(2.9, 3.7))
    far_m = _out_of_view_m(place, at, (away * math.cos(angle), math.sin(angle)))
    to = at[0] + away * math.cos(angle) * far_m, at[1] + math.sin(angle) * far_m
    way = Way.through(
        (start[0], at[1]),
        [(*at, pace), (*to, run)],
        start_seconds=frightened - abs(at[0] - start[0]) / pace,
        heading=0.0 if direction > 0 else math.pi,
        turn_seconds=_TURN_SECONDS,
    )
    person = replace(some_person(rng), carries="")
    return _Fleeing(person, way, phase=float(rng.random()), speed_m_s=pace, turns_seconds=frightened, run_m_s=run)


def _out_of_view_m(place: Place, at: tuple[float, float], towards: tuple[float, float]) -> float:
    """How far one runs until nothing of one is in the picture, and as far as a shadow is long."""
    metres: Array = np.arange(1.0, 40.0, 0.5)
    seen = np.zeros(len(metres), bool)
    for z in (0.0, 1.9):
        points = np.stack([at[0] + metres * towards[0], at[1] + metres * towards[1], np.full_like(metres, z)], axis=1)
        x, y, _, depth = place.camera.project(points).T
        seen |= (x > 0) & (x < place.canvas_px[0]) & (y > 0) & (y < place.canvas_px[1]) & (depth > 1.0)
    return float(metres[seen][-1] if seen.any() else 1.0) + place.unseen_m
