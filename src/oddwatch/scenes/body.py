"""People: how they are built and dressed, how they walk, run, ride, sit, bend, fall and lie.

A pose is a set of joint angles; walking and running find them from where the feet must be: a foot on the ground stays
where it is while the body passes over it, so that the stride matches the speed and no foot slides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from oddwatch.scenes.shapes import Ball, Builder, Colour, Shape, toned

Pair = tuple[float, float]
"""Left and right."""

# Segment lengths as shares of the body height, after Winter, Biomechanics and Motor Control of Human Movement.
_THIGH, _SHANK, _TRUNK, _UPPER_ARM, _FOREARM = 0.245, 0.246, 0.29, 0.172, 0.165
_ANKLE, _TOES, _HEEL = 0.047, 0.11, -0.03
_LEG = _THIGH + _SHANK
_BEHIND = 0.035  # how far the middle of the ankles is behind the hips: the soles reach forward
_WALK_STANCE, _RUN_STANCE = 0.6, 0.36
_RUN_STRIDES_PER_SECOND = 1.4


class Pose(NamedTuple):
    """Joint angles in radians. lean: trunk forward; nod: head forward; twist: left hip ahead (shoulders go against it);
    shoulders: arm forward of the trunk; hips: thigh forward of the vertical; feet: toes up; elbows and knees: bend.
    hip_height: share of the body height; None: so that the lowest part touches the ground.
    """

    lean: float = 0.0
    nod: float = 0.0
    twist: float = 0.0
    shoulders: Pair = (0.0, 0.0)
    elbows: Pair = (0.15, 0.15)
    hips: Pair = (0.0, 0.0)
    knees: Pair = (0.05, 0.05)
    feet: Pair = (0.0, 0.0)
    hip_height: float | None = None


STANDING = Pose(shoulders=(0.02, 0.02), hips=(-0.04, -0.02), knees=(0.03, 0.03))
BENT = Pose(lean=1.25, nod=-0.3, shoulders=(1.1, 1.25), elbows=(0.3, 0.05), hips=(0.55, 0.35), knees=(0.95, 0.75))
STUMBLING = Pose(
    lean=0.75,
    nod=-0.35,
    shoulders=(1.5, 1.9),
    elbows=(0.4, 0.3),
    hips=(0.75, -0.35),
    knees=(0.75, 0.55),
    feet=(0, -0.7),
)
KNEELING = Pose(
    lean=1.2, nod=-0.5, shoulders=(1.25, 1.15), elbows=(0.1, 0.2), hips=(0.1, 0.0), knees=(1.6, 1.55), feet=(-2.6, -2.7)
)
LYING = Pose(
    lean=1.54,
    nod=0.0,
    shoulders=(2.95, 0.15),
    elbows=(0.15, 0.1),
    hips=(-1.52, -1.5),
    knees=(0.05, 0.12),
    feet=(-2.6, -2.5),
)
RISING = Pose(
    lean=0.4, nod=-0.1, shoulders=(0.6, 0.3), elbows=(0.5, 0.3), hips=(1.45, -0.05), knees=(1.45, 1.5), feet=(0.0, -1.9)
)


def blended(a: Pose, b: Pose, weight: float) -> Pose:
    """From pose a (weight 0) to pose b (weight 1)."""
    if weight <= 0:
        return a
    if weight >= 1:
        return b

    def mix(x: float, y: float) -> float:
        return x + (y - x) * weight

    def pair(x: Pair, y: Pair) -> Pair:
        return mix(x[0], y[0]), mix(x[1], y[1])

    return Pose(
        lean=mix(a.lean, b.lean),
        nod=mix(a.nod, b.nod),
        twist=mix(a.twist, b.twist),
        shoulders=pair(a.shoulders, b.shoulders),
        elbows=pair(a.elbows, b.elbows),
        hips=pair(a.hips, b.hips),
        knees=pair(a.knees, b.knees),
        feet=pair(a.feet, b.feet),
    )


def walk_stride_m(speed_m_s: float, height_m: float) -> float:
    """Length of two steps of a walker: faster people take longer steps, and more of them."""
    return 1.25 * math.sqrt(max(speed_m_s, 0.05) / 1.3) * height_m / 1.75


def run_stride_m(speed_m_s: float) -> float:
    return speed_m_s / _RUN_STRIDES_PER_SECOND


def walking(phase: float, *, stride: float, swing: Pair = (0.42, 0.42)) -> Pose:
    """Walking at `phase` (1 = a stride of two steps). stride: as a share of the body height. swing: of the arms."""
    reach = stride * _WALK_STANCE / 2 - _BEHIND - 0.03
    low = math.sqrt(max(_LEG**2 - reach**2, 0.1)) + _ANKLE
    hip = low + 0.85 * (_LEG + _ANKLE - low) * math.sin(2 * math.pi * (phase - 0.05)) ** 2
    twist = 0.25 * math.cos(2 * math.pi * phase)
    legs = []
    for p, side in ((phase % 1, 1), ((phase + 0.5) % 1, -1)):
        x, z, pitch = _walking_ankle(p, stride)
        legs.append((*_leg(x - side * twist * 0.055, z - hip), pitch))
    arms = [-a * math.cos(2 * math.pi * (p - 0.03)) for a, p in zip(swing, (phase, phase + 0.5), strict=True)]
    return Pose(
        lean=0.05,
        twist=twist,
        shoulders=(arms[0] + 0.04, arms[1] + 0.04),
        elbows=(0.3 + 0.4 * max(arms[0], 0), 0.3 + 0.4 * max(arms[1], 0)),
        hips=(legs[0][0], legs[1][0]),
        knees=(legs[0][1], legs[1][1]),
        feet=(legs[0][2], legs[1][2]),
    )


def _walking_ankle(p: float, stride: float) -> tuple[float, float, float]:
    """Ankle ahead of the hip, its height, and the foot's pitch; heel strike at p = 0."""
    front = stride * _WALK_STANCE / 2 - _BEHIND
    back = front - stride * _WALK_STANCE
    if p < _WALK_STANCE:
        q = p / _WALK_STANCE
        x = front - stride * p
        if q < 0.15:
            return _pivot(x, _HEEL, 0.3 * (1 - q / 0.15))
        return _pivot(x, _TOES, -0.9 * max(0.0, (q - 0.6) / 0.4) ** 1.5)
    s = (p - _WALK_STANCE) / (1 - _WALK_STANCE)
    x0, z0, _ = _pivot(back, _TOES, -0.9)
    x1, z1, _ = _pivot(front, _HEEL, 0.3)
    glide = s * s * (3 - 2 * s)
    lift = 0.035 * math.sin(math.pi * s)
    return x0 + (x1 - x0) * glide, z0 + (z1 - z0) * glide + lift, -0.9 * (1 - s) ** 1.5 + 0.3 * s**2


