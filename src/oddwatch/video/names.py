"""What paths and names mean: URLs, extensions, natural order, and names that are safe to show. Opens no video."""

from __future__ import annotations

import re
from pathlib import Path

from oddwatch.addresses import display_name as display_name
from oddwatch.addresses import is_url as is_url

VIDEO_EXTENSIONS = frozenset(
    [
        ".264",
        ".265",
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".h264",
        ".h265",
        ".hevc",
        ".m2ts",
        ".m4v",
        ".mjpeg",
        ".mjpg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    ]
)
IMAGE_EXTENSIONS = frozenset([".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])

_NUMBER = re.compile(r"(\d+)")


def natural_key(name: str) -> list[str | int]:
    """Sort key that puts 2 before 10.

    >>> sorted(["f10.png", "F2.png", "f1.png"], key=natural_key)
    ['f1.png', 'F2.png', 'f10.png']
    """
    return [int(part) if part.isdecimal() else part.casefold() for part in _NUMBER.split(name)]


def visible_entries(folder: Path) -> list[Path]:
    """What a folder directly holds, hidden entries left out, in natural order. Raises OSError."""
    return sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name))


def is_video_file(path: Path) -> bool:
    """Whether the extension is one of a video."""
    return path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file()


def is_numbered_image(path: Path) -> bool:
    """Whether this can be a frame of a video: an image with a number in its name."""
    return path.suffix.lower() in IMAGE_EXTENSIONS and _NUMBER.search(path.stem) is not None and path.is_file()
