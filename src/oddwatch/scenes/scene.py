"""A scene: a place, the people of a while, the events planned in it, and the camera's own faults."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from oddwatch.errors import UsageError
from oddwatch.scenes.conditions import Conditions
from oddwatch.scenes.events import KINDS, Sign, stage
from oddwatch.scenes.happening import Happening
from oddwatch.scenes.place import PATH_HALF_M, Place
from oddwatch.scenes.shapes import Array, Pixels, Sprite
from oddwatch.scenes.traffic import Mover, usual_traffic
from oddwatch.scenes.weather import Weather
from oddwatch.types import Box, Frame, TruthBox, TruthEvent

_GAP_SECONDS = 6.0
_LONGEST_SECONDS = {
    "cyclist": 7.0,
    "runner": 8.0,
    "cart": 8.0,
    "against_flow": 20.5,
    "on_grass": 22.0,
    "fall": 13.5,
    "object_left": 16.5,
    "loitering": 54.0,
    "object_taken": 18.5,
    "dispersal": 13.0,
    "crowd": 30.0,
}
_NOISE_LEVELS = 2.6
_SHAKE_SHARE = 1 / 900
_QUALITY, _KEY_QUALITY = 12, 30  # of JPEG, whose blocks of 8 px are also those of a video that is short of bits
_KEY_SECONDS, _KEY_LASTS_SECONDS = 2.0, 0.3
_WIND_SHARE = 1 / 170
_DUSK_NOISE = 2.2


@dataclass(frozen=True)
class PlannedEvent:
    """An unusual event: what (one of `KINDS`), and when. It may begin up to 4 s later, to find a gap between people."""

    kind: str
    start_seconds: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown kind of event {self.kind!r}; there are {', '.join(KINDS)}")
        if not (math.isfinite(self.start_seconds) and self.start_seconds >= 0):
            raise UsageError(f"an event starts at 0 s or later, got {self.start_seconds}")


def plan_events(kinds: Sequence[str] = KINDS, *, seconds: float, seed: int = 0) -> tuple[PlannedEvent, ...]:
    """Spread events evenly over a video, in the order given, with at least 6 s of usual scene before and after each.

    seconds: of the video; 283 hold one of each kind, in pictures up to 16:9 from the usual viewpoint (from afar people
    take half as long again to cross: leave twice as much). seed: moves the events within
    the time that is left over. Raises UsageError when they do not fit, naming how long the video must be.
    """
    lengths = [_LONGEST_SECONDS[PlannedEvent(kind, 0.0).kind] for kind in kinds]
    spare = seconds - sum(lengths) - _GAP_SECONDS * (len(lengths) + 1)
    if lengths and spare < 0:
        raise UsageError(f"{len(lengths)} events need a video of {math.ceil(seconds - spare)} s, got {seconds:g} s")
    slack = spare / (len(lengths) + 1)
    rng = np.random.default_rng([seed, 3])
    planned = []
    moment = 0.0
    for kind, length in zip(kinds, lengths, strict=True):
        moment += _GAP_SECONDS + slack
        planned.append(PlannedEvent(kind, round(moment + slack * float(rng.uniform(-0.45, 0.45)), 2)))
        moment += length
    return tuple(planned)


class Scene:
    """A rendered video with truth: `for frame in scene`, `scene[i]`, `len(scene)`, `scene.truth`.

    seconds: how long it is. seed: who comes when, noise and light. place_seed: the place and its camera; videos that
    share it show the same place. size_px: width, height. fps: frames per second. events: the unusual ones, see
    `plan_events`. groups_per_minute: how busy the walkway is; most come alone, some in twos and threes. conditions:
    light, weather, viewpoint. with_sign: a folding sign stands at the edge of the walkway, which `object_taken` takes:
    the usual video must have it too.

    The same arguments give the same bytes, in any order of access; any frame costs the same. The usual people do not
    depend on the events. Raises UsageError for arguments that cannot work.
    """

    def __init__(
        self,
        *,
        seconds: float,
        seed: int = 0,
        place_seed: int = 0,
        size_px: tuple[int, int] = (320, 240),
        fps: float = 10.0,
        events: Sequence[PlannedEvent] = (),
        groups_per_minute: float = 20.0,
        conditions: Conditions | None = None,
        with_sign: bool = False,
    ) -> None:
        _check(seconds, seed, place_seed, size_px, fps, groups_per_minute)
        self.seconds, self.fps, self.size_px = seconds, fps, size_px
        self._count = max(1, round(seconds * fps))
        self._seed = seed
        conditions = conditions or Conditions()
        self._place = Place(seed=place_seed, size_px=size_px, conditions=conditions)
        taken = sum(e.kind == "object_taken" for e in events)
        if taken > with_sign:
            raise UsageError(
                "object_taken takes a sign that stands there, once: give with_sign=True and one such event"
            )
        rng = np.random.default_rng([seed, 1])
        people = usual_traffic(self._place, rng=rng, seconds=seconds, groups_per_minute=groups_per_minute)
        self._happenings = [
            stage(e.kind, self._place, seed=seed, start_seconds=e.start_seconds, people=people) for e in events
        ]
        movers: list[Mover] = [*people, *(mover for h in self._happenings for mover in (*h.movers, *h.things))]
        if with_sign and not taken:
            movers.append(Sign(self._place))
        self._movers = sorted(movers, key=lambda mover: mover.start_seconds)
        self._starts = [mover.start_seconds for mover in self._movers]
        self._longest = max((m.end_seconds - m.start_seconds for m in self._movers), default=0.0)
        self._camera = _CameraFaults(np.random.default_rng([seed, 4]), self._place, conditions)
        self._weather = Weather(
            conditions,
            self._place.camera,
            size_px=size_px,
            canvas_px=self._place.canvas_px,
            lamps_m=self._place.lamps_m,
            rng=np.random.default_rng([seed, 5]),
        )
        if missed := [h.kind for h, t in zip(self._happenings, self.truth, strict=True) if not t.boxes]:
            raise UsageError(f"{missed[0]} is not seen before the video ends at {seconds:g} s; plan it earlier")

    @cached_property
    def truth(self) -> tuple[TruthEvent, ...]:
        """The events as they can be seen, in order of planning: from the first to the last frame that shows them.

        A box is around what is unusual, without its shadow, clipped to the frame. A fall lasts until the person stands
        again; an object is left from the moment of putting it down until somebody has picked it up.
        """
        return tuple(self._seen(happening) for happening in self._happenings)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Frame]:
        return (self._frame(index) for index in range(self._count))

    def __getitem__(self, index: int) -> Frame:
        if not -self._count <= index < self._count:
            raise IndexError(f"frame {index} of a scene of {self._count} frames")
        return self._frame(index % self._count)

    def _frame(self, index: int) -> Frame:
        seconds = index / self.fps
        canvas = self._painted(seconds)
        canvas = self._weather.lit(canvas, seconds)
        picture = self._camera.seen(canvas, seconds)
        picture = self._weather.fallen(picture, seconds, index)
        picture = self._camera.picture(picture, seconds, index, gain=self._weather.exposure(seconds))
        return Frame(picture, seconds, index)

    def _painted(self, seconds: float) -> Pixels:
        """What stands in front of the camera at a moment, on the canvas."""
        place = self._place
        mask = np.zeros(place.canvas_px[::-1], np.uint8)
        drawn: list[tuple[float, Sprite]] = [(prop.depth_m, prop.sprite) for prop in place.props]
        mirrored: list[Sprite] = []
        for mover in self._present(seconds):
            shape = mover.shape(seconds)
            place.painter.shadow(shape, mask)
            sprite = place.painter.sprite(shape)
            if sprite is not None:
                at = mover.at(seconds)
                drawn.append((place.camera.depth(*at), sprite))
                if (
                    abs(at[1]) < PATH_HALF_M
                    and (wet := self._weather.reflection(sprite, place.foot_px(at))) is not None
                ):
                    mirrored.append(wet)
        canvas = place.shaded(mask)
        for sprite in mirrored:
            sprite.blend(canvas)
        for _, sprite in sorted(drawn, key=lambda item: item[0], reverse=True):
            sprite.blend(canvas)
        return canvas

    def _present(self, seconds: float) -> list[Mover]:
        first = bisect_left(self._starts, seconds - self._longest)
        last = bisect_right(self._starts, seconds)
        return [mover for mover in self._movers[first:last] if mover.end_seconds >= seconds]

    def _seen(self, happening: Happening) -> TruthEvent:
        boxes = []
        first = max(0, math.ceil(happening.start_seconds * self.fps - 1e-9))
        last = min(self._count - 1, math.floor(happening.end_seconds * self.fps + 1e-9))
        for index in range(first, last + 1):
            seconds = index / self.fps
            box = self._box(self._place.camera.bounds_px(happening.unusual(seconds)), seconds)
            if box is not None:
                boxes.append(TruthBox(seconds, box))
        if not boxes:
            return TruthEvent(happening.kind, happening.start_seconds, happening.start_seconds)
        return TruthEvent(happening.kind, boxes[0].time_seconds, boxes[-1].time_seconds, tuple(boxes))

    def _box(self, bounds_px: tuple[float, float, float, float], seconds: float) -> Box | None:
        """Canvas bounds as fractions of the frame; None when less than a pixel of them is in it."""
        width, height = self._place.size_px
        dx, dy = self._camera.shift_px(seconds)
        left, right = (min(max(x - dx, 0.0), width) for x in bounds_px[::2])
        top, bottom = (min(max(y - dy, 0.0), height) for y in bounds_px[1::2])
        if right - left < 1 or bottom - top < 1:
            return None
        return left / width, top / height, right / width, bottom / height


class _CameraFaults:
    """A pole that sways a little, daylight that drifts, and a noisy sensor; each a function of time or frame number."""

    def __init__(self, rng: np.random.Generator, place: Place, conditions: Conditions) -> None:
        self._size_px, self._margin_px = place.size_px, place.margin_px
        self._shake_px = place.size_px[1] * _SHAKE_SHARE
        self._sways = [_waves(rng, shortest_seconds=1.3, longest_seconds=7.0) for _ in range(2)]
        self._drift = _waves(rng, shortest_seconds=35.0, longest_seconds=180.0)
        self._tint = _waves(rng, shortest_seconds=60.0, longest_seconds=240.0)
        width, height = place.size_px
        self._noise_seed = int(rng.integers(2**31))
        gray = rng.normal(0, _NOISE_LEVELS, (2 * height, 2 * width, 1))
        colour = rng.normal(0, _NOISE_LEVELS / 2, (2 * height, 2 * width, 3))
        level = _DUSK_NOISE if conditions.dusk else 1.0
        self._noise = np.clip(np.rint(level * (gray + colour)), -127, 127).astype(np.int8)
        self._wind_px = place.size_px[1] * _WIND_SHARE if conditions.wind else 0.0
        self._gusts = [_waves(rng, shortest_seconds=0.2, longest_seconds=1.0) for _ in range(2)]
        self._compressed = conditions.compressed

    def shift_px(self, seconds: float) -> tuple[float, float]:
        """Where on the canvas the frame's corner lies."""
        x, y = (
            _wave(sway, seconds) * self._shake_px + _wave(gusts, seconds) * self._wind_px
            for sway, gusts in zip(self._sways, self._gusts, strict=True)
        )
        return self._margin_px + x, self._margin_px + y

    def seen(self, canvas: Pixels, seconds: float) -> Pixels:
        """The part of the canvas that the camera is pointed at."""
        dx, dy = self.shift_px(seconds)
        shift = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float64)
        seen = cv2.warpAffine(canvas, shift, self._size_px, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return np.asarray(seen, dtype=np.uint8)

    def picture(self, seen: Pixels, seconds: float, index: int, *, gain: float) -> Pixels:
        """What is seen as the camera delivers it."""
        gain, warmth = gain * (1 + 0.035 * _wave(self._drift, seconds)), 0.012 * _wave(self._tint, seconds)
        gains = gain * np.array([1 + warmth, 1.0, 1 - warmth])
        levels = np.clip(np.rint(np.arange(256)[:, None] * gains), 0, 255).astype(np.uint8)
        width, height = self._size_px
        left, top = np.random.default_rng([self._noise_seed, index]).integers((width, height))
        noise = self._noise[top : top + height, left : left + width]
        picture = np.asarray(cv2.add(cv2.LUT(seen, levels[:, None]), noise, dtype=cv2.CV_8U), dtype=np.uint8)
        if not self._compressed:
            return picture
        quality = _KEY_QUALITY if seconds % _KEY_SECONDS < _KEY_LASTS_SECONDS else _QUALITY
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)