def _pivot(ankle_x: float, pivot_x: float, pitch: float) -> tuple[float, float, float]:
    """The ankle of a foot that is tilted about a point of its sole which stays on the ground."""
    cos, sin = math.cos(pitch), math.sin(pitch)
    return (
        ankle_x + pivot_x - (pivot_x * cos + _ANKLE * sin),
        -(pivot_x * sin - _ANKLE * cos),
        pitch,
    )


def running(phase: float, *, stride: float) -> Pose:
    """Running at `phase` (1 = two steps), with a moment in the air after each step."""
    hip = 0.495 + 0.025 * math.cos(4 * math.pi * (phase - _RUN_STANCE / 2 - 0.25))
    legs = []
    for p in (phase % 1, (phase + 0.5) % 1):
        ground = stride * _RUN_STANCE
        front, back = 0.42 * ground, -0.58 * ground
        if p < _RUN_STANCE:
            q = p / _RUN_STANCE
            x, z, pitch = _pivot(front - stride * p, _TOES, -1.0 * max(0.0, (q - 0.45) / 0.55) ** 1.4)
        else:
            s = (p - _RUN_STANCE) / (1 - _RUN_STANCE)
            x0, z0, _ = _pivot(back, _TOES, -1.0)
            glide = s**2.3 * (3 - 2 * s)
            x = x0 + (front - x0) * glide
            z = z0 + (_ANKLE - z0) * s + 0.26 * math.sin(math.pi * s**0.8) ** 1.3
            pitch = -1.3 * (1 - s) ** 0.8
        legs.append((*_leg(x, z - hip), pitch))
    arms = [-0.75 * math.cos(2 * math.pi * p) - 0.1 for p in (phase, phase + 0.5)]
    return Pose(
        lean=0.2,
        nod=-0.1,
        twist=0.3 * math.cos(2 * math.pi * phase),
        shoulders=(arms[0], arms[1]),
        elbows=(1.6 + 0.25 * arms[0], 1.6 + 0.25 * arms[1]),
        hips=(legs[0][0], legs[1][0]),
        knees=(legs[0][1], legs[1][1]),
        feet=(legs[0][2], legs[1][2]),
        hip_height=hip,
    )


