"""Files of embeddings that were made elsewhere, npz or Parquet -> one record. Nothing in a file is ever run."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.errors import DatasetError, MissingExtraError
from oddwatch.types import FloatArray

SUFFIXES = (".npz", ".parquet")
"""Endings of the files that `read_embeddings` reads."""
_EXPECTED = (
    "an array `embeddings` (n, D) of numbers and, where known, `frame_labels` (n, T) of 0 and 1, `scene` (n,) of "
    "integers from 0, `scene_names` and `scene_is_anomalous`, one for each scene"
)
_PARQUET = ("embeddings", "frame_labels", "scene", "scene_name", "scene_is_anomalous")


@dataclass(frozen=True, eq=False)
class EmbeddingFile:
    """Embeddings of stretches of video, in the order of time within each scene.

    embeddings: (n, D) float32, finite. frame_labels: (n, T) bool, the T frames that each covers, True = unusual.
    scene: (n,) int64 from 0, the recording each is of. scene_names: one for each scene. scene_is_anomalous: (S,) bool,
    True where anything in the recording is unusual. None: the file does not say.
    """

    path: Path
    embeddings: FloatArray
    frame_labels: NDArray[np.bool_] | None = None
    scene: NDArray[np.int64] | None = None
    scene_names: tuple[str, ...] | None = None
    scene_is_anomalous: NDArray[np.bool_] | None = None

    def __repr__(self) -> str:
        return f"EmbeddingFile({str(self.path)!r}, {len(self.embeddings)} x {self.embeddings.shape[1]})"

    @property
    def scenes(self) -> NDArray[np.int64]:
        """(n,) `scene`, all 0 where the file does not say."""
        return np.zeros(len(self.embeddings), dtype=np.int64) if self.scene is None else self.scene

    @property
    def usual(self) -> NDArray[np.bool_]:
        """(n,) which may be learned from: those of scenes in which nothing is unusual.

        A scene that is not said to be anomalous is when a frame of it is labelled so; without scenes each embedding
        stands for itself. All of them, where nothing is known.
        """
        if self.scene is not None and self.scene_is_anomalous is not None:
            return np.asarray(~self.scene_is_anomalous[self.scene])
        if self.frame_labels is None:
            return np.ones(len(self.embeddings), dtype=bool)
        odd = self.frame_labels.any(axis=1)
        return np.asarray(~odd if self.scene is None else ~np.isin(self.scene, self.scene[odd]))


def read_embeddings(path: str | os.PathLike[str]) -> EmbeddingFile:
    """Read one file of embeddings.

    npz: arrays with the names of the fields of `EmbeddingFile`. Parquet: a row for each embedding, with the columns
    `embeddings` (list of numbers) and, where known, `frame_labels` (list), `scene`, `scene_name` and
    `scene_is_anomalous`. Raises DatasetError that names the file, what is wrong and what is expected;
    MissingExtraError for Parquet without pyarrow.
    """
    file = Path(path)
    if not file.is_file():
        raise _bad(file, "is a folder" if file.is_dir() else "is not there", "give an .npz or .parquet file")
    if file.suffix not in SUFFIXES:
        raise _bad(file, f"does not end in {' or '.join(SUFFIXES)}", "save it in one of these formats")
    try:
        arrays = _read_npz(file) if file.suffix == ".npz" else _read_parquet(file)
    except OSError as error:
        raise _bad(file, f"cannot be read: {error.strerror or error}", "check it and its permissions") from error
    return _checked(file, arrays)


def _read_npz(file: Path) -> dict[str, NDArray[Any]]:
    wanted = ("embeddings", "frame_labels", "scene", "scene_names", "scene_is_anomalous")
    try:
        with file.open("rb") as handle:  # numpy leaves a file open that is no npz
            found = np.load(handle, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise _bad(file, "is a single array and no npz", "save it with numpy.savez(file, embeddings=...)")
            return {name: found[name] for name in wanted if name in found.files}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise _bad(
                file, "holds Python objects, which could run code", "save plain arrays of numbers and text"
            ) from error
        raise _bad(file, f"is damaged: {error}", "save it again with numpy.savez") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise _bad(file, f"is no npz or is damaged: {error}", "save it again with numpy.savez") from error


def _read_parquet(file: Path) -> dict[str, NDArray[Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError("reading Parquet", "pyarrow", "parquet") from None
    try:
        names = [name for name in _PARQUET if name in parquet.read_schema(file).names]
        table = parquet.read_table(file, columns=names)
    except ArrowException as error:
        raise _bad(file, f"is no Parquet or is damaged: {str(error).splitlines()[0]}", "save it again") from error
    arrays: dict[str, NDArray[Any]] = {}
    for name in names:
        column = table.column(name)
        if column.null_count:
            raise _bad(file, f"has empty values in {name}", "fill them, or leave the column out")
        values = column.to_pylist()
        if len({len(v) if isinstance(v, list) else -1 for v in values}) > 1:
            raise _bad(file, f"has rows of different lengths in {name}", "make all alike")
        arrays[name] = np.asarray(values)
    return _by_scene(file, arrays)


def _by_scene(file: Path, columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Parquet says of each row what npz says of each scene."""
    arrays = {name: values for name, values in columns.items() if name in ("embeddings", "frame_labels", "scene")}
    by_row = {"scene_name": "scene_names", "scene_is_anomalous": "scene_is_anomalous"}
    if "scene_name" in columns and "scene" not in columns:
        arrays["scene"] = np.unique(columns["scene_name"], return_inverse=True)[1]
    if "scene" not in arrays or arrays["scene"].dtype.kind not in "iu" or not len(arrays["scene"]):
        return arrays
    _, first, scene = np.unique(arrays["scene"], return_index=True, return_inverse=True)
    arrays["scene"] = scene
    for name, plural in by_row.items():
        if name in columns:
            values = columns[name][first]
            if (columns[name] != values[scene]).any():
                raise _bad(file, f"has different values of {name} in one scene", "give each scene one")
            arrays[plural] = values
    return arrays


