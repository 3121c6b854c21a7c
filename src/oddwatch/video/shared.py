"""Pictures from one process to another through memory that both see. One writes, one reads, nobody holds a lock.

The memory has no name: it goes when the last process that has it does, however that ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable
from typing import IO

import numpy as np

from oddwatch.types import Frame, Image
from oddwatch.video.camera import CameraFrame

_SLOT = np.dtype(
    [
        ("number", np.int64),
        ("index", np.int64),
        ("height", np.int64),
        ("width", np.int64),
        ("seconds", np.float64),
        ("wall", np.float64),
    ]
)
_COUNTS = ("written", "read", "decoded", "damaged", "connections", "kept_bytes")
_POLL_SECONDS = 0.005
_MEMORY = "/dev/shm"


class FrameRing:
    """`slots` pictures of at most `most_pixels`. A reader that is too slow loses the oldest ones, which are counted in
    `dropped`; a writer may wait for it instead.

    A slot's number is that of its picture, and -1 while it is written: a reader that finds another number after copying
    than before throws the copy away. So a writer may die at any moment.
    """

    def __init__(self, memory: int, *, slots: int, most_pixels: int) -> None:
        """memory: descriptor of a file from `anonymous`, which may be closed afterwards."""
        if slots < 2:
            raise ValueError(f"slots is at least 2, got {slots}")
        self.slots, self.most_pixels, self.dropped = slots, most_pixels, 0
        size = slots * (_SLOT.itemsize + most_pixels * 3) + 8 * len(_COUNTS) + 8
        if os.fstat(memory).st_size < size:
            os.ftruncate(memory, size)  # as zeros, and only what is touched takes memory
        self._map = mmap.mmap(memory, size)
        self._heads = np.frombuffer(self._map, dtype=_SLOT, count=slots)
        offset = slots * _SLOT.itemsize
        self._counts = np.frombuffer(self._map, dtype=np.int64, count=len(_COUNTS), offset=offset)
        offset += 8 * len(_COUNTS)
        self._beat = np.frombuffer(self._map, dtype=np.float64, count=1, offset=offset)
        self._pixels = np.frombuffer(self._map, dtype=np.uint8, count=slots * most_pixels * 3, offset=offset + 8)

    @staticmethod
    def anonymous() -> IO[bytes]:
        """A file in memory that has no name: whoever is given its descriptor shares it. Raises OSError."""
        return tempfile.TemporaryFile(dir=_MEMORY if os.path.isdir(_MEMORY) else None, buffering=0)

    def clear(self) -> None:
        """Forget everything; only while nobody writes."""
        self._heads["number"] = -1
        self._counts[:] = 0

    def __getitem__(self, name: str) -> int:
        return int(self._counts[_COUNTS.index(name)])

    def __setitem__(self, name: str, value: int) -> None:
        self._counts[_COUNTS.index(name)] = value

    @property
    def beat(self) -> float:
        """When the writer last showed that it is alive, on the monotonic clock."""
        return float(self._beat[0])

    @beat.setter
    def beat(self, seconds: float) -> None:
        self._beat[0] = seconds

    def write(self, item: CameraFrame, *, wait_while: Callable[[], bool] | None = None) -> None:
        """Put a picture in. wait_while: as long as it returns True a full ring is waited for. Raises ValueError for a
        picture that is too large.
        """
        image, number = item.frame.image, self["written"]
        height, width = image.shape[:2]
        if height * width > self.most_pixels:
            raise ValueError(f"a picture of {width}x{height} is larger than the {self.most_pixels} pixels of a slot")
        while wait_while is not None and number - self["read"] >= self.slots - 1 and wait_while():
            time.sleep(_POLL_SECONDS)
        head = self._heads[number % self.slots : number % self.slots + 1]
        head["number"] = -1
        self._place(number, height, width)[:] = image
        head["index"], head["height"], head["width"] = item.frame.index, height, width
        head["seconds"], head["wall"] = item.frame.time_seconds, item.wall_seconds
        head["number"] = number
        self["written"] = number + 1

    def read(self) -> CameraFrame | None:
        """The oldest picture that is still there, copied; None when all are read."""
        while (number := self["read"]) < (written := self["written"]):
            if written - number >= self.slots:
                oldest = written - self.slots + 1
                self.dropped += oldest - number
                self["read"] = number = oldest
            found = self._copy(number)
            self["read"] = number + 1
            if found is not None:
                return found
            self.dropped += 1
        return None

    def _copy(self, number: int) -> CameraFrame | None:
        head = self._heads[number % self.slots].copy()
        height, width = int(head["height"]), int(head["width"])
        if head["number"] != number:
            return None
        image = self._place(number, height, width).copy()
        if self._heads[number % self.slots]["number"] != number:
            return None
        return CameraFrame(Frame(image, float(head["seconds"]), int(head["index"])), float(head["wall"]))

    def _place(self, number: int, height: int, width: int) -> Image:
        first = number % self.slots * self.most_pixels * 3
        return self._pixels[first : first + height * width * 3].reshape(height, width, 3)
