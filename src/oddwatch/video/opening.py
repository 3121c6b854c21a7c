"""The one way to open a video, whatever it is."""

from __future__ import annotations

import math
import os

from oddwatch.errors import UsageError
from oddwatch.video.file import FileSource
from oddwatch.video.folder import FolderSource
from oddwatch.video.names import is_url
from oddwatch.video.source import VideoSource


def open_video(path: str | os.PathLike[str], *, fps: float | None = None) -> VideoSource:
    """Open a file, an address (`rtsp://`, `http://`...) or a folder of numbered frames.

    fps: frames per second of a folder of frames, which needs it. Files and addresses bring their own times: there it
    is not used, so that one value can go with a mix of files and folders. Use it in a `with` block:

        with open_video("monday.mp4") as video:
            for frame in video:
                print(frame.time_seconds, frame.image.shape)

    Frames are upright RGB and all have the size of the first one. Raises VideoError for what is no video, UsageError
    for a folder without `fps` or an `fps` that is not positive.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise UsageError(f"fps must be a positive number, got {fps}")
    path = os.fspath(path)
    if not is_url(path) and os.path.isdir(path):
        return FolderSource(path, fps=fps)
    return FileSource(path)