def seated(*, lean: float, feet_at: tuple[tuple[float, float], tuple[float, float]], hip_height: float) -> Pose:
    """Sitting with the ankles at given places (ahead of the hip, above it) and the hands forward. Shares of height."""
    legs = [_leg(x, z) for x, z in feet_at]
    return Pose(
        lean=lean,
        nod=-lean * 0.6,
        shoulders=(0.75 + lean * 0.8, 0.75 + lean * 0.8),
        elbows=(0.35, 0.35),
        hips=(legs[0][0], legs[1][0]),
        knees=(legs[0][1], legs[1][1]),
        hip_height=hip_height,
    )


def _leg(x: float, z: float) -> tuple[float, float]:
    """Thigh angle and knee bend that bring the ankle to (x, z) from the hip joint, the knee pointing forward."""
    d = min(max(math.hypot(x, z), 0.05), _LEG * 0.9995)
    knee = math.pi - math.acos(_clip((_THIGH**2 + _SHANK**2 - d * d) / (2 * _THIGH * _SHANK)))
    inner = math.acos(_clip((_THIGH**2 + d * d - _SHANK**2) / (2 * _THIGH * d)))
    return math.atan2(x, -z) + inner, knee


def _clip(cosine: float) -> float:
    return min(1.0, max(-1.0, cosine))


@dataclass(frozen=True)
class Person:
    """How somebody looks. legs: `trousers`, `shorts`, `skirt` or `coat`; carries: `backpack`, `handbag`,
    `helmet` or nothing.
    """

    height_m: float = 1.75
    build: float = 1.0
    skin: Colour = (205, 160, 130)
    hair: Colour = (60, 42, 30)
    long_hair: bool = False
    top: Colour = (70, 95, 150)
    bottom: Colour = (50, 52, 62)
    shoes: Colour = (40, 36, 34)
    legs: str = "trousers"
    bare_arms: bool = False
    carries: str = ""
    extra: Colour = (120, 40, 40)


_SKINS: tuple[Colour, ...] = ((224, 182, 155), (205, 160, 130), (172, 122, 92), (128, 86, 62), (88, 60, 46))
_HAIRS: tuple[Colour, ...] = ((38, 30, 26), (66, 46, 32), (104, 72, 46), (168, 134, 84), (140, 138, 136), (84, 40, 28))
_TOPS: tuple[Colour, ...] = (
    (178, 52, 48), (52, 84, 150), (226, 224, 216), (44, 46, 54), (86, 120, 84), (208, 168, 72),
    (122, 92, 140), (150, 150, 154), (214, 128, 92), (62, 128, 140), (110, 78, 58), (206, 160, 178),
)  # fmt: skip
_BOTTOMS: tuple[Colour, ...] = ((44, 52, 78), (36, 36, 40), (96, 92, 88), (138, 122, 96), (66, 84, 118), (84, 62, 48))


