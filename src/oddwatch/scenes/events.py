"""The unusual: one function per kind puts it on stage, at a moment and a place where it runs into nobody.

A new kind is one more function in `_KINDS`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from oddwatch.scenes.body import (
    BENT,
    KNEELING,
    LYING,
    RISING,
    STANDING,
    STUMBLING,
    figure,
    joints,
    run_stride_m,
    running,
    some_person,
)
from oddwatch.scenes.gatherings import crowd, dispersal, loitering
from oddwatch.scenes.happening import BESIDE_M, Happening, mid_view
from oddwatch.scenes.place import FAR_LAWN_M, NEAR_LAWN_M, Place
from oddwatch.scenes.shapes import Colour, Shape, joined
from oddwatch.scenes.traffic import Course, Mover, Walker, clearance_m, crossing, lane, some_speed
from oddwatch.scenes.vehicles import BAG_GRIP_M, CartLook, bag, cart, cyclist, sign

_LATEST_SECONDS = 2.5  # later than planned, to find a gap between the people
_TRIES = 50
_TRIES_OF_MANY = 8  # for so many there is hardly ever a gap, and each try is long
_BRIGHT: tuple[Colour, ...] = (
    (190, 44, 40),
    (36, 84, 170),
    (228, 190, 50),
    (46, 130, 76),
    (230, 228, 222),
    (40, 42, 48),
)
_HI_VIS: Colour = (240, 130, 30)


def stage(kind: str, place: Place, *, seed: int, start_seconds: float, people: Sequence[Mover]) -> Happening:
    """Put an event of a kind on stage where and when it keeps clear of the people; the clearest try if none does."""
    put, clear_m = _KINDS[kind]
    rng = np.random.default_rng([seed, 2, zlib.crc32(kind.encode()), round(start_seconds * 1000)])
    best: tuple[float, Happening] | None = None
    for _ in range(_TRIES if kind not in _OF_MANY else _TRIES_OF_MANY):
        happening = put(place, rng, start_seconds + float(rng.uniform(0, _LATEST_SECONDS)))
        room = min(clearance_m(mover, people) for mover in happening.movers)
        if best is None or room > best[0]:
            best = room, happening
        if room >= clear_m:
            break
    assert best is not None
    return best[1]


class _Rolling:
    """Something that follows a course and looks as its `look` says after so many metres."""

    def __init__(self, course: Course, look: Callable[[float], Shape]) -> None:
        self.course = course
        self.start_seconds = float(course.times_seconds[0])
        self.end_seconds = float(course.times_seconds[-1])
        self._look = look

    def at(self, seconds: float) -> tuple[float, float]:
        return self.course.at(seconds)

    def shape(self, seconds: float) -> Shape:
        x, y = self.at(seconds)
        return self._look(self.course.along(seconds)).moved(x, y, heading=self.course.heading)


def _passing(kind: str, mover: Mover) -> Happening:
    """Unusual for as long as it is there."""
    return Happening(kind, (mover,), mover.start_seconds, mover.end_seconds, mover.shape)


def _steady(place: Place, y_m: float, direction: int, *, start_seconds: float, speed_m_s: float) -> Course:
    start, end = crossing(place, y_m, direction)
    return Course.steady(start, end, start_seconds=start_seconds - _lead_m(place) / speed_m_s, speed_m_s=speed_m_s)


def _lead_m(place: Place) -> float:
    """Of the way out of view, this much is done before the planned time."""
    return place.unseen_m - 1.5


def _cyclist(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    rider = replace(some_person(rng), legs="trousers", carries="helmet" if rng.random() < 0.7 else "")
    colour = _pick(rng, _BRIGHT)
    _, direction = lane(bool(rng.random() < 0.5))
    y = -direction * float(rng.uniform(0.1, 1.9))
    course = _steady(place, y, direction, start_seconds=start_seconds, speed_m_s=float(rng.uniform(4.0, 5.0)))
    return _passing("cyclist", _Rolling(course, lambda along: cyclist(rider, along, frame_colour=colour)))


def _runner(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    person = replace(some_person(rng), legs="shorts", bare_arms=True, carries="", top=_pick(rng, _BRIGHT))
    speed = float(rng.uniform(3.0, 3.6))
    stride, first = run_stride_m(speed), float(rng.random())
    _, direction = lane(bool(rng.random() < 0.5))
    course = _steady(
        place, -direction * float(rng.uniform(0.1, 2.2)), direction, start_seconds=start_seconds, speed_m_s=speed
    )

    def look(along: float) -> Shape:
        return figure(running(first + along / stride, stride=stride / person.height_m), person)

    return _passing("runner", _Rolling(course, look))


def _cart(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    people = tuple(replace(some_person(rng), legs="trousers", carries="") for _ in range(1 + int(rng.random() < 0.5)))
    shape = cart(CartLook(_pick(rng, _BRIGHT), bool(rng.random() < 0.4), people))
    _, direction = lane(bool(rng.random() < 0.5))
    course = _steady(
        place,
        -direction * float(rng.uniform(0.0, 0.6)),
        direction,
        start_seconds=start_seconds,
        speed_m_s=float(rng.uniform(3.0, 3.8)),
    )
    return _passing("cart", _Rolling(course, lambda _: shape))


def _against_flow(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    (low, high), direction = lane(bool(rng.random() < 0.5))
    speed = some_speed(rng)
    # On the outer side of the lane: next to the middle it could be somebody of the other lane.
    y = -direction * float(rng.uniform((abs(low) + abs(high)) / 2 - BESIDE_M, max(abs(low), abs(high)) + BESIDE_M))
    course = _steady(place, y, -direction, start_seconds=start_seconds, speed_m_s=speed)
    walker = Walker(some_person(rng), course, phase=float(rng.random()), speed_m_s=speed)
    return _passing("against_flow", walker)


def _on_grass(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    near = bool(rng.random() < 0.5)
    low, high = NEAR_LAWN_M if near else FAR_LAWN_M
    start, end = crossing(place, (low + high) / 2, int(rng.choice([-1, 1])))
    speed = some_speed(rng)
    course = Course.steady(
        (start[0], float(rng.uniform(low, high))),
        (end[0], float(rng.uniform(low, high))),
        start_seconds=start_seconds - _lead_m(place) / speed,
        speed_m_s=speed,
    )
    return _passing("on_grass", Walker(some_person(rng), course, phase=float(rng.random()), speed_m_s=speed))


class _Itinerary:
    """Collects the knots of a course that is not steady: forward in time from a moment, and back to where it began."""

    def __init__(self, seconds: float) -> None:
        self._times, self._along = [seconds], [0.0]

    def go(self, duration_seconds: float, speed_from: float, speed_to: float) -> None:
        """Go on for a while, the speed changing evenly."""
        n = 1 if speed_from == speed_to else 8
        step = duration_seconds / n
        for i in range(n):
            speed = speed_from + (speed_to - speed_from) * (i + 0.5) / n
            self._times.append(self._times[-1] + step)
            self._along.append(self._along[-1] + speed * step)

    def course(self, place: Place, at: tuple[float, float], direction: int, speed_m_s: float) -> Course:
        """With what was collected beginning at a place, and steady walking before it and after it."""
        start, end = crossing(place, at[1], direction)
        before, after = (at[0] - start[0]) * direction, (end[0] - at[0]) * direction
        times, along = np.array(self._times), np.array(self._along) + before
        rest = before + after - along[-1]
        return Course(
            start,
            0.0 if direction > 0 else math.pi,
            np.concatenate([[times[0] - before / speed_m_s], times, [times[-1] + rest / speed_m_s]]),
            np.concatenate([[0.0], along, [before + after]]),
        )


def _fall(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    (low, high), direction = lane(bool(rng.random() < 0.5))
    at = mid_view(place, rng, float(rng.uniform(low - BESIDE_M, high + BESIDE_M)), direction, ahead_m=0.7)
    speed = some_speed(rng)
    down, up = start_seconds + 0.85, start_seconds + 0.85 + float(rng.uniform(5.0, 7.0))
    way = _Itinerary(start_seconds)
    way.go(0.9, speed, 0.1)
    way.go(up - 0.05 - start_seconds - 0.85, 0.0, 0.0)
    way.go(1.3, -0.25, -0.25)
    way.go(1.8, 0.15, 0.15)
    way.go(0.9, 0.2, speed)
    acts = (
        (start_seconds, None),
        (start_seconds + 0.35, STUMBLING),
        (down, LYING),
        (up, LYING),
        (up + 1.3, KNEELING),
        (up + 2.3, RISING),
        (up + 3.1, STANDING),
        (up + 3.6, None),
    )
    person = replace(some_person(rng), carries="")
    walker = Walker(
        person,
        way.course(place, at, direction, speed),
        phase=float(rng.random()),
        speed_m_s=speed,
        acts=acts,
    )
    return Happening("fall", (walker,), start_seconds, up + 3.1, walker.shape)


_BEND_SECONDS, _HOLD_SECONDS, _RISE_SECONDS = 1.0, 0.3, 0.8


def _stopping(
    place: Place,
    rng: np.random.Generator,
    at: tuple[float, float],
    direction: int,
    *,
    bend_seconds: float,
    hi_vis: bool,
) -> Walker:
    """A walker who stops at a place, bends down at a moment, and goes on."""
    speed = some_speed(rng)
    way = _Itinerary(bend_seconds - 0.9)
    way.go(0.9, speed, 0.0)
    way.go(_BEND_SECONDS + _HOLD_SECONDS + _RISE_SECONDS, 0.0, 0.0)
    way.go(0.8, 0.0, speed)
    held = bend_seconds + _BEND_SECONDS
    acts = (
        (bend_seconds, STANDING),
        (held, BENT),
        (held + _HOLD_SECONDS, BENT),
        (held + _HOLD_SECONDS + _RISE_SECONDS, STANDING),
        (held + _HOLD_SECONDS + _RISE_SECONDS + 0.4, None),
    )
    person = replace(some_person(rng), carries="")
    if hi_vis:
        person = replace(person, top=_HI_VIS, legs="trousers")
    course = way.course(place, (at[0] - direction * speed * 0.45, at[1]), direction, speed)
    start_acts = ((bend_seconds - 0.5, None), *acts)
    return Walker(person, course, phase=float(rng.random()), speed_m_s=speed, acts=start_acts, swing=(0.4, 0.08))


def _straight(walker: Walker) -> Course:
    assert isinstance(walker.course, Course)
    return walker.course


class _Bag:
    """A bag in its owner's hand, then on the ground, then in the hand of who takes it away."""

    def __init__(self, shape: Shape, owner: Walker, taker: Walker, *, put_seconds: float, take_seconds: float) -> None:
        self._shape, self._owner, self._taker = shape, owner, taker
        self._put_seconds, self._take_seconds = put_seconds, take_seconds
        self.start_seconds, self.end_seconds = owner.start_seconds, taker.end_seconds
        self._left_at = owner.hand(put_seconds)

    def _grip(self, seconds: float) -> tuple[float, float, float]:
        if seconds < self._put_seconds:
            return self._owner.hand(seconds)
        return self._left_at if seconds < self._take_seconds else self._taker.hand(seconds)

    def at(self, seconds: float) -> tuple[float, float]:
        return self._grip(seconds)[:2]

    def shape(self, seconds: float) -> Shape:
        x, y, z = self._grip(seconds)
        on_ground = self._put_seconds <= seconds < self._take_seconds
        lift = 0.0 if on_ground else max(0.0, z - BAG_GRIP_M)
        return self._shape.moved(x, y, lift, heading=self._owner.course.heading_at(seconds))


