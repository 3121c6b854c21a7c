"""Sliding windows over a stream of things with times. Knows nothing of what they are."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class Window(Generic[Item]):
    """What was chosen from one window of time: items and their times_seconds (T,)."""

    items: tuple[Item, ...]
    times_seconds: NDArray[np.float64]
    start_seconds: float
    end_seconds: float


class SlidingWindows(Generic[Item]):
    """Windows of `items_per_window` items of ONE stream, each as soon as it is over.

    Window k goes from k * stride to k * stride + length after the first item, both ends included. Its items are those
    inside it that are nearest to uniform times from its start to its end; where there are too few, some are repeated.
    Nothing after the end is used. A window without any item (a gap in the stream) is left out.

    At the end of the stream what came after the last whole window gets one more window of full length that ends with
    the last item, unless the next window had not begun. A stream shorter than one window gives one window of what there
    is. Memory: the items of one window.

    Raises ValueError when an argument is not positive.
    """

    def __init__(self, *, items_per_window: int, length_seconds: float, stride_seconds: float) -> None:
        for name, value in (("length_seconds", length_seconds), ("stride_seconds", stride_seconds)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value}")
        if items_per_window < 1:
            raise ValueError(f"items_per_window must be at least 1, got {items_per_window}")
        self._count, self._length, self._stride = items_per_window, length_seconds, stride_seconds
        self._recent: deque[tuple[float, Item]] = deque()
        self._first = 0.0
        self._done = 0

    def push(self, time_seconds: float, item: Item) -> list[Window[Item]]:
        """The windows that ended with this item, which is later than the one before."""
        if not self._recent:
            self._first = time_seconds
        self._recent.append((time_seconds, item))
        ended: list[Window[Item]] = []
        while (start := self._start()) + self._length <= time_seconds + _SAME_SECONDS:
            ended += self._choose(start, start + self._length)
            self._done += 1
        while self._recent[0][0] < time_seconds - self._length - _SAME_SECONDS:
            self._recent.popleft()
        return ended

    def close(self) -> list[Window[Item]]:
        """What is left at the end of the stream: no window, or one."""
        if not self._recent:
            return []
        last = self._recent[-1][0]
        covered = self._start() - self._stride + self._length
        if self._done and not (last > covered + _SAME_SECONDS and last >= self._start() - _SAME_SECONDS):
            return []
        return self._choose(max(self._first, last - self._length), last)

    def _start(self) -> float:
        """Of the next window."""
        return self._first + self._done * self._stride

    def _choose(self, start: float, end: float) -> list[Window[Item]]:
        inside = [r for r in self._recent if start - _SAME_SECONDS <= r[0] <= end + _SAME_SECONDS]
        if not inside:
            return []
        times = np.array([time for time, _ in inside])
        away = np.abs(times[None, :] - np.linspace(start, end, self._count)[:, None])
        # Rounded, so that of two items equally far the earlier one is taken whatever the last bit says.
        nearest = np.argmin(np.round(away, 9), axis=1)
        return [Window(tuple(inside[i][1] for i in nearest), times[nearest], start, end)]
