"""Sliding windows over a stream of frames. Knows nothing of where the frames come from."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from oddwatch.types import Clip, Frame

_SAME_SECONDS = 1e-6


def windows(
    frames: Iterable[Frame], *, frames_per_window: int, length_seconds: float, stride_seconds: float
) -> Iterator[Clip]:
    """Clips of `frames_per_window` frames, one per window of time, as soon as each window is over.

    Window k goes from k * stride to k * stride + length after the first frame, both ends included. Its frames are
    those inside it that are nearest to uniform times from its start to its end; where there are too few, some are
    repeated. Nothing after the end is used. A window without any frame (a gap in the stream) is left out.

    At the end of the video what came after the last whole window gets one more window of full length that ends with
    the last frame, unless the next window had not begun. A video shorter than one window gives one clip of what there
    is. Memory: the frames of one window; scale frames before, when windows are long.

    Raises ValueError when an argument is not positive.
    """
    for name, value in (("length_seconds", length_seconds), ("stride_seconds", stride_seconds)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, got {value}")
    if frames_per_window < 1:
        raise ValueError(f"frames_per_window must be at least 1, got {frames_per_window}")
    return _windows(frames, frames_per_window, length_seconds, stride_seconds)


def _windows(frames: Iterable[Frame], count: int, length: float, stride: float) -> Iterator[Clip]:
    recent: deque[Frame] = deque()
    first = 0.0
    done = 0
    for frame in frames:
        if not recent:
            first = frame.time_seconds
        recent.append(frame)
        while first + done * stride + length <= frame.time_seconds + _SAME_SECONDS:
            start = first + done * stride
            yield from _clip(recent, start, start + length, count)
            done += 1
        while recent[0].time_seconds < frame.time_seconds - length - _SAME_SECONDS:
            recent.popleft()
    if recent:
        last = recent[-1].time_seconds
        covered = first + (done - 1) * stride + length
        next_start = first + done * stride
        if done == 0 or (last > covered + _SAME_SECONDS and last >= next_start - _SAME_SECONDS):
            yield from _clip(recent, max(first, last - length), last, count)


def _clip(frames: Iterable[Frame], start: float, end: float, count: int) -> Iterator[Clip]:
    """The clip of one window; nothing when no frame is inside it."""
    inside = [f for f in frames if start - _SAME_SECONDS <= f.time_seconds <= end + _SAME_SECONDS]
    if not inside:
        return
    times = np.array([frame.time_seconds for frame in inside])
    away = np.abs(times[None, :] - np.linspace(start, end, count)[:, None])
    # Rounded, so that of two frames equally far the earlier one is taken whatever the last bit says.
    nearest = np.argmin(np.round(away, 9), axis=1)
    yield Clip(
        images=np.stack([inside[i].image for i in nearest]),
        times_seconds=times[nearest],
        start_seconds=start,
        end_seconds=end,
    )