def some_person(rng: np.random.Generator, *, child: bool = False) -> Person:
    """Somebody as one meets them on a walkway."""

    def pick(colours: tuple[Colour, ...]) -> Colour:
        red, green, blue = (float(c) for c in np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.12))
        return min(red, 245), min(green, 245), min(blue, 245)

    woman = bool(rng.random() < 0.5)
    legs = str(
        rng.choice(["trousers", "shorts", "skirt", "coat"], p=[0.5, 0.14, 0.24, 0.12] if woman else [0.7, 0.2, 0, 0.1])
    )
    height = rng.normal(1.66, 0.06) if woman else rng.normal(1.78, 0.07)
    return Person(
        height_m=float(rng.uniform(1.1, 1.4) if child else np.clip(height, 1.5, 1.96)),
        build=float(rng.uniform(0.9, 1.15)),
        skin=pick(_SKINS),
        hair=pick(_HAIRS),
        long_hair=woman and bool(rng.random() < 0.7),
        top=pick(_TOPS),
        bottom=pick(_BOTTOMS),
        shoes=pick(((40, 36, 34), (214, 212, 206), (92, 60, 40))),
        legs=legs,
        bare_arms=bool(legs == "shorts" or rng.random() < 0.3),
        carries=str(rng.choice(["", "backpack", "handbag"], p=[0.6, 0.2, 0.2])),
        extra=pick(_TOPS),
    )


class Joints(NamedTuple):
    """Places relative to the ground below the hips, metres: (forward, left, up). Pairs are left, right."""

    neck: tuple[float, float, float]
    head: tuple[float, float, float]
    shoulders: tuple[tuple[float, float, float], tuple[float, float, float]]
    elbows: tuple[tuple[float, float, float], tuple[float, float, float]]
    hands: tuple[tuple[float, float, float], tuple[float, float, float]]
    hips: tuple[tuple[float, float, float], tuple[float, float, float]]
    knees: tuple[tuple[float, float, float], tuple[float, float, float]]
    ankles: tuple[tuple[float, float, float], tuple[float, float, float]]
    heels: tuple[tuple[float, float, float], tuple[float, float, float]]
    toes: tuple[tuple[float, float, float], tuple[float, float, float]]


def joints(pose: Pose, person: Person) -> Joints:
    """Where a pose puts the joints of a person."""
    b = person.build
    sin_l, cos_l = math.sin(pose.lean), math.cos(pose.lean)
    neck = (_TRUNK * sin_l, _TRUNK * cos_l)
    nod = pose.lean + pose.nod
    head = (neck[0] + 0.108 * math.sin(nod), neck[1] + 0.108 * math.cos(nod))
    sides = []
    for i, side in enumerate((1, -1)):
        twist = side * pose.twist
        shoulder = (neck[0] * 0.97 - 0.09 * twist * cos_l, neck[1] * 0.97 + 0.09 * twist * sin_l)
        arm = pose.shoulders[i] - pose.lean
        elbow = (shoulder[0] + _UPPER_ARM * math.sin(arm), shoulder[1] - _UPPER_ARM * math.cos(arm))
        arm += pose.elbows[i]
        hand = (elbow[0] + _FOREARM * math.sin(arm), elbow[1] - _FOREARM * math.cos(arm))
        hip = (0.055 * twist, 0.0)
        thigh = pose.hips[i]
        knee = (hip[0] + _THIGH * math.sin(thigh), hip[1] - _THIGH * math.cos(thigh))
        shank = thigh - pose.knees[i]
        ankle = (knee[0] + _SHANK * math.sin(shank), knee[1] - _SHANK * math.cos(shank))
        cos_f, sin_f = math.cos(pose.feet[i]), math.sin(pose.feet[i])
        heel = (ankle[0] + _HEEL * cos_f + 0.026 * sin_f, ankle[1] + _HEEL * sin_f - 0.026 * cos_f)
        toe = (ankle[0] + 0.115 * cos_f + 0.031 * sin_f, ankle[1] + 0.115 * sin_f - 0.031 * cos_f)
        sides.append((shoulder, elbow, hand, hip, knee, ankle, heel, toe))
    raised = pose.hip_height
    if raised is None:
        lowest = min(min(s[6][1] - 0.021, s[7][1] - 0.016, s[4][1] - 0.032, s[2][1] - 0.022) for s in sides)
        raised = -min(lowest, -0.06, neck[1] - 0.06)
    h = person.height_m

    def place(point: Pair, left: float) -> tuple[float, float, float]:
        return point[0] * h, left * h, (point[1] + raised) * h

    lefts = (0.1 * b, 0.135 * b, 0.125 * b, 0.052, 0.05, 0.042, 0.042, 0.05)
    pairs = [(place(sides[0][k], lefts[k]), place(sides[1][k], -lefts[k])) for k in range(8)]
    return Joints(place(neck, 0.0), place(head, 0.0), *pairs)


