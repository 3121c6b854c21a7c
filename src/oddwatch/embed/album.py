"""Small pictures of what is being embedded, so that a moment can be shown later."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from oddwatch.errors import OddwatchError
from oddwatch.types import Embeddings, FloatArray, Frame, Image

_HEIGHT_PX = 120
_QUALITY = 75
_SPACING_SECONDS = 0.5
_WAITING = 256


@dataclass(frozen=True)
class _Kept:
    """row: of the embedding. clock: when, counted over all recordings. held: cells of its grid that hold something."""

    row: int
    clock: float
    held: int
    jpeg: bytes


class Album:
    """In every stretch of time the moment in which most is seen has its picture kept. `see` the frames, `note` the
    embeddings that came of them; two threads may do so.

    stretch_seconds: at first; stretches become longer, so that there are `most` pictures at most.
    """

    def __init__(self, *, stretch_seconds: float = _SPACING_SECONDS, most: int = 512) -> None:
        self._stretch, self._most = stretch_seconds, most
        self._waiting: deque[tuple[float, bytes]] = deque(maxlen=_WAITING)
        self._changing = threading.Lock()
        self._kept: list[_Kept] = []
        self._last: _Kept | None = None
        self._seen = -np.inf
        self._base = self._reached = 0.0
        self._first: float | None = None

    def begin(self) -> None:
        """Another recording, whose times begin anew."""
        with self._changing:
            self._waiting.clear()
        self._seen, self._base, self._first = -np.inf, self._reached, None

    def see(self, frame: Frame) -> None:
        """The next frame; two in a second are made small and wait for their embeddings."""
        if frame.time_seconds < self._seen + _SPACING_SECONDS:
            return
        self._seen = frame.time_seconds
        jpeg = small_jpeg(frame.image)
        with self._changing:
            self._waiting.append((frame.time_seconds, jpeg))

    def note(self, embeddings: Embeddings, first_row: int) -> None:
        """What came of the frames; its rows count from first_row."""
        middle = (embeddings.start_seconds + embeddings.end_seconds) / 2
        for index, jpeg in self._paired(embeddings, middle):
            if self._first is None:
                self._first = float(middle[index])
            clock = self._base + float(middle[index]) - self._first
            self._reached = max(self._reached, clock)
            held = 0 if embeddings.grid is None else int(embeddings.grid[index].any(axis=-1).sum())
            self._keep(_Kept(first_row + index, clock, held, jpeg))

    def _paired(self, embeddings: Embeddings, middle: FloatArray) -> Iterator[tuple[int, bytes]]:
        """Rows in order with the picture that is nearest to the middle of each, where it is within what they saw."""
        with self._changing:
            waiting = [one for one in self._waiting if one[0] <= embeddings.end_seconds[-1]]
            while self._waiting and self._waiting[0][0] <= middle[-1]:  # windows overlap: the next may want later ones
                self._waiting.popleft()
        nearest: dict[int, tuple[float, bytes]] = {}
        for time, jpeg in waiting:
            index = int(np.abs(middle - time).argmin())
            away = abs(float(middle[index]) - time)
            near = embeddings.start_seconds[index] <= time <= embeddings.end_seconds[index]
            if near and (index not in nearest or away < nearest[index][0]):
                nearest[index] = (away, jpeg)
        yield from ((index, nearest[index][1]) for index in sorted(nearest))

    def _keep(self, new: _Kept) -> None:
        if self._last is not None and self._stretch_of(self._last) == self._stretch_of(new):
            if new.held <= self._last.held:
                return
            if self._kept and self._kept[-1] is self._last:  # else it was taken
                self._kept.pop()
        self._last = new
        self._kept.append(new)
        while len(self._kept) > self._most:
            self._stretch *= 2
            best: dict[int, _Kept] = {}
            for one in self._kept:
                number = self._stretch_of(one)
                if number not in best or one.held > best[number].held:
                    best[number] = one
            self._kept = list(best.values())
            self._last = self._kept[-1]

    def _stretch_of(self, kept: _Kept) -> int:
        return int(kept.clock // self._stretch)

    def forget(self, from_row: int) -> None:
        """Rows from this one on are no more."""
        self._kept = [one for one in self._kept if one.row < from_row]

    def take(self) -> dict[int, bytes]:
        """What was kept, JPEG by row, and begin again to keep."""
        taken, self._kept = self.pictures, []
        return taken

    @property
    def pictures(self) -> dict[int, bytes]:
        """JPEG by row."""
        return {one.row: one.jpeg for one in self._kept}


def small_jpeg(image: Image) -> bytes:
    """A picture (H, W, 3), RGB, as a JPEG of a few kB, about 120 px high: divided by a whole number, which is quick."""
    by = max(round(image.shape[0] / _HEIGHT_PX), 1)
    height, width = (side // by for side in image.shape[:2])
    if by > 1 and width:
        whole = image[: height * by, : width * by]
        image = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise OddwatchError(f"a picture of {image.shape} cannot be encoded")
    return data.tobytes()
