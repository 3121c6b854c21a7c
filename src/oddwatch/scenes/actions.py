"""Short clips of somebody doing one thing, near enough to fill the picture: ten actions, for training on clips.

    >>> clip = Action("kick", seed=3)
    >>> len(clip), clip[0]
    (20, Frame(image='uint8(120, 160, 3)', time_seconds=0.0, index=0))

Every seed is another person in another place, another tempo, another direction and another moment of the movement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from oddwatch.errors import UsageError
from oddwatch.scenes.body import (
    BENT,
    KNEELING,
    LYING,
    STANDING,
    STUMBLING,
    Pose,
    blended,
    figure,
    run_stride_m,
    running,
    some_person,
    walk_stride_m,
    walking,
)
from oddwatch.scenes.shapes import Array, Camera, Colour, Painter, Pixels
from oddwatch.types import Frame

_RUN_M_S = 2.0
_SQUATTING = Pose(lean=0.7, shoulders=(1.5, 1.5), elbows=(0.1, 0.1), hips=(1.75, 1.75), knees=(2.2, 2.2), feet=(0, 0))
_REACHING = Pose(lean=-0.08, nod=-0.2, shoulders=(2.9, 2.9), elbows=(0.1, 0.1), hips=(-0.05, 0.02), knees=(0.03, 0.03))
_CROUCHED = Pose(
    lean=0.55, shoulders=(-0.7, -0.7), elbows=(0.2, 0.2), hips=(1.0, 1.0), knees=(1.4, 1.4), feet=(0.3, 0.3)
)
_WOUND_UP = Pose(lean=-0.1, shoulders=(0.7, -0.6), elbows=(0.5, 0.4), hips=(0.1, -0.75), knees=(0.1, 1.1))
_KICKED = Pose(lean=-0.3, shoulders=(-0.5, 0.8), elbows=(0.4, 0.4), hips=(-0.05, 1.45), knees=(0.15, 0.15))
_GUARD = Pose(lean=0.15, shoulders=(0.7, 0.7), elbows=(2.2, 2.2), hips=(0.35, -0.3), knees=(0.35, 0.3))
_LEFT_PUNCH = Pose(lean=0.3, twist=-0.7, shoulders=(1.6, 0.5), elbows=(0.05, 2.3), hips=(0.45, -0.3), knees=(0.45, 0.3))
_RIGHT_PUNCH = Pose(lean=0.3, twist=0.7, shoulders=(0.5, 1.6), elbows=(2.3, 0.05), hips=(0.45, -0.3), knees=(0.45, 0.3))


@dataclass(frozen=True)
class _Moment:
    """A pose; how far ahead of the middle of the picture (metres), and how high above the ground."""

    pose: Pose
    ahead_m: float = 0.0
    above_m: float = 0.0


Movement = Callable[[float, float], _Moment]
"""(seconds, body height in metres) -> what there is to see; 0 s is the middle of the clip."""


def _swinging(a: Pose, b: Pose, *, period_seconds: float) -> Movement:
    """From one pose to another and back."""
    return lambda s, height: _Moment(blended(a, b, 0.5 - 0.5 * math.cos(2 * math.pi * s / period_seconds)))


def _round(*poses: Pose, period_seconds: float) -> Movement:
    """From each pose to the next and around, pausing a little at each."""

    def movement(seconds: float, height: float) -> _Moment:
        at = seconds / period_seconds % 1 * len(poses)
        here, share = int(at), at % 1
        smooth = share * share * (3 - 2 * share)
        return _Moment(blended(poses[here], poses[(here + 1) % len(poses)], smooth))

    return movement


def _walk(seconds: float, height: float) -> _Moment:
    stride = walk_stride_m(1.3, height)
    return _Moment(walking(1.3 * seconds / stride, stride=stride / height), 1.3 * seconds)


def _run(seconds: float, height: float) -> _Moment:
    stride = run_stride_m(_RUN_M_S)
    return _Moment(running(_RUN_M_S * seconds / stride, stride=stride / height), _RUN_M_S * seconds)


def _jump(seconds: float, height: float) -> _Moment:
    phase = seconds / 0.9 % 1
    if phase < 0.45:  # down and ready
        return _Moment(blended(STANDING, _CROUCHED, math.sin(math.pi * phase / 0.45)))
    flight = (phase - 0.45) / 0.55
    return _Moment(blended(STANDING, _REACHING, math.sin(math.pi * flight)), above_m=0.45 * math.sin(math.pi * flight))


def _wave(seconds: float, height: float) -> _Moment:
    beat = math.sin(2 * math.pi * seconds / 0.8)
    return _Moment(STANDING._replace(shoulders=(2.5 + 0.5 * beat, 0.02), elbows=(0.4 + 0.4 * beat, 0.15)))


def _fall(seconds: float, height: float) -> _Moment:
    steps = ((-0.8, STANDING), (-0.45, STUMBLING), (0.0, KNEELING), (0.4, LYING))
    before = steps[0]
    for after in steps:
        if seconds < after[0]:
            share = 1.0 if after is before else (seconds - before[0]) / (after[0] - before[0])
            return _Moment(blended(before[1], after[1], share), min(0.3, max(-0.3, 0.6 * seconds)))
        before = after
    return _Moment(LYING, 0.3)


_MOVEMENTS: dict[str, Movement] = {
    "walk": _walk,
    "run": _run,
    "jump": _jump,
    "squat": _swinging(STANDING, _SQUATTING, period_seconds=1.6),
    "wave": _wave,
    "bow": _swinging(STANDING, BENT, period_seconds=1.8),
    "stretch": _swinging(STANDING, _REACHING, period_seconds=1.9),
    "kick": _round(STANDING, _WOUND_UP, _KICKED, period_seconds=1.3),
    "punch": _round(_GUARD, _LEFT_PUNCH, _GUARD, _RIGHT_PUNCH, period_seconds=1.0),
    "fall": _fall,
}
ACTIONS = tuple(_MOVEMENTS)
"""Ten actions."""
ALLOWED, FORBIDDEN = ACTIONS[:7], ACTIONS[7:]
"""Those of the example: everyday ones, and what nobody wants to see."""

_BACK_M, _CAMERA_M, _WALL_M = 6.0, 1.5, 2.2
_SEEN_M = 2.7  # of height, at the person's distance
_NOISE_LEVELS = 3.0
_WALLS: tuple[Colour, ...] = ((196, 188, 172), (158, 170, 182), (178, 160, 142), (150, 158, 140), (186, 186, 190))
_FLOORS: tuple[Colour, ...] = ((128, 110, 92), (112, 114, 118), (142, 132, 112), (96, 104, 96))


class Action:
    """A rendered clip: `for frame in clip`, `clip[i]`, `len(clip)`.

    kind: one of `ACTIONS`. seed: who, where, how fast and which way. seconds, fps: 20 frames by default. size_px:
    width, height. The same arguments give the same bytes. Raises UsageError for arguments that cannot work.
    """

    def __init__(
        self, kind: str, *, seed: int, seconds: float = 2.0, fps: float = 10.0, size_px: tuple[int, int] = (160, 120)
    ) -> None:
        if kind not in _MOVEMENTS:
            raise UsageError(f"unknown action {kind!r}; there are {', '.join(ACTIONS)}")
        if not (seconds > 0 and 0 < fps <= 240 and min(size_px) >= 32 and seed >= 0):
            raise UsageError("seconds and fps are above 0, pictures at least 32 px, seeds 0 or above")
        self.fps, self.size_px = fps, size_px
        self._movement, self._count = _MOVEMENTS[kind], max(1, round(seconds * fps))
        rng = np.random.default_rng([seed, ACTIONS.index(kind)])
        self._person = replace(some_person(rng), carries="")
        self._tempo, self._phase = rng.uniform(0.85, 1.15), rng.uniform(-0.3, 0.3)
        self._heading = float(rng.choice([0.0, math.pi]) + rng.uniform(-0.5, 0.5))
        self._aside_m = rng.uniform(-0.3, 0.3)
        width, height = size_px
        self._camera = Camera.looking(
            height_m=_CAMERA_M,
            back_m=_BACK_M,
            yaw=0.0,
            pitch=math.radians(5),
            focal_px=height * _BACK_M / _SEEN_M * rng.uniform(0.93, 1.07),
            centre_px=(width / 2, height / 2),
        )
        sun = np.array([rng.choice([-1, 1]) * 0.5, -0.3, 0.8])
        self._painter = Painter(self._camera, size_px=size_px, sun=sun / np.linalg.norm(sun))
        self._room, self._noise_seed = self._furnished(rng), int(rng.integers(2**31))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Frame]:
        return (self._frame(index) for index in range(self._count))

    def __getitem__(self, index: int) -> Frame:
        if not -self._count <= index < self._count:
            raise IndexError(f"frame {index} of a clip of {self._count} frames")
        return self._frame(index % self._count)

    def _frame(self, index: int) -> Frame:
        seconds = self._tempo * (index - (self._count - 1) / 2) / self.fps + self._phase
        moment = self._movement(seconds, self._person.height_m)
        x, y = moment.ahead_m * math.cos(self._heading), moment.ahead_m * math.sin(self._heading)
        body = figure(moment.pose, self._person).moved(x + self._aside_m, y, moment.above_m, heading=self._heading)
        mask = np.zeros(self.size_px[::-1], np.uint8)
        self._painter.shadow(body, mask)
        picture = (self._room * (1 - 0.45 * cv2.GaussianBlur(mask, (5, 5), 0)[..., None] / 255)).astype(np.uint8)
        if (sprite := self._painter.sprite(body)) is not None:
            sprite.blend(picture)
        noise = np.random.default_rng([self._noise_seed, index]).normal(0, _NOISE_LEVELS, picture.shape)
        return Frame(np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8), index / self.fps, index)

    def _furnished(self, rng: np.random.Generator) -> Array:
        """(H, W, 3) a floor and a wall with a stripe and a door."""
        width, height = self.size_px
        wall, floor = (np.array(colours[rng.integers(len(colours))], float) for colours in (_WALLS, _FLOORS))
        corners = np.array([[x, _WALL_M, z] for x, z in ((0.0, 0.0), (0.0, 0.3))])
        foot, stripe = (round(y) for y in self._camera.project(corners)[:, 1])
        room = np.empty((height, width, 3))
        room[:] = wall
        room[stripe:foot] *= 0.85
        left = int(rng.uniform(0.0, 0.8) * width)
        room[max(0, foot - int(0.62 * height)) : foot, left : left + width // 6] *= rng.uniform(0.6, 0.85)
        room[foot:] = floor * np.linspace(0.85, 1.1, height - foot)[:, None, None]
        grain: Pixels = rng.integers(0, 256, (height // 4, width // 4)).astype(np.uint8)
        return np.asarray(room * (0.94 + 0.12 * cv2.resize(grain, (width, height))[..., None] / 255))