def _waves(rng: np.random.Generator, *, shortest_seconds: float, longest_seconds: float) -> Array:
    """(3, 2) period and phase of waves that together look irregular."""
    periods = np.exp(rng.uniform(math.log(shortest_seconds), math.log(longest_seconds), 3))
    return np.stack([periods, rng.uniform(0, 2 * math.pi, 3)], axis=1)


def _wave(waves: Array, seconds: float) -> float:
    """Sum of the waves, of standard deviation 1."""
    return float(np.sin(2 * math.pi * seconds / waves[:, 0] + waves[:, 1]).sum() / math.sqrt(1.5))


def _check(
    seconds: float, seed: int, place_seed: int, size_px: tuple[int, int], fps: float, groups_per_minute: float
) -> None:
    width, height = size_px
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"seconds is above 0, got {seconds}")
    if not 0 < fps <= 240:
        raise UsageError(f"fps is above 0 and at most 240, got {fps}")
    if not (64 <= width <= 4096 and 64 <= height <= 4096 and 0.5 <= width / height <= 3):
        raise UsageError(f"size_px is width, height from 64 to 4096 and 0.5 to 3 times as wide as high, got {size_px}")
    if not 0 <= groups_per_minute <= 60:
        raise UsageError(f"groups_per_minute is 0 to 60, got {groups_per_minute}")
    if seed < 0 or place_seed < 0:
        raise UsageError(f"seeds are 0 or above, got {seed} and {place_seed}")