def _checked(file: Path, arrays: dict[str, NDArray[Any]]) -> EmbeddingFile:
    def require(holds: bool, problem: str) -> None:
        if not holds:
            raise _bad(file, problem, f"expected: {_EXPECTED}")

    require("embeddings" in arrays, "has no `embeddings`")
    x = arrays["embeddings"]
    require(x.dtype.kind in "fiu", f"has embeddings of type {x.dtype}, not numbers")
    require(x.ndim == 2, f"has embeddings of shape {x.shape}, not (n, D)")
    require(min(x.shape) > 0, f"holds no embeddings: their shape is {x.shape}")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, dtype=np.float32)
    bad = ~np.isfinite(rows).all(axis=1)
    require(not bad.any(), f"has values that are not finite in {int(bad.sum())} of {len(rows)} embeddings")

    labels = arrays.get("frame_labels")
    if labels is not None:
        require(labels.ndim == 2 and len(labels) == len(rows), f"has frame_labels of shape {labels.shape}")
        require(labels.shape[1] > 0, "has frame_labels of no frames")
        labels = _flags(labels, require, "frame_labels")
    scene, names, odd = (arrays.get(name) for name in ("scene", "scene_names", "scene_is_anomalous"))
    if scene is None:
        require(names is None and odd is None, "has scene_names or scene_is_anomalous but no scene")
        return EmbeddingFile(file, rows, labels)
    require(scene.shape == (len(rows),), f"has scene of shape {scene.shape}, not ({len(rows)},)")
    require(scene.dtype.kind in "iu" and int(scene.min()) >= 0, "has scenes that are not integers from 0")
    for name, known in (("scene_names", names), ("scene_is_anomalous", odd)):
        if known is not None:
            require(known.ndim == 1 and len(known) > int(scene.max()), f"has {name} for {known.size} scenes only")
    if odd is not None:
        odd = _flags(odd, require, "scene_is_anomalous")
    text = None if names is None else tuple(str(name) for name in names)
    return EmbeddingFile(file, rows, labels, scene.astype(np.int64), text, odd)


def _flags(values: NDArray[Any], require: Any, name: str) -> NDArray[np.bool_]:
    require(values.dtype.kind in "biuf" and bool(np.isin(values, (0, 1)).all()), f"has {name} that are not 0 or 1")
    return values.astype(bool)


def _bad(file: Path, problem: str, remedy: str) -> DatasetError:
    return DatasetError(f"{file} {problem} ({remedy})")


@dataclass(frozen=True, eq=False)
class View:
    """Embeddings of one camera view: train to learn from, test to score. name: what follows `train` in the file."""

    name: str
    train: EmbeddingFile
    test: EmbeddingFile


def read_views(folder: str | os.PathLike[str]) -> list[View]:
    """Pairs of files whose names begin with `train` and `test` and go on alike: train_view1.npz, test_view1.npz.

    Raises DatasetError: no such folder, a file without its partner, embeddings of different sizes, nothing usual to
    learn from, or no labels to measure by.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder (give the one that holds train*.npz and test*.npz)")
    try:
        files = sorted(f for f in root.iterdir() if f.suffix in SUFFIXES)
    except OSError as error:
        raise DatasetError(f"{root} cannot be read: {error.strerror or error} (check its permissions)") from error
    splits: dict[str, dict[str, Path]] = {"train": {}, "test": {}}
    for file in files:
        for split, found in splits.items():
            if file.stem.startswith(split):
                name = file.stem.removeprefix(split).strip("_- ") or root.resolve().name
                if name in found:
                    raise _bad(file, f"is a second {split} file of {name}, beside {found[name].name}", "keep one")
                found[name] = file
    train, test = splits.values()
    if not train and not test:
        raise DatasetError(f"{root} holds no train*.npz and test*.npz (or .parquet): give the folder that holds them")
    for name in sorted({*train} ^ {*test}):
        split, other = ("train", "test") if name in train else ("test", "train")
        raise _bad(splits[split][name], f"has no {other} file beside it", f"add {other}_{name}.npz")
    return [_view(name, read_embeddings(train[name]), read_embeddings(test[name])) for name in sorted(train)]


def _view(name: str, train: EmbeddingFile, test: EmbeddingFile) -> View:
    ours, theirs = train.embeddings.shape[1], test.embeddings.shape[1]
    if ours != theirs:
        raise _bad(
            test.path, f"has embeddings of {theirs} values, {train.path.name} of {ours}", "embed both by one network"
        )
    if not train.usual.any():
        raise _bad(train.path, "has no scene in which nothing is unusual", "only usual scenes are learned from")
    if test.frame_labels is None:
        raise _bad(test.path, "has no frame_labels to measure by", "add them: (n, T) of 0 and 1")
    if test.frame_labels.all() or not test.frame_labels.any():
        raise _bad(
            test.path, "has frame_labels of one kind only", "give a test file with both usual and unusual frames"
        )
    return View(name, train, test)
