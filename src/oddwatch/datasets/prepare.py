"""Folders of clips, one for each class, -> a manifest: which clips teach, which test, which are anomalous."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from oddwatch.datasets.layout import Layout
from oddwatch.datasets.manifest import ManifestClip
from oddwatch.datasets.transcode import video_sha256
from oddwatch.errors import DatasetError, VideoError
from oddwatch.types import Failure
from oddwatch.video import is_url, list_videos, open_video
from oddwatch.video.names import visible_entries

UCF_SPORTS_MERGED = {
    **{f"Golf-Swing-{side}": "Golf-Swing" for side in ("Back", "Front", "Side")},
    **{f"Kicking-{side}": "Kicking" for side in ("Front", "Side")},
}
"""Sub-classes of UCF Sports and what they become (Randellini 2023)."""
UCF_SPORTS_ANOMALOUS = ("Lifting", "SkateBoarding-Front", "Walk-Front")
UCF_SPORTS_FPS = 10.0
_UCF_LAYOUT = Layout("ucf-sports", "a folder per class, such as Diving-Side/, with a folder per clip in it: 001/*.avi")
MIN_SECONDS = 1.0
TRAIN, TEST = 0.5, 0.4


@dataclass(frozen=True)
class Prepared:
    """clips: in order of class, split and path. dropped: what is not in them, and why."""

    clips: tuple[ManifestClip, ...]
    dropped: tuple[Failure, ...]


Progress = Callable[[str, float, float | None], None]


def prepare_ucf_sports(folder: Path, *, seed: int = 42, progress: Progress | None = None) -> Prepared:
    """UCF Sports Action as published: sub-classes merged, three classes anomalous, shares of the article.

    Raises DatasetError when the folder has another layout or too few clips.
    """
    videos = ucf_sports_videos(folder)
    normal = [name for name in videos if name not in UCF_SPORTS_ANOMALOUS]
    return prepare(
        videos, normal=normal, anomalous=UCF_SPORTS_ANOMALOUS, fps=UCF_SPORTS_FPS, seed=seed, progress=progress
    )


def ucf_sports_videos(folder: Path) -> dict[str, list[str]]:
    """The videos of each class, not looked at yet. Raises DatasetError when the folder has another layout."""
    inner = [p for p in (folder / "ucf action", folder / "ucf_action") if p.is_dir()]
    root = _UCF_LAYOUT.folder(*inner, folder)
    videos: dict[str, list[str]] = defaultdict(list)
    for kind in visible_entries(root):
        if kind.is_dir():
            videos[UCF_SPORTS_MERGED.get(kind.name, kind.name)] += _ucf_clips(kind)
    if missing := [name for name in UCF_SPORTS_ANOMALOUS if not videos.get(name)]:
        raise _UCF_LAYOUT.error(f"{folder} has no clips of {', '.join(missing)}")
    return dict(videos)


def _ucf_clips(kind: Path) -> list[str]:
    """Videos of a class, loose ones too. The folder of a clip that has no video gives its frames."""
    found = [Path(video) for video in list_videos([str(kind)]).videos]
    files = [video for video in found if not video.is_dir()]
    homes = {video.relative_to(kind).parts[0] for video in files}
    frames = [v for v in found if v.is_dir() and v != kind and v.relative_to(kind).parts[0] not in homes]
    return sorted(map(str, (*files, *frames)))


def prepare_folders(
    folder: Path,
    *,
    normal: Sequence[str],
    anomalous: Sequence[str],
    groups: Mapping[str, str] | None = None,
    fps: float | None = None,
    min_seconds: float = MIN_SECONDS,
    seed: int = 42,
    progress: Progress | None = None,
) -> Prepared:
    """Any folder with a folder of videos per class. groups: source of a video by its path relative to `folder`.

    Raises DatasetError for a class that is not there or has too few clips, and for a group of no video.
    """
    if both := set(normal) & set(anomalous):
        raise DatasetError(f"{min(both)} is named as normal and as anomalous: choose one")
    there = [p.name for p in visible_entries(folder) if p.is_dir()]
    if missing := [name for name in (*normal, *anomalous) if name not in there]:
        raise DatasetError(f"{folder} has no folder {missing[0]} (it has {', '.join(there) or 'none'})")
    videos = {name: list(list_videos([str(folder / name)]).videos) for name in (*normal, *anomalous)}
    sources = {str((folder / path).resolve()): source for path, source in (groups or {}).items()}
    known = {str(Path(video).resolve()) for found in videos.values() for video in found}
    if groups is not None and (unknown := [path for path in sorted(known - set(sources)) if _opens(path, fps)]):
        raise DatasetError(f"{unknown[0]} is in no group: name the source of every video, by its path in {folder}")
    return prepare(
        videos,
        normal=normal,
        anomalous=anomalous,
        sources=sources,
        fps=fps,
        min_seconds=min_seconds,
        seed=seed,
        progress=progress,
    )


def read_groups(path: Path) -> dict[str, str]:
    """Source by path, from a CSV file with the columns `path` and `source`. Raises DatasetError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"path", "source"} <= set(reader.fieldnames or ()):
                raise DatasetError(f"{path} needs the columns path and source")
            rows = list(reader)
            if short := next((n for n, row in enumerate(rows, 2) if not (row["path"] and row["source"])), None):
                raise DatasetError(f"{path}, line {short}: a path and its source are needed")
            return {row["path"]: row["source"] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def prepare(
    videos: Mapping[str, Sequence[str]],
    *,
    normal: Sequence[str],
    anomalous: Collection[str],
    sources: Mapping[str, str] | None = None,
    fps: float | None = None,
    min_seconds: float = MIN_SECONDS,
    seed: int = 42,
    progress: Progress | None = None,
) -> Prepared:
    """Look at every video, drop what cannot be used, is shorter than `min_seconds` or has the bytes of one before it,
    and split each normal class.

    videos: of each class. sources: recording of a video by its real path. fps: of folders of frames. Raises
    DatasetError when a class has too few clips to split.
    """
    dropped: list[Failure] = []
    seen: dict[str, tuple[str, str]] = {}
    looked = 0
    clips: dict[str, list[ManifestClip]] = defaultdict(list)
    total = sum(map(len, videos.values()))
    for action, paths in videos.items():
        for path in paths:
            if progress:
                progress("looking at the clips", float(looked), float(total))
            real = str(Path(path).resolve())
            looked += 1
            try:
                # Not by the path: a copy in another class, or on another side of the split, is as wrong as a link.
                digest = video_sha256(Path(path))
            except OSError as error:
                dropped.append(Failure(path, f"cannot be read: {error.strerror or error}"))
                continue
            if digest in seen:
                other, same = seen[digest]
                dropped.append(Failure(path, f"the same file as in {other}: {same} (keep it in one class)"))
                continue
            seen[digest] = action, path
            try:
                clip = _look(path, action, (sources or {}).get(real, path), fps)
            except VideoError as error:
                dropped.append(Failure(error.source, error.reason))
                continue
            if clip.seconds < min_seconds:
                dropped.append(Failure(path, f"{clip.seconds:.2f} s is shorter than {min_seconds:g} s"))
            else:
                clips[action].append(clip)
    if nothing := [name for name in anomalous if not clips[name]]:
        why = _why(dropped, videos[nothing[0]])
        raise DatasetError(f"class {nothing[0]} has no usable clip: leave it out, or look at its videos{why}")
    for name in normal:
        try:
            shares(len(clips[name]), name)
        except DatasetError as error:
            raise DatasetError(f"{error}{_why(dropped, videos[name])}") from error
    split = _split({name: clips[name] for name in normal}, seed)
    rest = [clip for name in anomalous for clip in clips[name]]
    return Prepared((*split, *rest), tuple(dropped))


def _why(dropped: Sequence[Failure], videos: Sequence[str]) -> str:
    """How many of the videos of a class were dropped, and why the first was."""
    of_class = [failure for failure in dropped if failure.source in videos]
    return f" ({len(of_class)} of its {len(videos)} dropped, the first: {of_class[0]})" if of_class else ""


def _opens(path: str, fps: float | None) -> bool:
    """Whether it is a video at all: what is none is dropped, whatever is said of its source."""
    try:
        with open_video(path, fps=fps):
            return True
    except VideoError:
        return False


def _look(path: str, action: str, source: str, fps: float | None) -> ManifestClip:
    """Decodes the whole clip: what a container says of its length is often wrong. Raises VideoError."""
    assert not is_url(path)
    with open_video(path, fps=fps) as video:
        times = [picture.time_seconds for picture in video.pictures()]
        info = video.info
    # Times in avi files are not always even: the rate that the container claims comes first.
    rate = info.fps or ((len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else 1.0)
    return ManifestClip(
        action=action,
        split="anomaly",
        path=path,
        source=source,
        frames=len(times),
        seconds=len(times) / rate,
        fps=rate,
        width_px=info.width_px,
        height_px=info.height_px,
        codec=info.codec,
    )


def _split(classes: Mapping[str, Sequence[ManifestClip]], seed: int) -> list[ManifestClip]:
    """Clips of each class in train, validation, test. Clips of one source stay together, across classes too."""
    rng = np.random.default_rng(seed)
    side: dict[str, str] = {}
    found: list[ManifestClip] = []
    for action, clips in classes.items():
        wanted = shares(len(clips), action)
        by_source: dict[str, list[ManifestClip]] = defaultdict(list)
        for clip in clips:
            by_source[clip.source].append(clip)
        names = list(by_source)
        order = [names[i] for i in rng.permutation(len(names))]
        left = dict(wanted)
        for name in order:
            if name in side:
                left[side[name]] -= len(by_source[name])
        for name in order:
            if name not in side:
                # The split that is furthest from what it should have.
                side[name] = max(left, key=lambda split: (left[split] > 0, left[split] / max(wanted[split], 1)))
                left[side[name]] -= len(by_source[name])
        split = [replace(clip, split=side[clip.source]) for clip in clips]
        for each in wanted:
            if not any(clip.split == each for clip in split):
                raise DatasetError(f"class {action}: no clip is left for {each}: its clips come from too few sources")
        found += sorted(split, key=lambda clip: (list(wanted).index(clip.split), clip.path))
    return found


def shares(clips: int, action: str = "") -> dict[str, int]:
    """How many of n clips go where: round(0.5 n) train, round(0.4 n) test, the rest validation, at least one each.

    As published (Randellini 2023): Python's `round`; where train and test are all, one is taken from train.

    >>> shares(11), shares(4)
    ({'train': 6, 'validation': 1, 'test': 4}, {'train': 1, 'validation': 1, 'test': 2})

    Raises DatasetError for fewer than three clips.
    """
    if clips < 3:
        raise DatasetError(
            f"class {action} has {clips} usable clip{'s' * (clips != 1)}: to train, validate and test it needs at "
            "least three; add some, or leave it out"
        )
    train, test = round(TRAIN * clips), round(TEST * clips)
    if train + test == clips:
        train -= 1
    return {"train": train, "validation": clips - train - test, "test": test}


def views(clips: int, wanted: int) -> int:
    """How many augmented draws of each of n clips make about `wanted` in all: round((N - n) / n), beside the clip.

    >>> [n * (1 + views(n, 200)) for n in (6, 5, 10, 6, 8, 1, 10)]
    [198, 200, 200, 198, 200, 200, 200]
    """
    return max(round((wanted - clips) / clips), 0)
