"""The `motion` backbone: what moves, where to, how fast, how large, and what stays. Needs no weights.

One embedding per measured frame. Dense optical flow (`flow`) from this frame to the one before it, and the edges of
what moves, both averaged over overlapping windows of about a person's size (`windows`), with the size of the blob that
moves (`blobs`). Their mean over time is carried ALONG the motion (`carried`). Beside it a model of the empty place says
what rests or has gone, how long somebody stays and how many are there (`background`). Only the present and the past
are used, unless `offline` is asked for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.base import Backbone, BackboneRecord, EmbeddingStream, rebuilt
from oddwatch.backbones.motion.background import CHANNELS as LASTING
from oddwatch.backbones.motion.background import Background
from oddwatch.backbones.motion.blobs import blob_sizes
from oddwatch.backbones.motion.carried import STEP_SECONDS, Carried, values_of
from oddwatch.backbones.motion.crowd import crowd
from oddwatch.backbones.motion.flow import LEVELS, Flow
from oddwatch.backbones.motion.light import RecentLight
from oddwatch.backbones.motion.plate import KNOWN_SECONDS, Plate
from oddwatch.backbones.motion.windows import CELL_PX, Windows, measure
from oddwatch.backbones.motion.windows import CHANNELS as MOVING
from oddwatch.types import Embeddings, Frame, Image

Map = NDArray[np.float32]
Quality = Literal["fine", "fast", "auto"]
CHANNELS = (*MOVING, "height", "width", "course_right", "course_down", "crowd", *LASTING)

_EDGES = slice(MOVING.index("edges_0"), len(MOVING))
_HELD_BY = [CHANNELS.index(name) for name in ("moving", "left", "taken", "dwell")]
_COURSE = 0.1  # weight of the new moment in the mean that says where something is heading, beside where it steps
_LITTLE = 0.1  # added to a moving share before dividing by it
_WORKERS = 2
_GAP_SECONDS = 1.0  # in a longer one things cross the window that their motion is measured in: no flow to speak of
_GAP_SPACINGS = 3.0  # unless the frames always come so slowly: then a frame or two may be missing
_SPACINGS = 9  # of late, whose median is the usual one
_FAST_SECONDS = 0.19  # `fast` measures so much apart: every second pair of frames at 10 a second
_SETTLING_SECONDS = 2.0  # at most
_AHEAD_SECONDS = 2.0  # `offline` looks so far ahead: what is farther weighs nothing
_BLOCK_SECONDS = 4.0  # and so much is held back for it at most
_BUSY, _IDLE = 0.5, 0.15  # share of the time of the video that `auto` may take, and below which it measures finely
_PACE_SECONDS = 5.0  # over so much video


@dataclass(frozen=True)
class MotionOptions:
    """Settings of `MotionBackbone`. Lengths are pixels of the working image: the frame, at most `height_px` high.

    quality: `fine` flow for each pair of frames; `fast`: coarser, for pairs 0.2 s apart; `auto`: fine for as long as
    that takes less than half of the video's time, then fast (the same video may give other embeddings). offline: mean
    of the motion before AND after each moment, 2 s ahead: not for live video. plate: flow of what is not the place,
    from half a minute on (see `Plate`); a detector of shorter videos does without. height_px: higher frames are reduced
    to this. window_px: side of the averaging window, about a person's height. stride_px: distance of the grid's cells,
    a multiple of 4. moving_px: flow per frame above which a pixel moves. held_share: a window with a smaller share of
    moving or changed pixels holds nothing. carry: weight of the new frame in the carried mean, for frames 0.1 s apart,
    0..1. spacing_seconds: frames closer than this to the last one used are skipped.

    A gap of more than a second, and of more than three times the usual spacing of frames, is not looked across.
    """

    quality: Quality = "fine"
    offline: bool = False
    plate: bool = True
    height_px: int = 240
    window_px: int = 28
    stride_px: int = 8
    moving_px: float = 0.2
    held_share: float = 0.02
    carry: float = 0.2
    spacing_seconds: float = 0.07

    def __post_init__(self) -> None:
        if self.quality not in (*LEVELS, "auto"):
            raise ValueError(f"quality is {', '.join(LEVELS)} or auto, got {self.quality!r}")
        if self.height_px < 16 or self.window_px < CELL_PX or self.stride_px < CELL_PX or self.stride_px % CELL_PX:
            raise ValueError("height_px is at least 16, window_px at least 4, stride_px a multiple of 4")
        if not (self.moving_px > 0 and 0 <= self.held_share < 1 and 0 < self.carry <= 1 and self.spacing_seconds >= 0):
            raise ValueError(
                "moving_px is above 0, held_share in [0, 1), carry in (0, 1], spacing_seconds not negative"
            )


class MotionBackbone(Backbone):
    """See the module.

    grid: (N, Gh, Gw, 19): speed and velocity to the right and down in frame heights per second, share of moving pixels,
    the square root of the mean strength of moving edges in 4 orientations (the root evens out heavy tails, as in
    RootSIFT, Arandjelovic and Zisserman, CVPR 2012), height and width of the moving blob in frame heights, the course
    to the right and down (velocity of what moves, over a longer mean), how much goes on around, and the six of
    `background`. A window with nothing of it is all 0. vector: (N, 54): mean and largest of each of these over the
    frame, and the moving share in a layout of 4 by 4.
    """

    record = BackboneRecord(
        name="motion",
        summary="optical flow, blobs and background over person-sized windows; no weights; for fixed cameras",
        vector_size=2 * len(CHANNELS) + 16,
        grid_size=len(CHANNELS),
        channels=CHANNELS,
        paper="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
    )
    version = 13

    def __init__(self, **options: Any) -> None:
        self._options = MotionOptions(**options)

    @property
    def settling_seconds(self) -> float:  # type: ignore[override]
        """Until a carried mean is of as many values as later ones."""
        return min(STEP_SECONDS * values_of(self._options.carry), _SETTLING_SECONDS)

    def options(self) -> dict[str, Any]:
        return asdict(self._options)

    def suited_to(self, seconds: Sequence[float]) -> Backbone:
        """Without a plate, where more than half of the videos' time was over before there was one."""
        plated = sum(max(one - KNOWN_SECONDS, 0.0) for one in seconds)
        if not self._options.plate or 2 * plated >= sum(seconds):
            return self
        return rebuilt(type(self), self.name, {**self.options(), "plate": False})

    def stream(self) -> EmbeddingStream:
        return _MotionStream(self._options)


