"""What paths and names mean: URLs, extensions, natural order, and names that are safe to show. Opens no video."""

from __future__ import annotations

import os
import re
from pathlib import Path

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

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_SECRET = re.compile(r"((?:user|usr|login|pass|pwd|token|secret|auth|sig|key)\w*=)[^&;/#]*", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)")


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether this is an address such as `rtsp://camera/1` and not a path.

    >>> is_url("rtsp://camera/1"), is_url("C:/videos/a.mp4")
    (True, False)
    """
    return _URL.match(os.fspath(path)) is not None


def display_name(path: str | os.PathLike[str]) -> str:
    """How to call a video in tables, logs and errors. A URL loses its user name, password and tokens.

    All up to the last `@` goes, so that a password which itself holds `@`, `/` or `?` cannot show in part.

    >>> display_name("rtsp://admin:p@ss/word@10.0.0.7:554/live?token=abc&channel=2")
    'rtsp://10.0.0.7:554/live?token=***&channel=2'
    >>> display_name("videos/monday.mp4")
    'videos/monday.mp4'
    """
    text = os.fspath(path)
    scheme = _URL.match(text)
    if scheme is None:
        return text
    return scheme.group() + _SECRET.sub(r"\1***", text[scheme.end() :].rpartition("@")[2])


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
