"""Embeddings that are kept: a folder of safetensors files, found again by all that they depend on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from oddwatch.backbones import Backbone
from oddwatch.embed.stream import Progress, embed_video, fingerprint
from oddwatch.errors import CacheError
from oddwatch.files import write_bytes
from oddwatch.types import Embeddings, VideoInfo
from oddwatch.video import display_name, is_url

log = logging.getLogger(__name__)
_FORMAT = 1
_HEADER = "oddwatch"
_ENDING = ".safetensors"
PART_BYTES = 64 << 20
"""Embeddings are written in parts of about this size, so that memory does not grow with the video."""


@dataclass(frozen=True)
class Entry:
    """One video that is kept: `file` and, when it is long, the `parts` files before it.

    backbone, options: what builds the backbone again; identity: all that its embeddings depend on. clips: number
    of embeddings. grids: whether their grids are kept too. sha256: of the video, None for a stream. fps: of a folder of
    frames.
    """

    file: Path
    path: str
    sha256: str | None
    fps: float | None
    info: VideoInfo
    backbone: str
    options: dict[str, Any]
    identity: dict[str, Any]
    clips: int
    grids: bool
    parts: int

    @property
    def files(self) -> list[Path]:
        """In order of time. The last one has the header; when it is there, the others are."""
        return [*(_part(self.file, number) for number in range(self.parts)), self.file]

    def read(self) -> Iterator[tuple[VideoInfo, Embeddings]]:
        """Its embeddings in order of time, a part at a time. Raises CacheError."""
        for file in self.files:
            try:
                a = load_file(file)
                yield self.info, Embeddings(a["vector"], a.get("grid"), a["start_seconds"], a["end_seconds"])
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                raise CacheError(f"{file} is damaged or gone (delete {self.file.name} and embed again)") from error


class EmbeddingCache:
    """A folder of embeddings of any videos and backbones.

    What is found depends on the bytes of the video, its frame rate where that is given, and the identity of the
    backbone: class, options, checksum of the weights, version. Reading from several processes and writing to it at the
    same time is safe; a crash leaves a video kept or not kept.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def find(
        self,
        path: str,
        backbone: Backbone,
        *,
        grids: bool,
        fps: float | None = None,
        view: Mapping[str, Any] | None = None,
    ) -> Entry | None:
        """What is kept of this video; None when nothing is, or not the grids that are asked for, or it is a stream.

        view: what was done to its pixels before the backbone saw them, as JSON types; it is part of the identity.
        A damaged file counts as nothing and is logged. Raises VideoError, WeightsError.
        """
        if (sha256 := fingerprint(path)) is None:
            return None
        file = self._file(sha256, _identity(backbone, view), path, fps)
        if not file.exists():
            return None
        try:
            entry = _read_header(file)
        except CacheError as error:
            log.warning("%s", error)
            return None
        return entry if entry.grids or not grids else None

    def entries(self) -> list[Entry]:
        """All that is kept, in order of the paths the videos had. Raises CacheError for a damaged file."""
        files = [f for f in self.folder.glob(f"*{_ENDING}") if len(f.stem) == 64]
        return sorted(map(_read_header, files), key=lambda entry: (entry.path, entry.file))

    def writer(
        self,
        path: str,
        backbone: Backbone,
        *,
        grids: bool,
        fps: float | None = None,
        view: Mapping[str, Any] | None = None,
    ) -> EntryWriter:
        """What keeps the embeddings of one video, or of a view of it. Those of a stream are never found again. Raises
        VideoError.
        """
        sha256 = fingerprint(path)
        identity = _identity(backbone, view)
        file = self._file(sha256, identity, path, fps)
        header = {
            "format": _FORMAT,
            "path": path if sha256 is not None else display_name(path),
            "sha256": sha256,
            "fps": fps if Path(path).is_dir() else None,
            "backbone": backbone.name or identity["class"],
            "options": backbone.options(),
            "identity": identity,
        }
        return EntryWriter(file, header, grids)

    def _file(self, sha256: str | None, identity: dict[str, Any], path: str, fps: float | None) -> Path:
        depends_on = [_FORMAT, sha256 or uuid4().hex, fps if Path(path).is_dir() else None, identity]
        key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{key}{_ENDING}"