def figure(pose: Pose, person: Person) -> Shape:
    """A person in a pose, facing +x, hips above the origin."""
    j = joints(pose, person)
    h, b = person.height_m, person.build
    sin_l, cos_l = math.sin(pose.lean), math.cos(pose.lean)
    make = Builder()

    def ball(at: tuple[float, float, float], radius: float) -> Ball:
        return (*at, radius * h)

    def off(at: tuple[float, float, float], along: float, forward: float) -> tuple[float, float, float]:
        """Shifted in the trunk's frame, in shares of the height."""
        return (at[0] + (along * sin_l + forward * cos_l) * h, at[1], at[2] + (along * cos_l - forward * sin_l) * h)

    bare_shank = person.legs in ("shorts", "skirt")
    for hip, knee, ankle, heel, toe in zip(j.hips, j.knees, j.ankles, j.heels, j.toes, strict=True):
        make.add(person.shoes, ball(heel, 0.021), ball(toe, 0.016))
        make.add(person.skin if bare_shank else person.bottom, ball(knee, 0.029 * b), ball(ankle, 0.021 * b))
        make.add(person.skin if person.legs == "skirt" else person.bottom, ball(hip, 0.046 * b), ball(knee, 0.032 * b))
    if person.legs in ("skirt", "coat"):
        colour = person.bottom if person.legs == "skirt" else person.top
        hems = [
            tuple(p + (q - p) * 0.85 for p, q in zip(hip, knee, strict=True))
            for hip, knee in zip(j.hips, j.knees, strict=True)
        ]
        make.add(
            toned(colour, 0.92),
            *(ball(x, 0.05 * b) for x in j.hips),
            *((x[0], x[1], x[2], 0.052 * b * h) for x in hems),
            nearer_m=0.05,
        )
    chest = [off(s, -0.035, 0.0) for s in j.shoulders]
    make.add(
        person.top,
        *(ball((c[0], c[1] * 0.72, c[2]), 0.052 * b) for c in chest),
        *(ball(off((x[0], x[1] * 0.75, x[2]), 0.015, 0.0), 0.05 * b) for x in j.hips),
    )
    make.add(person.skin, ball(j.neck, 0.03), ball(off(j.neck, 0.035, 0.008), 0.03))
    make.add(person.skin, ball(off(j.head, 0.008, 0.006), 0.05), ball(off(j.head, -0.022, 0.016), 0.038))
    hair = [ball(off(j.head, 0.016, -0.012), 0.052)]
    if person.long_hair:
        hair.append(ball(off(j.neck, 0.0, -0.045), 0.03))
    if person.carries == "helmet":
        make.add(
            person.extra, ball(off(j.head, 0.022, 0.012), 0.055), ball(off(j.head, 0.026, -0.022), 0.055), nearer_m=0.15
        )
    else:
        make.add(person.hair, *hair)
    sleeve = person.skin if person.bare_arms else person.top
    for shoulder, elbow, hand in zip(j.shoulders, j.elbows, j.hands, strict=True):
        make.add(toned(person.top, 0.93), ball(shoulder, 0.034 * b), ball(elbow, 0.026 * b))
        make.add(sleeve, ball(elbow, 0.024 * b), ball(hand, 0.018 * b))
        make.add(person.skin, ball(hand, 0.022))
    if person.carries == "backpack":
        make.add(person.extra, *(ball(off((0.8 * c[0], 0.5 * c[1], c[2]), -0.02, -0.085), 0.042) for c in chest),
                 *(ball(off((x[0], x[1] * 0.9, x[2]), 0.09, -0.09), 0.05) for x in j.hips))  # fmt: skip
    elif person.carries == "handbag":
        x, y, z = j.hands[1]
        make.add(
            person.extra,
            (x - 0.1, y, z - 0.16, 0.05),
            (x + 0.1, y, z - 0.16, 0.05),
            (x - 0.06, y, z - 0.28, 0.06),
            (x + 0.06, y, z - 0.28, 0.06),
        )
        make.add(toned(person.extra, 0.7), (x, y, z, 0.012), (x, y, z - 0.14, 0.012))
    return make.shape()
