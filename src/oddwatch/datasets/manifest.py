"""A manifest: one row for each clip of an experiment, in a CSV file. Written by `prepare`, read by everything else."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from oddwatch.datasets.layout import Layout
from oddwatch.errors import DatasetError
from oddwatch.files import is_remote, write_text
from oddwatch.types import Dataset, Sample

NAME = "manifest.csv"
SPLITS = ("train", "validation", "test", "anomaly")
COLUMNS = ("class", "label", "split", "path", "source", "frames", "seconds", "fps", "width_px", "height_px", "codec")

_LAYOUT = Layout("manifest", f"the {NAME} that `oddwatch dataset prepare` writes")


@dataclass(frozen=True)
class ManifestClip:
    """One clip. action: its class. split: `train`, `validation` and `test` are normal, `anomaly` is what must be found.

    path: of the video, relative to the folder of the manifest where it lies below it. source: clips of one source come
    from one recording and stay on one side; the clip's own path where that is not known. frames: that can be decoded.
    fps: average frames per second.
    """

    action: str
    split: str
    path: str
    source: str
    frames: int
    seconds: float
    fps: float
    width_px: int
    height_px: int
    codec: str

    @property
    def label(self) -> str:
        """`normal` or `anomalous`."""
        return "anomalous" if self.split == "anomaly" else "normal"


def write_manifest(path: Path, clips: Sequence[ManifestClip]) -> None:
    """Write the CSV file at once. Raises OddwatchError when it cannot be written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for clip in clips:
        row = {**asdict(clip), "class": clip.action, "label": clip.label}
        del row["action"]
        row["path"] = _from_folder(clip.path, path.parent)
        row["seconds"], row["fps"] = f"{clip.seconds:.3f}", f"{clip.fps:.3f}"
        writer.writerow(row)
    write_text(path, text.getvalue())


def read_manifest(path: Path) -> list[ManifestClip]:
    """The clips of a manifest, their paths as they can be opened from here. Raises DatasetError that names the line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := set(COLUMNS) - set(reader.fieldnames or ()):
                raise DatasetError(
                    f"{path} is no manifest: it has no column {', '.join(sorted(missing))} (make one with "
                    "`oddwatch dataset prepare`)"
                )
            found = []
            for row in reader:
                try:
                    found.append(_clip(row, path.parent))
                except (ValueError, TypeError) as error:
                    raise DatasetError(f"{path}, line {reader.line_num}: {error}") from error
    except FileNotFoundError as error:
        raise DatasetError(
            f"no manifest {path}: make one with `oddwatch dataset prepare` and name it with --manifest"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        raise DatasetError(f"{path} has no clips")
    return found


def load_manifest(path: Path) -> Dataset:
    """Learn from the train split, test on the test split and the anomalous clips; validation is left out.

    path: folder that holds `manifest.csv`. Every frame of an anomalous clip is unusual. Raises DatasetError.
    """
    file = _LAYOUT.file(path / NAME)
    samples = [
        Sample(
            name=os.path.relpath(clip.path, file.parent),
            path=clip.path,
            split="train" if clip.split == "train" else "test",
            fps=clip.fps if os.path.isdir(clip.path) else None,
            label=clip.action,
            frame_labels=None if clip.split == "train" else np.full(clip.frames, clip.split == "anomaly"),
        )
        for clip in read_manifest(file)
        if clip.split != "validation"
    ]
    return Dataset(file.resolve().parent.name, tuple(samples))


def _clip(row: dict[str, str], folder: Path) -> ManifestClip:
    values = {field.name: row[field.name] for field in fields(ManifestClip) if field.name != "action"}
    if values["split"] not in SPLITS:
        raise ValueError(f"split is one of {', '.join(SPLITS)}, got {values['split']!r}")
    seconds, fps = float(values["seconds"]), float(values["fps"])
    if not (math.isfinite(seconds) and seconds >= 0 and math.isfinite(fps) and fps > 0):
        raise ValueError(f"seconds and fps must be positive numbers, got {seconds:g} and {fps:g}")
    if int(values["frames"]) < 1:
        raise ValueError(f"frames must be at least 1, got {values['frames']}")
    made = ManifestClip(
        action=row["class"],
        split=values["split"],
        path=os.path.join(str(folder), values["path"]),
        source=values["source"],
        frames=int(values["frames"]),
        seconds=seconds,
        fps=fps,
        width_px=int(values["width_px"]),
        height_px=int(values["height_px"]),
        codec=values["codec"],
    )
    if made.label != row["label"]:
        raise ValueError(f"a clip of the split {made.split} is {made.label}, not {row['label']!r}")
    return made


def _from_folder(path: str, folder: Path) -> str:
    if is_remote(folder):  # the videos are here
        return str(Path(path).resolve())
    real, home = Path(path).resolve(), folder.resolve()
    return str(real.relative_to(home)) if real.is_relative_to(home) else str(real)
