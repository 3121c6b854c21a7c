"""Data sets on disk -> records: what to read, in which split, and what is known about it. Decodes no video.

`load_dataset(name, path)` is the way in; `DATASETS` holds the loaders by name. A new data set is a function from its
folder to a `Dataset`, and an entry there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from oddwatch.datasets.avenue import load_avenue
from oddwatch.datasets.folder import load_folder
from oddwatch.datasets.manifest import load_manifest
from oddwatch.datasets.ped2 import load_ped2
from oddwatch.datasets.shanghaitech import load_shanghaitech
from oddwatch.errors import DatasetError, UsageError
from oddwatch.types import Dataset

__all__ = ["DATASETS", "load_dataset"]

DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "avenue": load_avenue,
    "folder": load_folder,
    "manifest": load_manifest,
    "ped2": load_ped2,
    "shanghaitech": load_shanghaitech,
}


def load_dataset(name: str, path: str | os.PathLike[str], *, fps: float | None = None) -> Dataset:
    """The data set `name` (a key of `DATASETS`) that lies in the folder `path`.

    fps: frames per second of folders of frames whose rate the data set does not fix. Raises UsageError for an unknown
    name or a rate that is not positive, DatasetError when the folder cannot be read or has another layout.
    """
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}: choose one of {', '.join(sorted(DATASETS))}")
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise UsageError(f"fps must be a positive number, got {fps}")
    root = Path(path)
    try:
        if not root.is_dir():
            raise DatasetError(f"{name}: {root} is not a folder: give the folder that holds the data set")
        dataset = DATASETS[name](root)
    except OSError as error:
        raise DatasetError(
            f"{name}: {error.filename or root} cannot be read: {error.strerror or error} (check its permissions)"
        ) from error
    samples = (replace(s, fps=fps) if s.fps is None and os.path.isdir(s.path) else s for s in dataset.samples)
    return replace(dataset, samples=tuple(samples))
