"""Writing H.264 mp4."""

from __future__ import annotations

import errno
import math
import os
import secrets
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace

from oddwatch.errors import UsageError, VideoError
from oddwatch.types import Image
from oddwatch.video.source import fit

_TIME_BASE = Fraction(1, 90000)
_BT709 = 1
_LIMITED_RANGE = 1


class VideoWriter:
    """Writes an mp4 (H.264, yuv420p, index first, so that it plays in browsers while it loads).

        with VideoWriter("out.mp4", fps=25) as video:
            video.write(image)

    The file appears under its name when the block ends well, complete; otherwise nothing is left behind, and a file
    that had the name before stays as it was.
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float, size_px: tuple[int, int] | None = None) -> None:
        """fps: frames per second when `write` is given no times. size_px: (width, height) to scale all images to.

        Without `size_px` all images must have the size of the first. An odd width or height is made even by repeating
        the last column or row. Raises UsageError when `fps` or `size_px` is not positive.
        """
        if not (math.isfinite(fps) and fps > 0):
            raise UsageError(f"fps must be a positive number, got {fps}")
        if size_px is not None and min(size_px) < 1:
            raise UsageError(f"size_px must be positive, got {size_px}")
        self._path = Path(path)
        self._temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.tmp")
        self._fps = fps
        self._size_px = size_px
        self._scales = size_px is not None
        self._container: OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._written = 0
        self._first_seconds = 0.0
        self._last_pts = -1

    def __enter__(self) -> Self:
        try:
            # FFmpeg makes the file with the first image; a folder that is missing or closed is to show before that.
            self._temporary.touch(exist_ok=False)
            self._container = av.open(f"file:{self._temporary}", "w", format="mp4", options={"movflags": "+faststart"})
        except (OSError, av.FFmpegError) as error:
            raise self._error(error) from None
        return self

    def write(self, image: Image, *, time_seconds: float | None = None) -> None:
        """Append an image, (H, W, 3) uint8 RGB.

        time_seconds: when it is shown, counted from that of the first image; later than the image before. Without it:
        images written so far / fps. Raises ValueError for a wrong image or time, VideoError when the disk is full.
        """
        if self._container is None:
            raise ValueError("write to a VideoWriter inside its `with` block")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image is (H, W, 3) uint8 RGB, got {image.dtype}{image.shape}")
        pts = self._pts(time_seconds)
        image = self._sized(image)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )
        frame.pts, frame.time_base = pts, _TIME_BASE
        try:
            if self._stream is None:
                self._stream = self._add_stream(self._container, frame)
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.FFmpegError) as error:
            raise self._error(error) from None
        self._last_pts = pts
        self._written += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            if self._container is not None:
                with suppress(OSError, av.FFmpegError):
                    self._container.close()
                self._container = None
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._container is None or self._stream is None:
            raise ValueError(f"{self._path}: no image was written")
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            with open(self._temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(self._temporary, self._path)
        except (OSError, av.FFmpegError) as error:
            raise self._error(error) from None

    def _pts(self, time_seconds: float | None) -> int:
        seconds = self._written / self._fps if time_seconds is None else time_seconds
        if not math.isfinite(seconds):
            raise ValueError(f"time_seconds must be finite, got {time_seconds}")
        if self._written == 0:
            self._first_seconds = seconds
        pts = round((seconds - self._first_seconds) / _TIME_BASE)
        if pts <= self._last_pts:
            raise ValueError(f"times must ascend: {seconds} s is not later than the image before")
        return pts

    def _sized(self, image: Image) -> Image:
        """The image scaled as asked and made even."""
        height, width = image.shape[:2]
        if self._size_px is None:
            self._size_px = (width, height)
        if self._scales:
            image = fit(image, *self._size_px)
        elif (width, height) != self._size_px:
            raise ValueError(f"all images must be {self._size_px} px (width, height), got {(width, height)}")
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            image = np.asarray(padded, dtype=np.uint8)
        return image

    def _add_stream(self, container: OutputContainer, frame: av.VideoFrame) -> av.VideoStream:
        rate = Fraction(self._fps).limit_denominator(10000)
        # Equal pictures give equal files: x264's mbtree varies from run to run, more threads with their number.
        options = {"preset": "veryfast", "crf": "20", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.codec_context.thread_count = 1
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        # Tagged, because players guess the colours of untagged video from its size.
        stream.color_primaries = stream.color_trc = stream.colorspace = _BT709
        stream.color_range = _LIMITED_RANGE
        return stream

    def _error(self, error: Exception) -> VideoError:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        problem = "the disk is full" if full else f"cannot be written: {getattr(error, 'strerror', None) or error}"
        return VideoError(str(self._path), problem, "write it to another place, or free some space" if full else "")
