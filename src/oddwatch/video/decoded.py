"""What comes out of FFmpeg's decoders: upright RGB pictures, and errors in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange

from oddwatch.types import Image

_UNSPECIFIED_COLORSPACE = 2


def reason(error: av.FFmpegError) -> str:
    """Why, without the address that FFmpeg adds to it."""
    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    return error.strerror or type(error).__name__


def rgb(frame: av.VideoFrame) -> Image:
    """(H, W, 3) uint8, as it was coded: see `Turn`."""
    # More threads make swscale slower at every size up to 1280x720.
    try:
        image = frame.to_ndarray(format="rgb24", threads=1)
    except av.FFmpegError:
        # A colour space that swscale does not know, or nonsense in a damaged header: take the usual one.
        frame.colorspace, frame.color_range = _UNSPECIFIED_COLORSPACE, ColorRange.UNSPECIFIED
        image = frame.to_ndarray(format="rgb24", threads=1)
    return np.ascontiguousarray(cast(Image, image))


@dataclass(frozen=True)
class Turn:
    """How to turn a decoded picture upright: swap its axes, then mirror it."""

    swaps: bool = False
    flips_x: bool = False
    flips_y: bool = False

    @staticmethod
    def of(frame: av.VideoFrame) -> Turn:
        """As the display matrix asks; it is that of the whole stream. (Asking every frame leaks memory in PyAV.)"""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return Turn()
        # A point (x, y) is shown at (a x + c y, b x + d y) plus an offset.
        a, b, _, c, d = np.frombuffer(cast(memoryview, matrix), dtype=np.int32)[:5].tolist()
        return Turn(True, c < 0, b < 0) if abs(b) > abs(a) else Turn(False, a < 0, d < 0)

    def apply(self, image: Image) -> Image:
        """Turn (H, W, 3)."""
        if self.swaps:
            image = np.asarray(cv2.transpose(image), dtype=np.uint8)
        if self.flips_x:
            image = np.asarray(cv2.flip(image, 1), dtype=np.uint8)
        if self.flips_y:
            image = np.asarray(cv2.flip(image, 0), dtype=np.uint8)
        return image
