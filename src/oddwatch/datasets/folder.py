"""Your own videos: a folder of usual video to learn from and one to test on, with the truth beside it if known."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oddwatch.datasets.layout import Layout
from oddwatch.truth import read_truth
from oddwatch.types import Dataset, Sample, Split, TruthEvent
from oddwatch.video import first_folder_below, list_videos
from oddwatch.video.names import visible_entries

_SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "normal", "usual"),
    "test": ("test", "testing"),
}
_LAYOUT = Layout(
    "folder",
    "train/ (or training/, normal/, usual/) and test/ (or testing/) with videos, in subfolders if there are classes; "
    "beside a test video x.mp4, if its truth is known, x.json or x.csv with the columns "
    "start_seconds,end_seconds,kind or frame,label",
)
_UNNAMED = "unusual"


def load_folder(path: Path) -> Dataset:
    """Videos in `train/` (or `training/`, `normal/`, `usual/`) and `test/` (or `testing/`), at any depth.

    The class of a video is the first folder below the split's, `usual` for one that lies right in it. Truth of a test
    video `x.mp4`, if it is known, lies next to it, in one of
    - `x.json`: as `oddwatch.truth` writes it;
    - `x.csv` with `start_seconds,end_seconds` and perhaps `kind`: one row per event, no row when nothing happens;
    - `x.csv` with `frame,label`: 0 or 1 for every frame, in order, the first is frame 0.
    Without it the truth of the video is None. All training video is taken to be usual; there may be none when a
    detector is measured that has learned already. Raises DatasetError.
    """
    samples: list[Sample] = []
    for split in _SPLITS:
        folder = _split_folder(path, split)
        if folder is None:
            continue
        listing = list_videos([str(folder)])
        if listing.failures:
            raise _LAYOUT.error(f"{listing.failures[0].source}: {listing.failures[0].reason}")
        for video in map(Path, listing.videos):
            label = first_folder_below(str(folder), str(video)) or "usual"
            truth, frame_labels = _truth_beside(video) if split == "test" else ((), None)
            samples.append(
                Sample(
                    str(video.relative_to(path)), str(video), split, label=label, truth=truth, frame_labels=frame_labels
                )
            )
    return Dataset(path.resolve().name, tuple(samples))


def _split_folder(root: Path, split: Split) -> Path | None:
    """The folder of a split; None only for training video, which a detector that has learned already can do without."""
    found = [p for p in visible_entries(root) if p.is_dir() and p.name.lower() in _SPLITS[split]]
    if not found and split == "train":
        return None
    if not found:
        raise _LAYOUT.error(f"{root} has no folder {' or '.join(f'{name}/' for name in _SPLITS[split])}")
    if len(found) > 1:
        raise _LAYOUT.error(f"{root} has both {found[0].name}/ and {found[1].name}/: keep one")
    return found[0]


def _truth_beside(video: Path) -> tuple[tuple[TruthEvent, ...] | None, NDArray[np.bool_] | None]:
    stem = video.name if video.is_dir() else video.stem
    as_json, as_csv = video.with_name(f"{stem}.json"), video.with_name(f"{stem}.csv")
    if as_json.exists() and as_csv.exists():
        raise _LAYOUT.error(f"{video} has truth in both {as_json.name} and {as_csv.name}: keep one")
    if as_json.exists():
        return read_truth(as_json), None
    if as_csv.exists():
        return _read_csv(as_csv)
    return None, None


def _read_csv(path: Path) -> tuple[tuple[TruthEvent, ...] | None, NDArray[np.bool_] | None]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="", skipinitialspace=True)
        try:
            columns = set(reader.fieldnames or ())
            if {"start_seconds", "end_seconds"} <= columns:
                return tuple(map(_event, reader)), None
            if {"frame", "label"} <= columns:
                return None, _frame_labels(reader)
        except (ValueError, csv.Error) as error:
            raise _LAYOUT.error(f"{path}, line {reader.line_num}: {error}") from error
    raise _LAYOUT.error(f"{path} has the columns {', '.join(sorted(columns))}" if columns else f"{path} is empty")


def _event(row: dict[str, str]) -> TruthEvent:
    start, end = float(row["start_seconds"]), float(row["end_seconds"])
    if not (math.isfinite(end) and 0 <= start <= end):
        raise ValueError(f"an event needs 0 <= start_seconds <= end_seconds, got {start:g} and {end:g}")
    return TruthEvent(row.get("kind") or _UNNAMED, start, end)


def _frame_labels(rows: Iterable[dict[str, str]]) -> NDArray[np.bool_]:
    labels: list[bool] = []
    for row in rows:
        if int(row["frame"]) != len(labels):
            raise ValueError(f"the column frame counts 0, 1, 2, ...: {len(labels)} comes here, not {row['frame']}")
        if row["label"] not in ("0", "1"):
            raise ValueError(f"a label is 0 or 1, got {row['label']!r}")
        labels.append(row["label"] == "1")
    return np.array(labels, dtype=bool)
