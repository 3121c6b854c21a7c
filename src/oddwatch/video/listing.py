"""From what a user names (files, folders, lists, addresses) to videos. Opens none of them."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from oddwatch.types import Failure
from oddwatch.video.names import display_name, is_numbered_image, is_url, is_video_file, visible_entries

_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Listing:
    """videos: what `open_video` takes, each once, in the order named. failures: what held no video, and why."""

    videos: tuple[str, ...]
    failures: tuple[Failure, ...]


def list_videos(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Listing:
    """Expand one or more paths to videos. What cannot be used is reported and does not stop the others.

    A file is taken whatever its extension, an address too. A `.txt` file lists paths, one a line, relative to itself;
    lines that start with `#` are comments. A `.csv` file lists them in its column `path`, as a manifest does. A folder
    is searched with all its subfolders, in natural order: video files by their extension; a folder that directly holds
    numbered images, and no video file, is one video. Hidden files are left out.
    """
    videos, failures = _list(paths)
    return Listing(tuple(video for video, _ in videos), failures)


def classes_by_folder(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> dict[str, str]:
    """Class of each video that `list_videos` gives for these paths: the first folder below the folder that was named.

    A video that was named itself, or lies right in the named folder, has the folder that it lies in as its class.
    Addresses have none and are left out.
    """
    return {
        video: first_folder_below(named, video) or os.path.basename(os.path.dirname(os.path.abspath(video)))
        for video, named in _list(paths)[0]
        if not is_url(video)
    }


def first_folder_below(named: str | None, video: str) -> str | None:
    """On the way from a named folder to a video in it the first folder; None when it lies right there or named is None.

    >>> first_folder_below("usual", "usual/walk/monday/1.mp4"), first_folder_below("usual", "usual/1.mp4")
    ('walk', None)
    """
    between = Path(video).relative_to(named).parts[:-1] if named is not None else ()
    return between[0] if between else None


def same_video(path: str | os.PathLike[str]) -> str:
    """What all names of one video have in common: the real path, or the address."""
    name = os.fspath(path)
    return name if is_url(name) else os.path.realpath(name)


def _list(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[list[tuple[str, str | None]], tuple[Failure, ...]]:
    """Videos, each once, with the folder that was named for them, if any; and what held none."""
    named = [paths] if isinstance(paths, str | os.PathLike) else paths
    found = [each for path in named for each in _expand(os.fspath(path))]
    videos: dict[str, tuple[str, str | None]] = {}
    for each in found:
        if not isinstance(each, Failure):
            videos.setdefault(same_video(each[0]), each)
    return list(videos.values()), tuple(each for each in found if isinstance(each, Failure))


def _expand(path: str, *, in_list: bool = False) -> Iterator[tuple[str, str | None] | Failure]:
    """Videos with the folder that was searched for them, None for what was named itself."""
    if is_url(path):
        yield path, None
    elif os.path.isdir(path):
        for each in _search(path):
            yield each if isinstance(each, Failure) else (each, path)
    elif (why := _kept_from(path)) is not None:
        yield Failure(display_name(path), f"cannot be read: {why} (check its permissions)")
    elif not os.path.exists(path):
        yield Failure(display_name(path), "no such file or folder (check the path)")
    elif not path.lower().endswith((".txt", ".csv")):
        yield path, None
    elif in_list:
        yield Failure(path, "a list inside a list (name its lines in the first one)")
    else:
        yield from _read_list(path)


def _read_list(path: str) -> Iterator[tuple[str, str | None] | Failure]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        yield Failure(path, f"the list cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}")
        return
    if path.lower().endswith(".csv"):
        rows = csv.DictReader(lines, restval="")
        if "path" not in (rows.fieldnames or ()):
            yield Failure(path, "a list that ends in .csv needs a column path")
            return
        entries = [row["path"] for row in rows if row["path"]]
    else:
        entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not entries:
        yield Failure(path, "the list is empty (write one path a line)")
    for entry in entries:
        yield from _expand(entry if is_url(entry) else os.path.join(os.path.dirname(path), entry), in_list=True)


def _search(folder: str) -> Iterator[str | Failure]:
    found = list(_walk(Path(folder), set()))
    if not found:
        yield Failure(folder, "no video in this folder (video files, or images with numbers in their names)")
    yield from found


def _walk(folder: Path, seen: set[str]) -> Iterator[str | Failure]:
    """Depth first. `seen` holds real paths, so that links in a circle end."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries = visible_entries(folder)
    except OSError as error:
        yield Failure(str(folder), f"the folder cannot be read: {error.strerror}")
        return
    reasons = {entry: why for entry in entries if (why := _kept_from(entry)) is not None}
    if entries and len(reasons) == len(entries):  # it can be listed but not entered
        yield Failure(str(folder), f"the folder cannot be read: {reasons[entries[0]]}")
        return
    for entry, why in reasons.items():
        yield Failure(str(entry), f"cannot be read: {why} (check its permissions)")
    entries = [entry for entry in entries if entry not in reasons]
    if any(map(is_numbered_image, entries)) and not any(map(is_video_file, entries)):
        yield str(folder)
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry, seen)
        elif is_video_file(entry):
            yield str(entry)


def _kept_from(path: str | os.PathLike[str]) -> str | None:
    """Why nothing can be known of a path, None where it can or where nothing is there."""
    try:
        os.stat(path)
    except OSError as error:
        return None if error.errno in _NOTHING_THERE else error.strerror or str(error)
    except ValueError:  # a null character
        return None
    return None
