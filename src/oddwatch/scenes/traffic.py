"""Who moves where and when: courses over the ground, walkers with their gait, and the usual traffic of a place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from oddwatch.scenes.body import STANDING, Person, Pose, blended, figure, joints, some_person, walk_stride_m, walking
from oddwatch.scenes.place import FAR_LANE_M, NEAR_LANE_M, Place
from oddwatch.scenes.shapes import Array, Shape

WALK_M_S = 1.3
WALK_SPREAD = 0.2
"""People walk within 20% of the usual speed."""

_CLEAR_M = 0.75
_TRIES = 12
_GROUP_SHARES = (0.58, 0.3, 0.12)
_CHILD_SHARE = 0.12


class Mover(Protocol):
    """Something that moves through the place between two moments."""

    start_seconds: float
    end_seconds: float

    def at(self, seconds: float) -> tuple[float, float]:
        """Where it is on the ground."""
        ...

    def shape(self, seconds: float) -> Shape:
        """What it looks like, in the world."""
        ...


@dataclass(frozen=True, eq=False)
class Course:
    """A straight way over the ground. times_seconds, along_m: (N,) knots, straight lines between them.

    origin_m: where `along_m` is 0. heading: radians, 0 = along +x. sway_m: how far the way wanders to the sides.
    """

    origin_m: tuple[float, float]
    heading: float
    times_seconds: Array
    along_m: Array
    sway_m: float = 0.0
    sway_phase: float = 0.0

    @staticmethod
    def steady(start: tuple[float, float], end: tuple[float, float], *, start_seconds: float, speed_m_s: float,
               sway_m: float = 0.0, sway_phase: float = 0.0) -> Course:  # fmt: skip
        """From one place to another at one speed."""
        length = math.dist(start, end)
        return Course(
            start,
            math.atan2(end[1] - start[1], end[0] - start[0]),
            np.array([start_seconds, start_seconds + length / speed_m_s]),
            np.array([0.0, length]),
            sway_m,
            sway_phase,
        )

    def heading_at(self, seconds: float) -> float:
        return self.heading

    def along(self, seconds: float) -> float:
        return float(np.interp(seconds, self.times_seconds, self.along_m))

    def speed(self, seconds: float) -> float:
        i = int(np.searchsorted(self.times_seconds, seconds, side="right"))
        i = min(max(i, 1), len(self.times_seconds) - 1)
        rise = self.along_m[i] - self.along_m[i - 1]
        return float(rise / (self.times_seconds[i] - self.times_seconds[i - 1]))

    def at(self, seconds: float) -> tuple[float, float]:
        along = self.along(seconds)
        side = self.sway_m * math.sin(along * 0.9 + self.sway_phase)
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return self.origin_m[0] + along * cos - side * sin, self.origin_m[1] + along * sin + side * cos


class Way:
    """A way with corners and halts. times_seconds, x_m, y_m, headings: (N,) knots, straight lines between them.

    headings are unwrapped: somebody turns from one to the next the way the numbers go.
    """

    def __init__(self, times_seconds: Array, x_m: Array, y_m: Array, headings: Array) -> None:
        self.times_seconds, self._x, self._y, self._headings = times_seconds, x_m, y_m, headings
        self._along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x_m), np.diff(y_m)))])

    @staticmethod
    def through(
        start: tuple[float, float],
        steps: Sequence[tuple[float, float, float]],
        *,
        start_seconds: float,
        heading: float,
        turn_seconds: float = 0.6,
    ) -> Way:
        """Through places one after the other. steps: x, y, and m/s; a step to where one is lasts that many seconds."""
        knots = [(start_seconds, *start, heading)]
        for x, y, pace in steps:
            seconds, x_before, y_before, facing = knots[-1]
            length = math.hypot(x - x_before, y - y_before)
            if length == 0:
                knots.append((seconds + pace, x, y, facing))
                continue
            turn = math.remainder(math.atan2(y - y_before, x - x_before) - facing, 2 * math.pi)
            if abs(turn) > 0.3:
                seconds += turn_seconds
                knots.append((seconds, x_before, y_before, facing + turn))
            knots.append((seconds + length / pace, x, y, facing + turn))
        return Way(*np.array(knots).T)

    def along(self, seconds: float) -> float:
        return float(np.interp(seconds, self.times_seconds, self._along))

    def speed(self, seconds: float) -> float:
        """Over half a second, so that a gait begins and ends gently."""
        return (self.along(seconds + 0.25) - self.along(seconds - 0.25)) / 0.5

    def at(self, seconds: float) -> tuple[float, float]:
        return (
            float(np.interp(seconds, self.times_seconds, self._x)),
            float(np.interp(seconds, self.times_seconds, self._y)),
        )

    def heading_at(self, seconds: float) -> float:
        return float(np.interp(seconds, self.times_seconds, self._headings))


class Walker:
    """Somebody who walks a course.

    phase: of the gait at the start. speed_m_s: when under way. acts: (time, pose) in order of time, passed through one
    after the other; None is the gait. swing: of the left and the right arm, radians.
    """

    def __init__(
        self,
        person: Person,
        course: Course | Way,
        *,
        phase: float = 0.0,
        speed_m_s: float = WALK_M_S,
        acts: Sequence[tuple[float, Pose | None]] = (),
        swing: tuple[float, float] = (0.4, 0.4),
    ) -> None:
        self.person = person
        self.course = course
        self.start_seconds = float(course.times_seconds[0])
        self.end_seconds = float(course.times_seconds[-1])
        self._phase = phase
        self._speed_m_s = speed_m_s
        self._stride_m = walk_stride_m(speed_m_s, person.height_m)
        self._acts = tuple(acts)
        self._swing = (swing[0], 0.12) if person.carries == "handbag" else swing

    def at(self, seconds: float) -> tuple[float, float]:
        return self.course.at(seconds)

    def pose(self, seconds: float) -> Pose:
        before: tuple[float, Pose | None] = (-math.inf, None)
        for after in self._acts:
            if seconds < after[0]:
                share = 0.0 if math.isinf(before[0]) else (seconds - before[0]) / (after[0] - before[0])
                smooth = share * share * (3 - 2 * share)
                return blended(before[1] or self._gait(seconds), after[1] or self._gait(seconds), smooth)
            before = after
        return before[1] or self._gait(seconds)

    def hand(self, seconds: float) -> tuple[float, float, float]:
        """Where the right hand is, in the world."""
        x, y = self.at(seconds)
        forward, left, up = joints(self.pose(seconds), self.person).hands[1]
        cos, sin = math.cos(self.course.heading_at(seconds)), math.sin(self.course.heading_at(seconds))
        return x + cos * forward - sin * left, y + sin * forward + cos * left, up

    def shape(self, seconds: float) -> Shape:
        x, y = self.at(seconds)
        return figure(self.pose(seconds), self.person).moved(x, y, heading=self.course.heading_at(seconds))

    def _gait(self, seconds: float) -> Pose:
        step = walking(
            self._phase + self.course.along(seconds) / self._stride_m,
            stride=self._stride_m / self.person.height_m,
            swing=self._swing,
        )
        return blended(STANDING, step, 1.4 * self.course.speed(seconds) / self._speed_m_s)


def usual_traffic(place: Place, *, rng: np.random.Generator, seconds: float, groups_per_minute: float) -> list[Walker]:
    """The people of usual life, alone and in groups, each lane in its direction; some are there when it starts."""
    people: list[Walker] = []
    present: list[Walker] = []
    slowest = WALK_M_S * (1 - WALK_SPREAD)
    longest = max(np.ptp(place.span(y)) for y in (NEAR_LANE_M[0], FAR_LANE_M[1])) / slowest
    moment = -float(longest)
    while groups_per_minute > 0:
        moment += float(rng.exponential(60 / groups_per_minute))
        if moment > seconds:
            break
        present = [walker for walker in present if walker.end_seconds > moment]
        for _ in range(_TRIES):
            group = _group(place, rng, moment)
            if all(clearance_m(walker, present) >= _CLEAR_M for walker in group):
                people += group
                present += group
                break
    return people


def lane(near: bool) -> tuple[tuple[float, float], int]:
    """Across the walkway from where to where people of a lane walk, and their direction along it."""
    return (NEAR_LANE_M, 1) if near else (FAR_LANE_M, -1)


def crossing(place: Place, y_m: float, direction: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """From where to where a straight way along the walkway leads, out of view at both ends."""
    left, right = place.span(y_m)
    return ((left, y_m), (right, y_m)) if direction > 0 else ((right, y_m), (left, y_m))


def some_speed(rng: np.random.Generator) -> float:
    return WALK_M_S * float(rng.uniform(1 - WALK_SPREAD, 1 + WALK_SPREAD))


def _group(place: Place, rng: np.random.Generator, moment: float) -> list[Walker]:
    """One to three people side by side, at one speed."""
    size = 1 + int(rng.choice(len(_GROUP_SHARES), p=_GROUP_SHARES))
    (low, high), direction = lane(bool(rng.random() < 0.5))
    apart = float(rng.uniform(0.6, 0.72))
    first = float(rng.uniform(low, high - apart * (size - 1)))
    speed = some_speed(rng)
    sway = float(rng.uniform(0.02, 0.08))
    sway_phase = float(rng.uniform(0, 2 * math.pi))
    walkers = []
    for i in range(size):
        person = some_person(rng, child=i > 0 and bool(rng.random() < _CHILD_SHARE * size))
        start, end = crossing(place, first + apart * i, direction)
        late = abs(float(rng.normal(0, 0.2)))
        course = Course.steady(
            start, end, start_seconds=moment + late, speed_m_s=speed, sway_m=sway, sway_phase=sway_phase
        )
        walkers.append(Walker(person, course, phase=float(rng.random()), speed_m_s=speed))
    return walkers


def clearance_m(mover: Mover, others: Sequence[Mover]) -> float:
    """How close a mover comes to others over its time, centre to centre; infinite when it meets nobody."""
    met = [o for o in others if o.start_seconds < mover.end_seconds and o.end_seconds > mover.start_seconds]
    closest = math.inf
    for seconds in np.arange(mover.start_seconds, mover.end_seconds, 0.2) if met else ():
        x, y = mover.at(float(seconds))
        for other in met:
            if other.start_seconds <= seconds <= other.end_seconds:
                ox, oy = other.at(float(seconds))
                closest = min(closest, math.hypot(x - ox, y - oy))
    return closest
