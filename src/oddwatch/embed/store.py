"""Embeddings of several videos while a detector learns from them: on disk, so that memory stays small."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones import Backbone
from oddwatch.embed.album import Album
from oddwatch.embed.cache import EmbeddingCache, Entry, cached_video
from oddwatch.embed.given import info_of
from oddwatch.embed.stream import Progress, fingerprint, too_short
from oddwatch.errors import OddwatchError, VideoError
from oddwatch.types import Embeddings, Failure, FloatArray, VideoInfo
from oddwatch.video import display_name

Rows = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class EmbeddedVideo:
    """One video in an `EmbeddingStore`. first, last: its embeddings are first..last-1. sha256: of its bytes, None for a
    stream. label: its class. fps: of a folder of frames, None for what brings its own times.
    """

    name: str
    path: str
    first: int
    last: int
    label: str
    sha256: str | None
    fps: float | None = None


@dataclass(frozen=True, eq=False)
class SeenPart:
    """What a camera saw for a while. wall_offset: from its times to seconds since 1970. pictures: JPEG of some of the
    embeddings, by position.
    """

    embeddings: Embeddings
    wall_offset: float
    pictures: Mapping[int, bytes] = field(default_factory=dict)


class EmbeddingStore:
    """Embeddings of several videos, vectors and times in memory, grids in a temporary file.

    Only the cells of a grid that hold something are kept. Append with `add_video`; read by position.
    Use it as a context manager: leaving it removes the file. grid_shape: what every grid must have, by default that of
    the first video. keep_grids: without, only vectors are kept, of pictures of any shape. pictures: keep a small one
    now and then of videos that are embedded now.
    """

    def __init__(
        self, *, grid_shape: tuple[int, int, int] | None = None, keep_grids: bool = True, pictures: bool = False
    ) -> None:
        self._keep_grids = keep_grids
        self._album = Album() if pictures else None
        self._pictures: dict[int, bytes] = {}
        self.videos: list[EmbeddedVideo] = []
        self.failures: list[Failure] = []
        self.grid_shape = self._required_shape = grid_shape
        self._vectors: list[Rows] = []
        self._times: list[FloatArray] = []
        self._counts: list[Indices] = []
        self._walls: list[tuple[int, int, float]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="oddwatch-")
        self._values: IO[bytes] = (Path(self._folder.name) / "values").open("w+b")
        self._cells: IO[bytes] = (Path(self._folder.name) / "cells").open("w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._values, self._cells):
            with suppress(OSError):  # a full disk, which an error has told of already
                file.close()
        self._folder.cleanup()

    def __len__(self) -> int:
        return self.videos[-1].last if self.videos else 0

    def add_video(
        self,
        path: str,
        backbone: Backbone,
        *,
        fps: float | None = None,
        label: str = "usual",
        cache: EmbeddingCache | None = None,
        progress: Progress | None = None,
    ) -> bool:
        """Embed one video, or take what `cache` has of it. One that cannot be used, or whose grid has another shape, is
        noted in `failures`; False.

        Raises OddwatchError when the temporary file or the cache cannot grow.
        """
        see = None if self._album is None else self._album.see
        embedded = cached_video(path, backbone, cache, grids=self._keep_grids, fps=fps, progress=progress, see=see)
        rate = fps if os.path.isdir(path) else None
        return self._add(path, embedded, lambda: fingerprint(path), label=label, fps=rate)

    def add_entry(self, entry: Entry, *, label: str = "usual") -> bool:
        """A video that a cache has, as `add_video` does. Raises OddwatchError as that does."""
        return self._add(entry.path, entry.read(), lambda: entry.sha256, label=label, fps=entry.fps)

    def add_scene(self, source: str, embeddings: Embeddings, *, sha256: str | None) -> bool:
        """Embeddings that were made elsewhere, as `add_video` does. sha256: of the file that they came in."""
        return self._add(source, [(info_of(source), embeddings)], lambda: sha256, label="usual", fps=None)

    def add_parts(self, source: str, parts: Iterable[SeenPart]) -> bool:
        """What a camera saw, in order of time, as `add_video` does."""
        return self._add(source, self._of_camera(source, parts), lambda: None, label="usual", fps=None)

    def _of_camera(self, source: str, parts: Iterable[SeenPart]) -> Iterator[tuple[VideoInfo, Embeddings]]:
        row = len(self)
        for part in parts:
            self._walls.append((row, row + len(part.embeddings), part.wall_offset))
            self._pictures |= {row + index: jpeg for index, jpeg in part.pictures.items()}
            row += len(part.embeddings)
            yield info_of(source), part.embeddings

    def _add(
        self,
        path: str,
        embedded: Iterable[tuple[VideoInfo, Embeddings]],
        identify: Callable[[], str | None],
        *,
        label: str,
        fps: float | None,
    ) -> bool:
        first, name, added = len(self), display_name(path), 0
        marks = (self._values.tell(), self._cells.tell(), len(self._vectors))
        if self._album is not None:
            self._album.begin()
        try:
            for info, embeddings in embedded:
                name = info.name
                self._append(embeddings, name)
                if self._album is not None:
                    self._album.note(embeddings, first + added)
                added += len(embeddings)
            if not added:
                raise too_short(name)
            sha256 = identify()
        except VideoError as error:
            self._values.seek(marks[0])
            self._cells.seek(marks[1])
            del self._vectors[marks[2] :], self._times[marks[2] :], self._counts[marks[2] :]
            if not self.videos:
                self.grid_shape = self._required_shape
            self._walls = [one for one in self._walls if one[0] < first]
            self._pictures = {row: jpeg for row, jpeg in self._pictures.items() if row < first}
            if self._album is not None:
                self._album.forget(first)
            self.failures.append(Failure(name, error.reason))
            return False
        self.videos.append(EmbeddedVideo(name, path, first, first + added, label, sha256, fps))
        return True

    def _append(self, embeddings: Embeddings, name: str) -> None:
        grid = embeddings.grid if self._keep_grids else None
        shape = (0, 0, 0) if grid is None else (grid.shape[1], grid.shape[2], grid.shape[3])
        if self.grid_shape is None:
            self.grid_shape = shape
        elif shape != self.grid_shape:
            problem = f"its picture has another shape than the other videos (grid {shape[:2]}, {self.grid_shape[:2]})"
            raise VideoError(name, problem, "learn one detector per camera view")
        counts = np.zeros(len(embeddings), dtype=np.int64)
        if grid is not None:
            held = grid.any(axis=-1).reshape(len(grid), -1)
            counts = held.sum(axis=1)
            try:
                self._values.write(grid.reshape(*held.shape, -1)[held].astype(np.float32).tobytes())
                self._cells.write(np.nonzero(held)[1].astype(np.int32).tobytes())
            except OSError as error:
                raise self._cannot_grow(error) from error
        self._vectors.append(embeddings.vector.astype(np.float32))
        self._times.append(np.stack([embeddings.start_seconds, embeddings.end_seconds], axis=1))
        self._counts.append(counts)

    def _cannot_grow(self, error: OSError) -> OddwatchError:
        why = error.strerror or error
        return OddwatchError(
            f"{self._folder.name} cannot be written: {why} (free some space, or set TMPDIR to a disk with more)"
        )

    def freeze(self) -> StoredEmbeddings:
        """What has been added so far, for reading. Stays valid until the store is left."""
        try:
            self._values.flush()
            self._cells.flush()
        except OSError as error:
            raise self._cannot_grow(error) from error
        counts = np.concatenate(self._counts) if self._counts else np.zeros(0, dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(counts)])
        columns = self.grid_shape[2] if self.grid_shape else 0
        rows = int(ends[-1])
        offsets = np.full(len(counts), np.nan)
        for start, end, offset in self._walls:
            offsets[start:end] = offset
        values: Any = np.zeros((0, columns), np.float32)
        cells: Any = np.zeros(0, np.int32)
        if rows:  # an empty file cannot be mapped
            values = _OnDisk(self._values.name, np.float32, (rows, columns))
            cells = _OnDisk(self._cells.name, np.int32, (rows,))
        return StoredEmbeddings(
            videos=tuple(self.videos),
            vectors=np.concatenate(self._vectors) if self._vectors else np.zeros((0, 0), np.float32),
            times=np.concatenate(self._times) if self._times else np.zeros((0, 2)),
            grid_shape=self.grid_shape if columns else None,
            values=values,
            cells=cells,
            row_bounds=np.stack([ends[:-1], ends[1:]], axis=1),
            wall_offsets=offsets,
            pictures={**self._pictures, **(self._album.pictures if self._album is not None else {})},
        )


class _OnDisk:
    """An array in a file, of which only what is asked for is in memory: a lasting map of it would fill memory with all
    that was ever read.
    """

    def __init__(self, path: str, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        self._path, self._dtype, self._shape = path, dtype, shape

    def __getitem__(self, rows: slice | Indices) -> NDArray[Any]:
        return np.array(np.memmap(self._path, self._dtype, "r", shape=self._shape)[rows])


@dataclass(frozen=True, eq=False)
class StoredEmbeddings:
    """N embeddings for reading. vectors: (N, D). times: (N, 2) start and end in seconds of their video.

    values: (rows, d) of the cells that hold something, cells: (rows,) which cell of the flattened grid, row_bounds:
    (N, 2) where the rows of each embedding begin and end. wall_offsets: (N,) from its times to seconds since 1970, nan
    where that is not known; None: nowhere. pictures: JPEG of some of the embeddings, by position.
    """

    videos: tuple[EmbeddedVideo, ...]
    vectors: Rows
    times: FloatArray
    grid_shape: tuple[int, int, int] | None
    values: Any
    cells: Any
    row_bounds: Indices
    wall_offsets: FloatArray | None = None
    pictures: Mapping[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def video_of(self) -> Indices:
        """(N,) index into `videos` of each embedding."""
        return np.repeat(np.arange(len(self.videos)), [v.last - v.first for v in self.videos])

    def grids(self, first: int, last: int) -> Rows:
        """(last - first, Gh, Gw, d) float32."""
        assert self.grid_shape is not None
        height, width, columns = self.grid_shape
        dense = np.zeros((last - first, height * width, columns), dtype=np.float32)
        bounds = self.row_bounds[first:last]
        apart = [0, *(np.flatnonzero(bounds[1:, 0] != bounds[:-1, 1]) + 1), len(bounds)]  # videos may be left out
        for i, j in pairwise(apart):
            if i == j:
                continue
            rows = slice(bounds[i, 0], bounds[j - 1, 1])
            which = np.repeat(np.arange(i, j), bounds[i:j, 1] - bounds[i:j, 0])
            dense[which, self.cells[rows]] = self.values[rows]
        return dense.reshape(last - first, height, width, columns)

    def only(self, *videos: int) -> StoredEmbeddings:
        """These videos alone."""
        return self._select([i for i in range(len(self.videos)) if i in videos])

    def without(self, *videos: int) -> StoredEmbeddings:
        """All videos but these."""
        return self._select([i for i in range(len(self.videos)) if i not in videos])

    def _select(self, videos: Sequence[int]) -> StoredEmbeddings:
        """Rows stay where they are; only the small arrays are copied."""
        kept = [self.videos[i] for i in videos]
        items = np.concatenate([np.arange(0), *(np.arange(v.first, v.last) for v in kept)])
        renumbered, first = [], 0
        for video in kept:
            last = first + video.last - video.first
            renumbered.append(replace(video, first=first, last=last))
            first = last
        place = {int(item): new for new, item in enumerate(items)} if self.pictures else {}
        return replace(
            self,
            videos=tuple(renumbered),
            vectors=self.vectors[items],
            times=self.times[items],
            row_bounds=self.row_bounds[items],
            wall_offsets=None if self.wall_offsets is None else self.wall_offsets[items],
            pictures={place[row]: jpeg for row, jpeg in self.pictures.items() if row in place},
        )

    def sample_rows(self, items: Indices, *, most: int, seed: int, run: int = 0) -> tuple[Rows, Indices, Indices]:
        """At most `most` cells drawn evenly from the embeddings `items`: values (m, d), cells (m,), embedding (m,).

        run: draw embeddings, so many that follow each other at a time and each with all of its cells, until there are
        about so many.
        """
        rng = np.random.default_rng(seed)
        total = int((self.row_bounds[items, 1] - self.row_bounds[items, 0]).sum())
        if run and total > most:
            run_of = np.arange(len(items)) // run
            runs = int(run_of[-1]) + 1
            items = items[np.isin(run_of, rng.choice(runs, max(runs * most // total, 1), replace=False))]
        begins = self.row_bounds[items, 0]
        counts = self.row_bounds[items, 1] - begins
        total = int(counts.sum())
        picked = np.arange(total) if run or total <= most else np.sort(rng.choice(total, most, replace=False))
        ends = np.cumsum(counts)
        which = np.searchsorted(ends, picked, side="right")
        rows = begins[which] + picked - (ends[which] - counts[which])
        return np.asarray(self.values[rows]), np.asarray(self.cells[rows], dtype=np.int64), items[which]
