"""Clips of a manifest -> mp4 copies of them, for archives whose codecs are slow or that browsers do not play."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from oddwatch.datasets.manifest import ManifestClip
from oddwatch.files import sha256_of
from oddwatch.video import VideoWriter, open_video
from oddwatch.video.names import visible_entries

FOLDER = "videos"
DIGITS = 12
Progress = Callable[[str, float, float | None], None]


def transcode(
    clips: Sequence[ManifestClip], target: Path, *, progress: Progress | None = None
) -> tuple[ManifestClip, ...]:
    """The same clips as H.264 in `target`/videos/CLASS: all frames, at their average rate, no sound; an odd width or
    height is made even. It loses a little of the pictures (crf 20). A copy is named by its clip and the sha256 of that
    and is there as a whole or not at all: what is there is taken as it is. Raises VideoError.
    """
    copied = []
    for done, clip in enumerate(clips):
        stem = re.sub(r"[^\w.-]", "_", Path(clip.path).stem)
        path = target / FOLDER / clip.action / f"{stem}-{video_sha256(Path(clip.path))[:DIGITS]}.mp4"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(clip, path)
        width, height = (side + side % 2 for side in (clip.width_px, clip.height_px))
        copied.append(replace(clip, path=str(path), width_px=width, height_px=height, codec="h264"))
        if progress:
            progress("writing copies", float(done + 1), float(len(clips)))
    return tuple(copied)


def _copy(clip: ManifestClip, path: Path) -> None:
    fps = clip.fps if Path(clip.path).is_dir() else None
    with open_video(clip.path, fps=fps) as video, VideoWriter(path, fps=clip.fps) as copy:
        for picture in video.pictures():
            copy.write(picture.frame().image)


def video_sha256(path: Path) -> str:
    """Of the bytes of a file, or of all files of a folder of frames in their order. Raises OSError."""
    if not path.is_dir():
        return sha256_of(path)
    frames = [file for file in visible_entries(path) if file.is_file()]
    return hashlib.sha256("".join(map(sha256_of, frames)).encode()).hexdigest()