@dataclass(frozen=True)
class _Used:
    image: Image
    time_seconds: float


@dataclass(frozen=True)
class _Pair:
    """Two frames that flow is taken between. since: end of the last stretch before it. after_gap: nothing is carried
    into it. light: where it has changed, see `RecentLight`. plate: see `Plate`.
    """

    now: _Used
    before: _Used
    since: float
    after_gap: bool
    light: NDArray[np.bool_] | None
    plate: Image | None


@dataclass
class _Moment:
    """What is known of one pair. values: (10, h, w) not yet carried, of which the first three are in frame heights per
    second. velocity: cells per `elapsed`. lasting: (9, h, w) what is not carried any more. forward: `values` carried,
    count: see `Carried`.
    """

    values: Map
    velocity: Map
    lasting: Map
    start: float
    end: float
    elapsed: float
    forward: Map
    count: float


class _MotionStream(EmbeddingStream):
    def __init__(self, options: MotionOptions) -> None:
        self._o = options
        # Flow of different frame pairs is independent: a batch is shared between threads, each with its own buffers.
        self._flows = {level: [Flow(level) for _ in range(_WORKERS)] for level in LEVELS}
        self._pool = ThreadPoolExecutor(_WORKERS)
        self._level: str = "fine" if options.quality == "auto" else options.quality
        self._pace = _Pace()
        self._last: _Used | None = None
        self._measured: float | None = None  # end of the last pair
        self._spacings: deque[float] = deque(maxlen=_SPACINGS)
        self._after_gap = True
        self._light, self._plate = RecentLight(), Plate() if options.plate else None
        self._carried, self._course = Carried(options.carry), Carried(_COURSE)
        self._window_cells = max(round(options.window_px / CELL_PX), 1)
        self._background = Background(self._window_cells)
        self._waiting: list[_Moment] = []

    def push(self, frames: Sequence[Frame]) -> Embeddings | None:
        began = time.perf_counter()
        ready: list[tuple[_Moment, Map]] = []
        pairs = self._pairs(frames)
        for pair, (windows, swayed) in zip(pairs, self._windows(pairs), strict=True):
            if pair.after_gap:  # what was carried has gone; the background has not
                ready += self._flush()
                self._carried.forget()
                self._course.forget()
            moment = self._moment(pair, windows, swayed)
            if not self._o.offline:
                ready.append((moment, moment.forward))
                continue
            self._waiting.append(moment)
            if moment.end - self._waiting[0].end > _BLOCK_SECONDS + _AHEAD_SECONDS:
                ready += self._flush(until=moment.end - _AHEAD_SECONDS)
        if self._o.quality == "auto" and pairs:
            self._level = self._pace.level(time.perf_counter() - began, pairs[-1].now.time_seconds, self._level)
        return self._embeddings(ready)

    def close(self) -> Embeddings | None:
        return self._embeddings(self._flush())

    def _pairs(self, frames: Sequence[Frame]) -> list[_Pair]:
        pairs = []
        apart = _FAST_SECONDS if self._level == "fast" else 0.0
        for frame in frames:
            last, seconds = self._last, frame.time_seconds
            if last is not None and seconds - last.time_seconds < self._o.spacing_seconds:
                continue
            # A frame that nothing will be measured to or from need not be prepared, but it may come to be one.
            self._last = now = _Used(self._working_image(frame.image), seconds)
            plate = None if self._plate is None else self._plate.seen(now.image, seconds)
            if last is None:
                continue
            if self._is_gap(seconds - last.time_seconds):
                self._after_gap, self._light = True, RecentLight()
            elif self._after_gap or self._measured is None or seconds - self._measured >= apart:
                since = last.time_seconds if self._after_gap or self._measured is None else self._measured
                light = self._light.changed(now.image, last.image, seconds)
                pairs.append(_Pair(now, last, since, self._after_gap, light, plate))
                self._measured, self._after_gap = seconds, False
        return pairs

    def _is_gap(self, seconds: float) -> bool:
        usual = sorted(self._spacings)[(len(self._spacings) - 1) // 2] if self._spacings else 0.0
        self._spacings.append(seconds)
        return seconds > max(_GAP_SECONDS, _GAP_SPACINGS * max(usual, self._o.spacing_seconds))

    def _working_image(self, image: Image) -> Image:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        height, width = gray.shape
        scale = min(self._o.height_px / height, 1.0)
        # DIS needs a few patches of 8 px in each direction. Halves, cells and tiles must be whole.
        size = max(round(width * scale / 8) * 8, 16), max(round(height * scale / 8) * 8, 16)
        if size != (width, height):
            gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        return np.asarray(gray, dtype=np.uint8)

    def _windows(self, pairs: Sequence[_Pair]) -> list[tuple[Windows, bool]]:
        """Of each pair, and whether the camera swayed between its frames."""

        def some(flow: Flow, share: Sequence[_Pair]) -> list[tuple[Windows, bool]]:
            o, found = self._o, []
            for pair in share:
                field = flow(pair.now.image, pair.before.image, pair.light, pair.plate)
                windows = measure(field.velocity, field.image, window_px=o.window_px, moving_px=o.moving_px)
                found.append((windows, field.swayed))
            return found

        flows = self._flows[self._level]
        if len(pairs) < 2:
            return some(flows[0], pairs)
        parts = list(self._pool.map(some, flows, [pairs[worker::_WORKERS] for worker in range(_WORKERS)]))
        return [parts[i % _WORKERS][i // _WORKERS] for i in range(len(pairs))]

    def _moment(self, pair: _Pair, windows: Windows, swayed: bool) -> _Moment:
        seconds = max(pair.now.time_seconds - pair.before.time_seconds, 1e-3)
        elapsed = max(pair.now.time_seconds - pair.since, 1e-3)
        values = np.concatenate([windows.means, blob_sizes(windows.moving)])
        values[:3] /= seconds * pair.now.image.shape[0]
        velocity = windows.velocity * np.float32(elapsed / seconds)
        forward = self._carried.step(values, velocity, elapsed)
        heading = self._course.step(forward[:4], velocity, elapsed)
        course = heading[1:3] / (heading[3:] + _LITTLE)
        around = crowd(forward[_EDGES], forward[MOVING.index("moving")], pair.now.image, self._window_cells)
        background = self._background.update(
            pair.now.image, windows.moving, elapsed, swayed=swayed, relit=pair.light is not None
        )
        lasting = np.concatenate([course, around[None], background])
        count = self._carried.count
        return _Moment(values, velocity, lasting, pair.since, pair.now.time_seconds, elapsed, forward, count)

    def _flush(self, until: float = float("inf")) -> list[tuple[_Moment, Map]]:
        """The moments held back up to `until`, each with the mean of what was carried to it from before and after."""
        backward, found = Carried(self._o.carry), []
        elapsed = 0.0
        for moment in reversed(self._waiting):
            after = backward.step(moment.values, -moment.velocity, elapsed)
            elapsed = moment.elapsed
            if moment.end <= until:
                share = np.float32(moment.count / (moment.count + backward.count))
                found.append((moment, np.asarray(share * moment.forward + (1 - share) * after, np.float32)))
        self._waiting = [moment for moment in self._waiting if moment.end > until]
        return found[::-1]

    def _embeddings(self, ready: Sequence[tuple[_Moment, Map]]) -> Embeddings | None:
        if not ready:
            return None
        grids = np.stack([self._grid((*carried, *moment.lasting)) for moment, carried in ready])
        return Embeddings(
            vector=_vectors(grids),
            grid=grids,
            start_seconds=np.array([moment.start for moment, _ in ready]),
            end_seconds=np.array([moment.end for moment, _ in ready]),
        )

    def _grid(self, cells: Sequence[Map]) -> Map:
        """(Gh, Gw, 19) of as many maps (h, w)."""
        step = self._o.stride_px // CELL_PX
        offset = step // 2 if min(cells[0].shape) > step // 2 else 0
        sampled = [one[offset::step, offset::step] for one in cells]
        sampled[_EDGES] = [np.sqrt(np.maximum(one, 0)) for one in sampled[_EDGES]]
        held = np.maximum.reduce([sampled[i] for i in _HELD_BY]) >= max(self._o.held_share, 1e-6)
        grid = np.stack(sampled, axis=-1)
        grid[~held] = 0
        return grid


class _Pace:
    """Whether there is time for fine flow."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._spent = 0.0

    def level(self, spent_seconds: float, video_seconds: float, level: str) -> str:
        """The level from now on. spent_seconds: by the last push. video_seconds: its last time."""
        if self._began is None:
            self._began = video_seconds
            return level
        self._spent += spent_seconds
        passed = video_seconds - self._began
        if passed < _PACE_SECONDS:
            return level
        share, self._began, self._spent = self._spent / passed, video_seconds, 0.0
        return "fast" if share > _BUSY else "fine" if share < _IDLE else level


def _vectors(grids: Map) -> Map:
    """(N, D) of grids (N, Gh, Gw, d)."""
    cells = grids.reshape(len(grids), -1, grids.shape[-1])
    moving = grids[..., CHANNELS.index("moving")]
    layouts = [cv2.resize(one, (4, 4), interpolation=cv2.INTER_AREA).reshape(-1) for one in moving]
    return np.concatenate([cells.mean(axis=1), cells.max(axis=1), np.stack(layouts)], axis=1).astype(np.float32)
