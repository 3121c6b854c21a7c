"""Sliding windows over a stream of frames. Knows nothing of where the frames come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from oddwatch.types import Clip, Frame
from oddwatch.windows import SlidingWindows, Window


def windows(
    frames: Iterable[Frame], *, frames_per_window: int, length_seconds: float, stride_seconds: float
) -> Iterator[Clip]:
    """Clips of `frames_per_window` frames, one per window of a video: see `SlidingWindows`.

    Memory: the frames of one window; scale frames before, when windows are long.
    """
    cut: SlidingWindows[Frame] = SlidingWindows(
        items_per_window=frames_per_window, length_seconds=length_seconds, stride_seconds=stride_seconds
    )
    return _clips(frames, cut)


def _clips(frames: Iterable[Frame], cut: SlidingWindows[Frame]) -> Iterator[Clip]:
    for frame in frames:
        yield from map(_clip, cut.push(frame.time_seconds, frame))
    yield from map(_clip, cut.close())


def _clip(window: Window[Frame]) -> Clip:
    images = np.stack([frame.image for frame in window.items])
    return Clip(images, window.times_seconds, window.start_seconds, window.end_seconds)
