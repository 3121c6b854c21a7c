"""Folders of numbered frames as video."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from oddwatch.errors import UsageError, VideoError
from oddwatch.types import FloatArray, Frame, Image, VideoInfo
from oddwatch.video.names import display_name, is_numbered_image, is_video_file, visible_entries
from oddwatch.video.source import Picture, VideoSource, fit

_log = logging.getLogger(__name__)


class FolderSource(VideoSource):
    """Images with numbers in their names, in natural order; the frame at place i of the list is shown at i / fps."""

    def __init__(self, path: str, *, fps: float | None) -> None:
        """List the folder and read its first image. Raises VideoError, and UsageError without `fps`."""
        super().__init__()
        self._name = display_name(path)
        self._files = _frame_files(Path(path), self._name)
        if fps is None:
            raise UsageError(f"{self._name}: a folder of frames does not say how fast it was filmed: give --fps")
        self._fps = float(fps)
        first = next((image for image in map(_read, self._files) if image is not None), None)
        if first is None:
            raise VideoError(self._name, "none of its images can be read", "check that they open elsewhere")
        self.info = VideoInfo(
            name=self._name,
            width_px=first.shape[1],
            height_px=first.shape[0],
            fps=float(fps),
            duration_seconds=len(self._files) / fps,
            codec=self._files[0].suffix[1:].lower(),
        )

    def pictures(self) -> Iterator[Picture]:
        """All images that can be read."""
        index = 0
        for place, file in enumerate(self._files):
            image = _read(file)
            if image is None:
                self.skipped += 1
                continue
            yield Picture(index, place / self._fps, partial(self._fit, image))
            index += 1
        if self.skipped:
            _log.warning("%s: images left out that cannot be read: %d", self._name, self.skipped)

    def timeline(self) -> FloatArray:
        """(N,) times of all files."""
        return np.arange(len(self._files)) / self._fps

    def read_at(self, indices: Sequence[int]) -> dict[int, Frame] | None:
        """Any frame costs the same here. None when one of them cannot be read."""
        found: dict[int, Frame] = {}
        for index in sorted(set(indices)):
            image = _read(self._files[index])
            if image is None:
                return None
            found[index] = Frame(self._fit(image), index / self._fps, index)
        return found

    def _fit(self, image: Image) -> Image:
        return fit(image, self.info.width_px, self.info.height_px)

    def _release(self) -> None:
        self._files = []


def _frame_files(folder: Path, name: str) -> list[Path]:
    """The images of a folder in natural order. Raises VideoError when they are not the frames of one video."""
    try:
        entries = visible_entries(folder)
        files = [entry for entry in entries if is_numbered_image(entry)]
        holds_videos = not files and any(map(is_video_file, entries))
    except OSError as error:
        raise VideoError(name, f"the folder cannot be read: {error.strerror}") from None
    if not files:
        remedy = "name the video files in it" if holds_videos else "frames are images with a number in their names"
        raise VideoError(name, "a folder without numbered frames", remedy)
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        raise VideoError(name, f"its images are of several kinds: {', '.join(kinds)}", "keep the frames alone in it")
    return files


def _read(file: Path) -> Image | None:
    """(H, W, 3) uint8 RGB, upright, or None when it is no image. Bytes first: OpenCV cannot open every file name."""
    try:
        data = np.fromfile(file, dtype=np.uint8)
        if file.suffix.lower() == ".png" and b"IEND" not in data.tobytes():
            return None  # cut off; libpng would say so on standard error
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except (OSError, cv2.error):
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)