def _object_left(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    (low, high), direction = lane(bool(rng.random() < 0.5))
    at = mid_view(place, rng, float(rng.uniform(low - BESIDE_M, high + BESIDE_M)), direction, ahead_m=0.5)
    owner = _stopping(place, rng, at, direction, bend_seconds=start_seconds, hi_vis=False)
    put = start_seconds + _BEND_SECONDS + _HOLD_SECONDS / 2
    fetch = put + float(rng.uniform(9.0, 11.0))
    bag_x, bag_y, _ = owner.hand(put)
    taker = _stopping(place, rng, at, direction, bend_seconds=fetch, hi_vis=True)
    forward, left, _ = joints(BENT, taker.person).hands[1]
    reach = (bag_x - direction * forward, bag_y - direction * left)
    course = _straight(taker)
    taker.course = replace(course, origin_m=(course.origin_m[0] + reach[0] - at[0], reach[1]))
    take = fetch + _BEND_SECONDS + _HOLD_SECONDS / 2
    left_bag = _Bag(bag(_pick(rng, _BRIGHT)), owner, taker, put_seconds=put, take_seconds=take)
    owner_up = start_seconds + _BEND_SECONDS + _HOLD_SECONDS + _RISE_SECONDS
    end = fetch + _BEND_SECONDS + _HOLD_SECONDS + _RISE_SECONDS

    def unusual(seconds: float) -> Shape:
        shape = left_bag.shape(seconds)
        if seconds <= owner_up:
            return joined(owner.shape(seconds), shape)
        return joined(taker.shape(seconds), shape) if seconds >= fetch else shape

    return Happening("object_left", (owner, taker, left_bag), start_seconds, end, unusual)


class Sign:
    """A folding sign that stands at its place between two moments."""

    def __init__(self, place: Place, *, start_seconds: float = -math.inf, end_seconds: float = math.inf) -> None:
        self.start_seconds, self.end_seconds = start_seconds, end_seconds
        self._at = place.sign_m
        self._shape = sign().moved(*place.sign_m)

    def at(self, seconds: float) -> tuple[float, float]:
        return self._at

    def shape(self, seconds: float) -> Shape:
        return self._shape


class _Carried:
    """The sign in somebody's hand between two moments."""

    def __init__(self, carrier: Walker, start_seconds: float, end_seconds: float) -> None:
        self._carrier, self.start_seconds, self.end_seconds = carrier, start_seconds, end_seconds

    def at(self, seconds: float) -> tuple[float, float]:
        return self._carrier.hand(seconds)[:2]

    def shape(self, seconds: float) -> Shape:
        x, y, z = self._carrier.hand(seconds)
        return sign().moved(x, y, max(0.0, z - BAG_GRIP_M))


def _object_taken(place: Place, rng: np.random.Generator, start_seconds: float) -> Happening:
    """Somebody carries the sign away; somebody else brings it back after 11 to 13 s."""
    x, y = place.sign_m
    direction = 1 if y < 0 else -1
    back = start_seconds + float(rng.uniform(11.0, 13.0))
    carriers = []
    for bend_seconds, hi_vis in ((start_seconds, False), (back, True)):
        # Each walks so that the hand meets the sign.
        line = (x - direction * 0.5, y - math.copysign(0.3, y))
        one = _stopping(place, rng, line, direction, bend_seconds=bend_seconds, hi_vis=hi_vis)
        hand_x, hand_y, _ = one.hand(bend_seconds + _BEND_SECONDS)
        origin = _straight(one).origin_m
        one.course = replace(_straight(one), origin_m=(origin[0] + x - hand_x, origin[1] + y - hand_y))
        carriers.append(one)
    taker, returner = carriers
    taken, returned = (t + _BEND_SECONDS + _HOLD_SECONDS / 2 for t in (start_seconds, back))
    risen = _BEND_SECONDS + _HOLD_SECONDS + _RISE_SECONDS
    away = _Carried(taker, taken, taker.end_seconds)
    home = _Carried(returner, returner.start_seconds, returned)
    gap = Sign(place)

    def unusual(seconds: float) -> Shape:
        shapes = [gap.shape(seconds)]
        if seconds < start_seconds + risen:
            shapes.append(taker.shape(seconds))
        if taken <= seconds < start_seconds + risen:
            shapes.append(away.shape(seconds))
        if seconds >= back:
            shapes.append(returner.shape(seconds))
        if back <= seconds < returned:
            shapes.append(home.shape(seconds))
        return joined(*shapes)

    things = (Sign(place, end_seconds=taken), away, home, Sign(place, start_seconds=returned))
    return Happening("object_taken", (taker, returner), start_seconds, back + risen, unusual, things)


def _pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


_KINDS: dict[str, tuple[Callable[[Place, np.random.Generator, float], Happening], float]] = {
    "cyclist": (_cyclist, 0.9),
    "runner": (_runner, 0.75),
    "cart": (_cart, 1.2),
    "against_flow": (_against_flow, 0.7),
    "on_grass": (_on_grass, 0.7),
    "fall": (_fall, 1.2),
    "object_left": (_object_left, 0.8),
    "loitering": (loitering, 0.5),
    "object_taken": (_object_taken, 0.6),
    "dispersal": (dispersal, 0.6),
    "crowd": (crowd, 0.6),
}
_OF_MANY = ("dispersal", "crowd")
KINDS: tuple[str, ...] = tuple(_KINDS)
"""The unusual events that can be planned."""
