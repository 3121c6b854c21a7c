"""Backbones that look at clips: T frames of a stretch of video in, one embedding out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.base import Backbone, EmbeddingStream
from oddwatch.types import Embeddings, Frame, Image
from oddwatch.windows import SlidingWindows, Window

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class ClipInput:
    """What a clip backbone was trained to see: T frames of size x size px, colours (0..1) less mean over std."""

    frames: int
    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class ClipBackbone(Backbone):
    """One embedding per window of a stream. Subclasses say what they see (`input`) and implement `embed`.

    window_seconds, stride_seconds: of the sliding windows. A video shorter than a window is one clip of all of it.
    batch: clips that are embedded at a time. frames, size_px: of a clip, where not what `input` says.
    """

    input: ClipInput

    def __init__(
        self,
        *,
        window_seconds: float = 2.0,
        stride_seconds: float = 1.0,
        batch: int = 4,
        frames: int | None = None,
        size_px: int | None = None,
    ) -> None:
        usual = type(self).input
        self.input = replace(usual, frames=frames or usual.frames, size_px=size_px or usual.size_px)
        if min(batch, self.input.frames, self.input.size_px) < 1:
            raise ValueError(f"batch, frames and size_px must be at least 1, got {batch}, {frames}, {size_px}")
        self._window_seconds, self._stride_seconds, self._batch = window_seconds, stride_seconds, batch
        self._windows()

    @abstractmethod
    def embed(self, clips: Pixels) -> tuple[Pixels, Pixels | None]:
        """(N, D) vectors and (N, Gh, Gw, d) grids of clips (N, T, size, size, 3), prepared."""

    def prepare(self, image: Image) -> Pixels:
        """(H, W, 3) uint8 -> (size, size, 3) float32 as the network was trained to see it.

        To 0..1, normalised, resized to the square: bilinear between the four nearest pixels, without antialiasing.
        """
        size = self.input.size_px
        mean = np.asarray(self.input.mean, dtype=np.float32)
        std = np.asarray(self.input.std, dtype=np.float32)
        scaled = (_bilinear(image, size) / np.float32(255) - mean) / std
        return np.asarray(scaled, dtype=np.float32)

    def options(self) -> dict[str, Any]:
        return {
            "window_seconds": self._window_seconds,
            "stride_seconds": self._stride_seconds,
            "batch": self._batch,
            "frames": self.input.frames,
            "size_px": self.input.size_px,
        }

    def stream(self) -> EmbeddingStream:
        return _ClipStream(self, self._windows(), self._batch)

    def _windows(self) -> SlidingWindows[Pixels]:
        return SlidingWindows(
            items_per_window=self.input.frames, length_seconds=self._window_seconds, stride_seconds=self._stride_seconds
        )


class _ClipStream(EmbeddingStream):
    """Every frame is prepared once, however many windows it is in: memory is that of one window of small pictures."""

    def __init__(self, backbone: ClipBackbone, windows: SlidingWindows[Pixels], batch: int) -> None:
        self._backbone, self._windows, self._batch = backbone, windows, batch

    def push(self, frames: Sequence[Frame]) -> Embeddings | None:
        ended: list[Window[Pixels]] = []
        for frame in frames:
            ended += self._windows.push(frame.time_seconds, self._backbone.prepare(frame.image))
        return self._embedded(ended)

    def close(self) -> Embeddings | None:
        return self._embedded(self._windows.close())

    def _embedded(self, windows: Sequence[Window[Pixels]]) -> Embeddings | None:
        parts = []
        for first in range(0, len(windows), self._batch):
            batch = windows[first : first + self._batch]
            vector, grid = self._backbone.embed(np.stack([np.stack(window.items) for window in batch]))
            start = np.array([window.start_seconds for window in batch])
            end = np.array([window.end_seconds for window in batch])
            parts.append(Embeddings(vector, grid, start, end))
        return Embeddings.concatenate(parts) if parts else None


def _bilinear(image: Image, size: int) -> Pixels:
    """(H, W, 3) uint8 -> (size, size, 3) float32, 0..255. Pixel centres correspond; outside is the nearest pixel."""
    (top, bottom, down), (left, right, across) = (_between(n, size) for n in image.shape[:2])
    down, across = down[:, None, None], across[None, :, None]
    upper = image[np.ix_(top, left)] * (1 - across) + image[np.ix_(top, right)] * across
    lower = image[np.ix_(bottom, left)] * (1 - across) + image[np.ix_(bottom, right)] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def _between(length: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Pixels]:
    """For each of `size` places: the pixels before and after it, and how far it is on the way (0..1)."""
    at = np.maximum((np.arange(size) + 0.5) * (length / size) - 0.5, 0)
    before = np.minimum(at.astype(np.intp), length - 1)
    return before, np.minimum(before + 1, length - 1), (at - before).astype(np.float32)
