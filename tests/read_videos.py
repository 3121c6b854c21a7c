"""Reads whole videos through `open_video`, and tells what the frames hold."""

from __future__ import annotations

from pathlib import Path

from video_files import read_number

from oddwatch.types import Frame
from oddwatch.video import open_video


def read(path: Path | str, *, fps: float | None = None) -> list[Frame]:
    with open_video(path, fps=fps) as video:
        return list(video)


def numbers(frames: list[Frame]) -> list[int]:
    return [read_number(frame.image) for frame in frames]


def times(frames: list[Frame]) -> list[float]:
    return [frame.time_seconds for frame in frames]
