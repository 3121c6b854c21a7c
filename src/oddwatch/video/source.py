"""What a source of frames is: an iterator of upright RGB frames of one size. Knows nothing of files or decoders."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from oddwatch.types import FloatArray, Frame, Image, VideoInfo


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture. `image()` converts it to RGB, which costs time: call it only for pictures that are used."""

    index: int
    time_seconds: float
    image: Callable[[], Image]

    def frame(self) -> Frame:
        """Convert."""
        return Frame(image=self.image(), time_seconds=self.time_seconds, index=self.index)


class VideoSource(ABC):
    """A video that is open for reading: iterate over it once, in a `with` block.

    info: what is known about it. skipped: damaged pieces left out so far. truncated: it stopped before the end that
    its container promises (known when the iteration is over). at_start: nothing has been read by seeking, so that
    `pictures()` gives all of it. Safe to close while another thread is reading from it.
    """

    info: VideoInfo
    skipped: int = 0
    truncated: bool = False
    at_start: bool = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._reading: Iterator[Picture] | None = None

    @abstractmethod
    def pictures(self) -> Iterator[Picture]:
        """All pictures from here to the end, in order of time."""

    @abstractmethod
    def timeline(self) -> FloatArray:
        """(N,) when each frame is shown as far as that can be known without decoding: a guess, right as a rule."""

    @abstractmethod
    def read_at(self, indices: Sequence[int]) -> dict[int, Frame] | None:
        """The frames with these indices of `timeline()`, by seeking; see `at_start`.

        None when plain decoding is about as cheap, or when what came out contradicts the timeline.
        """

    @abstractmethod
    def _release(self) -> None:
        """Free what `close` has to free."""

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.info.name} is closed: read its frames inside the `with` block")
            if self._reading is None:
                self._reading = self.pictures()
            return next(self._reading).frame()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the decoder; waits for a frame that another thread is reading."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._release()


def fit(image: Image, width_px: int, height_px: int) -> Image:
    """Scale to a size unless it has that size already; aspect is not kept."""
    height, width = image.shape[:2]
    if (width, height) == (width_px, height_px):
        return image
    shrinks = width_px * height_px < width * height
    scaled = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(scaled, dtype=np.uint8)
