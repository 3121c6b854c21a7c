"""The `motion` backbone: what moves, where to, how fast and what it looks like. Needs no weights.

One embedding per frame. Dense optical flow (DIS, Kroeger et al., ECCV 2016) from this frame to the one before it, and
the appearance of moving pixels as gradient orientations (after HOG, Dalal and Triggs, CVPR 2005), both averaged over
overlapping windows of about a person's size. A window's values are then averaged over time ALONG the motion: the last
mean is carried to where its contents have moved and blended with the new value, which evens out swinging limbs without
delay. Only the present and the past are used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.base import Backbone, BackboneRecord, EmbeddingStream
from oddwatch.types import Embeddings, Frame, Image

Map = NDArray[np.float32]
_CELL_PX = 4
_ANGLES = (0, 45, 90, 135)
CHANNELS = ("speed", "right", "down", "moving", *(f"edges_{angle}" for angle in _ANGLES), "stays")
_WORKERS = 2
_GAP_SECONDS = 1.0  # in a longer one things cross the window that their motion is measured in: no flow to speak of
_GAP_SPACINGS = 3.0  # unless the frames always come so slowly: then a frame or two may be missing
_SPACINGS = 9  # of late, whose median is the usual one
_NEAR_PX = 7  # half-size pixels over which the velocity of a cell is decided, about a limb

_CONTRAST = 10.0  # grey levels by which a cell differs from another
_RECENT_SECONDS = 0.5  # over this time what rests looks the same
_THING = (3, 3)  # cells: what is left behind is smaller than a person
_REST_SECONDS = 2.0  # a shorter halt is part of walking past
_SETTLE_SECONDS = 30.0  # before this, who was there at the start is still part of the background
_SAMPLE_SECONDS = 1.0
_BACKGROUND_STEP = 0.5  # grey levels per second by which the background follows


@dataclass(frozen=True)
class MotionOptions:
    """Settings of `MotionBackbone`. Lengths are pixels of the working image: the frame, at most `height_px` high.

    height_px: higher frames are reduced to this. window_px: side of the averaging window, about a person's height.
    stride_px: distance of the grid's cells, a multiple of 4. moving_px: flow per frame above which a pixel moves.
    held_share: a window with a smaller share of moving pixels holds nothing. carry: weight of the new frame in the
    carried mean, 0..1. spacing_seconds: frames closer than this to the last one used are skipped.

    A gap of more than a second, and of more than three times the usual spacing of frames, is not looked across.
    """

    height_px: int = 240
    window_px: int = 28
    stride_px: int = 8
    moving_px: float = 0.2
    held_share: float = 0.02
    carry: float = 0.2
    spacing_seconds: float = 0.07

    def __post_init__(self) -> None:
        if self.height_px < 16 or self.window_px < _CELL_PX or self.stride_px < _CELL_PX or self.stride_px % _CELL_PX:
            raise ValueError("height_px is at least 16, window_px at least 4, stride_px a multiple of 4")
        if not (self.moving_px > 0 and 0 <= self.held_share < 1 and 0 < self.carry <= 1 and self.spacing_seconds >= 0):
            raise ValueError(
                "moving_px is above 0, held_share in [0, 1), carry in (0, 1], spacing_seconds not negative"
            )


class MotionBackbone(Backbone):
    """See the module.

    grid: (N, Gh, Gw, 9): speed and velocity to the right and down in frame heights per second, share of moving pixels,
    and the square root of the mean strength of moving edges in 4 orientations (the root evens out heavy tails, as in
    RootSIFT, Arandjelovic and Zisserman, CVPR 2012), and the share in which something rests that was not there before.
    A window with nothing of it is all 0. vector: (N, 34): mean and largest of each of these over the frame, and the
    moving share in a layout of 4 by 4.
    """

    record = BackboneRecord(
        name="motion",
        summary="optical flow and moving edges over person-sized windows; no weights; for fixed cameras",
        vector_size=2 * len(CHANNELS) + 16,
        grid_size=len(CHANNELS),
        channels=CHANNELS,
        paper="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
    )

    def __init__(self, **options: Any) -> None:
        self._options = MotionOptions(**options)

    def options(self) -> dict[str, Any]:
        return asdict(self._options)

    def stream(self) -> EmbeddingStream:
        return _MotionStream(self._options)


class _MotionStream(EmbeddingStream):
    def __init__(self, options: MotionOptions) -> None:
        self._o = options
        # Flow of different frame pairs is independent: a batch is shared between threads, each with its own buffers.
        self._flows = [cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM) for _ in range(_WORKERS)]
        self._pool = ThreadPoolExecutor(_WORKERS)
        self._last: tuple[Image, float] | None = None
        self._spacings: deque[float] = deque(maxlen=_SPACINGS)
        self._after_gap = False
        self._carried: Map | None = None
        self._age = 0
        self._background = _Background()

    def push(self, frames: Sequence[Frame]) -> Embeddings | None:
        used = [self._last] if self._last is not None else []
        for frame in frames:
            if not used or frame.time_seconds - used[-1][1] >= self._o.spacing_seconds:
                used.append((self._working_image(frame.image), frame.time_seconds))
        if used:
            self._last = used[-1]
        pairs, after_gap = [], []
        for now, before in zip(used[1:], used, strict=False):
            if self._is_gap(now[1] - before[1]):
                self._after_gap = True
                continue
            pairs.append((now, before))
            after_gap.append(self._after_gap)
            self._after_gap = False
        if not pairs:
            return None
        shares = [pairs[worker::_WORKERS] for worker in range(_WORKERS)]
        results = list(self._pool.map(self._windows, self._flows, shares))
        grids = []
        for i, (now, before) in enumerate(pairs):
            windows, velocity = results[i % _WORKERS][i // _WORKERS]
            if after_gap[i]:  # what was carried has gone; the background has not
                self._carried, self._age = None, 0
            stays = self._background.update(now[0], windows.shape[:2], now[1] - before[1])
            windows = np.dstack([windows, stays])
            # Before the mean over time: frames need not come at even distances.
            windows[..., :3] /= max(now[1] - before[1], 1e-3) * now[0].shape[0]
            grids.append(self._grid(self._carry(windows, velocity)))
        return Embeddings(
            vector=np.stack([_vector(grid) for grid in grids]),
            grid=np.stack(grids),
            start_seconds=np.array([before[1] for _, before in pairs]),
            end_seconds=np.array([now[1] for now, _ in pairs]),
        )

    def _is_gap(self, seconds: float) -> bool:
        usual = sorted(self._spacings)[(len(self._spacings) - 1) // 2] if self._spacings else 0.0
        self._spacings.append(seconds)
        return seconds > max(_GAP_SECONDS, _GAP_SPACINGS * max(usual, self._o.spacing_seconds))

    def _working_image(self, image: Image) -> Image:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        height, width = gray.shape
        scale = min(self._o.height_px / height, 1.0)
        # DIS needs a few patches of 8 px in each direction. Halves and cells must be whole: 8 channels are averaged
        # over cells, and OpenCV averages more than 4 only over whole pixels.
        size = max(round(width * scale / 8) * 8, 16), max(round(height * scale / 8) * 8, 16)
        if size != (width, height):
            gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        return np.asarray(gray, dtype=np.uint8)

    def _windows(
        self, dis: Any, pairs: Sequence[tuple[tuple[Image, float], tuple[Image, float]]]
    ) -> list[tuple[Map, Map]]:
        return [self._measure(_velocity(dis, now, before), now) for (now, _), (before, _) in pairs]

    def _measure(self, flow: Map, gray: Image) -> tuple[Map, Map]:
        """Means over the windows (h, w, 8) at cells of 4 px, in px per frame, and the velocity of what dominates each
        cell (h, w, 2), in cells per frame. flow: (H/2, W/2, 2) px per frame; gray: (H, W).
        """
        speed = _length(flow[..., 0], flow[..., 1])
        moving = (speed > self._o.moving_px).astype(np.float32)
        half = cv2.resize(gray, (flow.shape[1], flow.shape[0]), interpolation=cv2.INTER_AREA)
        right, down = cv2.Sobel(half, cv2.CV_32F, 1, 0), cv2.Sobel(half, cv2.CV_32F, 0, 1)
        strength = moving * _length(right, down) / 255
        # cos(2 (a - b)) from the gradient itself, without angles: opposite gradients are one orientation.
        norm = right * right + down * down + 1e-6
        cos2, sin2 = (right * right - down * down) / norm, 2 * right * down / norm
        edges = [
            strength * np.maximum(cos2 * np.cos(2 * b) + sin2 * np.sin(2 * b), 0, dtype=np.float32)
            for b in np.deg2rad(_ANGLES).astype(np.float32)
        ]
        size = flow.shape[1] // 2, flow.shape[0] // 2
        side = max(round(self._o.window_px / _CELL_PX), 1)
        small = cv2.resize(np.dstack([speed, flow, moving, *edges]), size, interpolation=cv2.INTER_AREA)
        weight = speed * speed
        near = (_NEAR_PX, _NEAR_PX)
        dominant = cv2.blur(flow * weight[..., None], near) / (cv2.blur(weight, near) + 1e-3)[..., None]
        carried_by = cv2.resize(dominant, size, interpolation=cv2.INTER_AREA) / _CELL_PX
        return np.asarray(cv2.blur(small, (side, side)), np.float32), np.asarray(carried_by, np.float32)

    def _carry(self, windows: Map, velocity: Map) -> Map:
        self._age += 1
        if self._carried is None:
            height, width = windows.shape[:2]
            self._x, self._y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
            self._carried = np.zeros_like(windows)
        x, y = self._x - velocity[..., 0], self._y - velocity[..., 1]
        parts = [self._carried[..., i : i + 4] for i in range(0, windows.shape[2], 4)]  # remap takes at most 4 channels
        moved = [cv2.remap(p, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for p in parts]
        mean = np.dstack(moved)
        # The mean of what was seen so far and one frame in which nothing moves: the first flows alone are noisy.
        weight = np.float32(max(self._o.carry, 1 / (self._age + 1)))
        gone = windows[..., :1] < 0.5 * mean[..., :1]  # what was here has left: let go of it faster
        self._carried = mean + np.where(gone, (1 + weight) / 2, weight) * (windows - mean)
        return self._carried

    def _grid(self, carried: Map) -> Map:
        step = self._o.stride_px // _CELL_PX
        offset = step // 2 if min(carried.shape[:2]) > step // 2 else 0
        grid = carried[offset::step, offset::step].copy()
        edges = slice(4, 4 + len(_ANGLES))
        grid[..., edges] = np.sqrt(np.maximum(grid[..., edges], 0))
        grid[np.maximum(grid[..., 3], grid[..., -1]) < max(self._o.held_share, 1e-6)] = 0
        return grid


def _length(right: Any, down: Any) -> Map:
    # cv2.magnitude rounds by where in memory its input lies, so the same frames gave other bits from time to time.
    return np.asarray(np.sqrt(right * right + down * down), np.float32)


class _Background:
    """What the place looks like when nothing is there, and where something has come that stays.

    The median of the first half minute, then each cell follows its brightness by a bounded step (sigma-delta, after
    Manzanera and Richefeu, 2007), so that what passes by hardly moves it and slow light does.
    """

    def __init__(self) -> None:
        self._samples: list[Map] = []
        self._usual: Map | None = None
        self._seconds = 0.0

    def update(self, gray: Image, shape: tuple[int, int], seconds: float) -> Map:
        """Share (h, w) of a bag's size around each cell of `shape` in which something rests that was not there."""
        now = cv2.resize(gray, (shape[1], shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)
        now -= np.median(now)  # light that changes all over the picture
        seconds = min(max(seconds, 0.0), 1.0)
        self._seconds += seconds
        if self._usual is None:
            if self._seconds >= len(self._samples) * _SAMPLE_SECONDS:
                self._samples.append(now)
            if self._seconds < _SETTLE_SECONDS:
                return np.zeros(shape, np.float32)
            self._usual = np.median(self._samples, axis=0).astype(np.float32)
            self._samples.clear()
            self._recent, self._rested = now, np.zeros_like(now)
        self._recent = self._recent + min(seconds / _RECENT_SECONDS, 1.0) * (now - self._recent)
        step = seconds * _BACKGROUND_STEP
        self._usual += np.clip(now - self._usual, -step, step)
        still = (np.abs(now - self._usual) > _CONTRAST) & (np.abs(now - self._recent) < _CONTRAST)
        self._rested = np.where(still, self._rested + seconds, 0)
        return np.asarray(cv2.blur((self._rested >= _REST_SECONDS).astype(np.float32), _THING))


def _velocity(dis: Any, now: Image, before: Image) -> Map:
    """(H/2, W/2, 2) in working pixels per frame on THIS frame's grid, less the shift of the whole picture (shake)."""
    flow = -dis.calc(now, before, None)
    flow = cv2.resize(flow, (now.shape[1] // 2, now.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(flow - np.median(flow[::4, ::4].reshape(-1, 2), axis=0), np.float32)


def _vector(grid: Map) -> Map:
    cells = grid.reshape(-1, grid.shape[-1])
    layout = cv2.resize(grid[..., 3], (4, 4), interpolation=cv2.INTER_AREA).reshape(-1)
    return np.concatenate([cells.mean(0), cells.max(0), layout]).astype(np.float32)
