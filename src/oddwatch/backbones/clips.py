"""Backbones that look at clips: T frames of a stretch of video in, one embedding out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.base import Backbone, EmbeddingStream
from oddwatch.errors import UsageError
from oddwatch.types import Clip, Embeddings, Frame, Image
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
    window_seconds None: every video is ONE clip of frames spread over all of it, as in the article; that needs videos
    that have an end. batch: clips that are embedded at a time. frames, size_px: of a clip, where not what `input` says.
    """

    input: ClipInput
    speed_options: tuple[str, ...] = ("batch",)
    heavy = False
    """Whether cameras better share one network than have one each."""

    def __init__(
        self,
        *,
        window_seconds: float | None = 2.0,
        stride_seconds: float = 1.0,
        batch: int = 4,
        frames: int | None = None,
        size_px: int | None = None,
    ) -> None:
        usual = type(self).input
        self.input = replace(usual, frames=frames or usual.frames, size_px=size_px or usual.size_px)
        for name, value in (("batch", batch), ("frames", self.input.frames), ("size_px", self.input.size_px)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        self.window_seconds, self._stride_seconds, self.batch = window_seconds, stride_seconds, batch
        if window_seconds is not None:
            self.cutter()

    @abstractmethod
    def embed(self, clips: Pixels) -> tuple[Pixels, Pixels | None]:
        """(N, D) vectors and (N, Gh, Gw, d) grids of clips (N, T, size, size, 3), prepared."""

    def prepare(self, image: Image) -> Pixels:
        """(H, W, 3) uint8 -> (size, size, 3) float32 as the network was trained to see it.

        To 0..1, normalised, resized to the square: bilinear between the four nearest pixels, without antialiasing.
        """
        size = self.input.size_px
        resized = cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        mean = np.asarray(self.input.mean, dtype=np.float32)
        std = np.asarray(self.input.std, dtype=np.float32)
        return np.asarray((resized / np.float32(255) - mean) / std, dtype=np.float32)

    def options(self) -> dict[str, Any]:
        return {
            "window_seconds": self.window_seconds,
            "stride_seconds": self._stride_seconds,
            "batch": self.batch,
            "frames": self.input.frames,
            "size_px": self.input.size_px,
        }

    def stream(self) -> EmbeddingStream:
        return ClipStream(self, self.embed_windows)

    def cutter(self) -> ClipCutter:
        """What cuts ONE stream of video into prepared clips. Raises UsageError when a clip is a whole video."""
        if self.window_seconds is None:
            raise UsageError("a clip of a whole video needs one that has an end: give a file, or a window in seconds")
        return ClipCutter(self, self.window_seconds, self._stride_seconds)

    def whole(self, clip: Clip) -> Window[Pixels]:
        """A sampled video as the one clip that it is."""
        prepared = tuple(self.prepare(image) for image in clip.images)
        return Window(prepared, np.asarray(clip.times_seconds, dtype=np.float64), clip.start_seconds, clip.end_seconds)

    def embed_windows(self, windows: Sequence[Window[Pixels]], *, pad: bool = False) -> Embeddings:
        """Embeddings of prepared clips, in batches of `batch`. pad: fill the last batch up by repeating its last clip,
        so that what a clip gives does not depend on how many came with it (networks' last bits do).
        """
        parts = []
        for first in range(0, len(windows), self.batch):
            some = windows[first : first + self.batch]
            given = [*some, *[some[-1]] * (self.batch - len(some) if pad else 0)]
            vector, grid = self.embed(np.stack([np.stack(window.items) for window in given]))
            start = np.array([window.start_seconds for window in some])
            end = np.array([window.end_seconds for window in some])
            parts.append(Embeddings(vector[: len(some)], None if grid is None else grid[: len(some)], start, end))
        return Embeddings.concatenate(parts)


class ClipCutter:
    """Every frame is prepared once, however many windows it is in: memory is that of one window of small pictures."""

    def __init__(self, backbone: ClipBackbone, window_seconds: float, stride_seconds: float) -> None:
        self._backbone = backbone
        self._windows: SlidingWindows[Pixels] = SlidingWindows(
            items_per_window=backbone.input.frames, length_seconds=window_seconds, stride_seconds=stride_seconds
        )

    def push(self, frame: Frame) -> list[Window[Pixels]]:
        """The clips that ended with this frame."""
        return self._windows.push(frame.time_seconds, self._backbone.prepare(frame.image))

    def close(self) -> list[Window[Pixels]]:
        """The clip that is left at the end of the video, if any."""
        return self._windows.close()


class ClipStream(EmbeddingStream):
    """Cuts one stream of video into clips, which `embed` turns into embeddings."""

    def __init__(self, backbone: ClipBackbone, embed: Callable[[Sequence[Window[Pixels]]], Embeddings]) -> None:
        self._embed, self._cutter = embed, backbone.cutter()

    def push(self, frames: Sequence[Frame]) -> Embeddings | None:
        return self._embedded([window for frame in frames for window in self._cutter.push(frame)])

    def close(self) -> Embeddings | None:
        return self._embedded(self._cutter.close())

    def _embedded(self, windows: Sequence[Window[Pixels]]) -> Embeddings | None:
        return self._embed(windows) if windows else None