class EntryWriter:
    """Keeps the embeddings of one video, of which there is at least one. Nothing is kept unless `finish` is called."""

    def __init__(self, file: Path, header: dict[str, Any], grids: bool) -> None:
        self._file, self._header, self._grids = file, header, grids
        self._waiting: list[Embeddings] = []
        self._info: VideoInfo | None = None
        self._clips = self._parts = 0

    def add(self, info: VideoInfo, embeddings: Embeddings) -> None:
        """The next embeddings. Raises CacheError when the folder cannot be written."""
        self._info = info
        self._clips += len(embeddings)
        grid = embeddings.grid if self._grids else None
        self._waiting.append(Embeddings(embeddings.vector, grid, embeddings.start_seconds, embeddings.end_seconds))
        if sum(a.nbytes for e in self._waiting for a in _arrays(e).values()) >= PART_BYTES:
            self._write(_part(self._file, self._parts), None)
            self._parts += 1

    def finish(self) -> None:
        """The video is over. Raises CacheError."""
        assert self._info is not None
        if not self._waiting:  # the last part became full with the last embedding
            self._parts -= 1
            last = load_file(_part(self._file, self._parts))
            self._waiting = [Embeddings(last["vector"], last.get("grid"), last["start_seconds"], last["end_seconds"])]
        grids = self._grids and self._waiting[0].grid is not None
        header = {**self._header, "info": asdict(self._info), "clips": self._clips, "grids": grids}
        self._write(self._file, {**header, "parts": self._parts})

    def _write(self, file: Path, header: dict[str, Any] | None) -> None:
        arrays = _arrays(Embeddings.concatenate(self._waiting))
        self._waiting = []
        try:
            write_bytes(file, save(arrays, metadata=None if header is None else {_HEADER: json.dumps(header)}))
        except OSError as error:
            raise CacheError(
                f"{file.parent} cannot be written: {error.strerror or error} (free some space or choose another folder)"
            ) from error


def cached_video(
    path: str,
    backbone: Backbone,
    cache: EmbeddingCache | None,
    *,
    grids: bool,
    fps: float | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[VideoInfo, Embeddings]]:
    """As `embed_video`, but what `cache` has is taken from it, and what it has not is kept in it when the video ends.

    A stream never comes again, so it is not kept.

    Raises VideoError, WeightsError, CacheError.
    """
    if cache is None or is_url(path):
        yield from embed_video(path, backbone, fps=fps, progress=progress)
        return
    if (entry := cache.find(path, backbone, grids=grids, fps=fps)) is not None:
        yield from entry.read()
        return
    writer = None
    for info, embeddings in embed_video(path, backbone, fps=fps, progress=progress):
        writer = writer or cache.writer(path, backbone, grids=grids, fps=fps)
        writer.add(info, embeddings)
        yield info, embeddings
    if writer is not None:
        writer.finish()


def _arrays(embeddings: Embeddings) -> dict[str, NDArray[Any]]:
    """Only what is contiguous can be written."""
    arrays: dict[str, NDArray[Any]] = {
        "vector": np.ascontiguousarray(embeddings.vector, dtype=np.float32),
        "start_seconds": np.ascontiguousarray(embeddings.start_seconds, dtype=np.float64),
        "end_seconds": np.ascontiguousarray(embeddings.end_seconds, dtype=np.float64),
    }
    if embeddings.grid is not None:
        arrays["grid"] = np.ascontiguousarray(embeddings.grid, dtype=np.float32)
    return arrays


def _identity(backbone: Backbone, view: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**backbone.identity(), **({"view": dict(view)} if view else {})}


def _part(file: Path, number: int) -> Path:
    return file.with_name(f"{file.stem}.{number:05d}{_ENDING}")


def _read_header(file: Path) -> Entry:
    try:
        with safe_open(file, framework="numpy") as opened:
            header = json.loads((opened.metadata() or {})[_HEADER])
        if header.pop("format") != _FORMAT:
            raise CacheError(f"{file} is of another version of oddwatch (delete it and embed again)")
        return Entry(file=file, **{**header, "info": VideoInfo(**header["info"])})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{file} is damaged or no file of embeddings (delete it and embed again)") from error
