"""Embeddings that are kept: a folder of safetensors files, found again by all that they depend on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from oddwatch.backbones import Backbone
from oddwatch.embed.stream import Progress, See, embed_video, fingerprint
from oddwatch.errors import CacheError, VideoError
from oddwatch.files import write_bytes
from oddwatch.types import Embeddings, VideoInfo
from oddwatch.video import display_name, is_url

log = logging.getLogger(__name__)
_FORMAT = 1
_HEADER = "oddwatch"
_ENDING = ".safetensors"
COLLECTED = "embedded.json"
PART_BYTES = 64 << 20
"""Embeddings are written in parts of about this size, so that memory does not grow with the video."""


@dataclass(frozen=True, eq=False)
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
    parts: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        """In order of time. The last one has the header; it is written when the others are there."""
        return [*(self.file.with_name(part) for part in self.parts), self.file]

    def read(self) -> Iterator[tuple[VideoInfo, Embeddings]]:
        """Its embeddings in order of time, a part at a time. Raises CacheError."""
        rows = 0
        for file in self.files:
            try:
                a = load_file(file)
                found = Embeddings(a["vector"], a.get("grid"), a["start_seconds"], a["end_seconds"])
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                raise CacheError(f"{file} is damaged or gone (delete {self.file.name} and embed again)") from error
            rows += len(found)
            yield self.info, found
        if rows != self.clips:
            raise CacheError(f"{self.file} has {rows} embeddings, not {self.clips} (delete it and embed again)")


class EmbeddingCache:
    """A folder of embeddings of any videos and backbones.

    What is found depends on the bytes of the video, its frame rate where that is given, and the identity of the
    backbone: class, options, checksum of the weights, version. Reading from several processes and writing to it at the
    same time is safe; a crash leaves a video kept or not kept.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._seen: dict[str, str] = {}
        """sha256 of what was looked for and not found, by path: what is embedded next is kept under it."""

    def require_writable(self) -> None:
        """Raises CacheError when nothing can be kept in it: better before the work than after."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

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
        self._seen[path] = sha256
        if not file.exists():
            return None
        try:
            entry = _read_header(file)
            if gone := [part for part in entry.files if not part.exists()]:
                raise CacheError(f"{gone[0]} is gone: the video is embedded again")
        except CacheError as error:
            log.warning("%s", error)
            return None
        return entry if entry.grids or not grids else None

    def entries(self) -> list[Entry]:
        """All that is kept, in order of the paths the videos had. Raises CacheError for a damaged file."""
        files = [f for f in self.folder.glob(f"*{_ENDING}") if len(f.stem) == 64]
        return _in_order(map(_read_header, files))

    def collect(self, labels: Mapping[Path, str]) -> None:
        """Note what `oddwatch embed` was asked for, file -> class of the video: what can be learned from as a whole.

        What was noted before stays, but for older embeddings of the same path by the same backbone. Raises CacheError.
        """
        noted = self._noted()
        new = {_read_header(file): label for file, label in labels.items()}
        replaced = {(entry.path, _canonical(entry.identity), entry.fps) for entry in new}
        kept = {
            name: label
            for name, label in noted.items()
            if (file := self.folder / name).exists()
            and ((old := _read_header(file)).path, _canonical(old.identity), old.fps) not in replaced
        }
        found = {**kept, **{entry.file.name: label for entry, label in new.items()}}
        try:
            write_bytes(self.folder / COLLECTED, json.dumps(found, indent=0, sort_keys=True).encode())
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def collected(self) -> dict[Entry, str]:
        """Class of each video that was noted by `collect`, in order of the paths. Raises CacheError."""
        labels = {_read_header(self.folder / name): label for name, label in self._noted().items()}
        return {entry: labels[entry] for entry in _in_order(labels)}

    def _noted(self) -> dict[str, str]:
        file = self.folder / COLLECTED
        try:
            found: dict[str, str] = json.loads(file.read_bytes()) if file.exists() else {}
        except (OSError, ValueError) as error:
            raise CacheError(f"{file} is damaged (delete it and run oddwatch embed again)") from error
        return found

    def writer(
        self,
        path: str,
        backbone: Backbone,
        *,
        grids: bool,
        fps: float | None = None,
        view: Mapping[str, Any] | None = None,
    ) -> EntryWriter:
        """What keeps the embeddings of one video, or of a view of it, under what the video was when `find` looked for
        it. Those of a stream are never found again. Raises VideoError.
        """
        sha256 = self._seen.pop(path, None) or fingerprint(path)
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
        return EntryWriter(file, header, grids, path)

    def _file(self, sha256: str | None, identity: dict[str, Any], path: str, fps: float | None) -> Path:
        depends_on = [_FORMAT, sha256 or uuid4().hex, fps if Path(path).is_dir() else None, identity]
        key = hashlib.sha256(_canonical(depends_on).encode()).hexdigest()
        return self.folder / f"{key}{_ENDING}"


class EntryWriter:
    """Keeps the embeddings of one video, of which there is at least one. Nothing is kept unless `finish` is called."""

    def __init__(self, file: Path, header: dict[str, Any], grids: bool, path: str) -> None:
        self.file = file
        self._header, self._grids, self._path = header, grids, path
        self._waiting: list[Embeddings] = []
        self._info: VideoInfo | None = None
        self._clips = self._bytes = 0
        self._token = uuid4().hex[:8]  # of two writers of the same video each has its own parts
        self._parts: list[str] = []

    def add(self, info: VideoInfo, embeddings: Embeddings) -> None:
        """The next embeddings. Raises CacheError when the folder cannot be written."""
        self._info = info
        self._clips += len(embeddings)
        grid = embeddings.grid if self._grids else None
        added = Embeddings(embeddings.vector, grid, embeddings.start_seconds, embeddings.end_seconds)
        self._waiting.append(added)
        self._bytes += sum(array.nbytes for array in _arrays(added).values())
        if self._bytes >= PART_BYTES:
            part = self.file.with_name(f"{self.file.stem}.{self._token}.{len(self._parts):05d}{_ENDING}")
            self._write(part, None)
            self._parts.append(part.name)

    def finish(self) -> None:
        """The video is over. Raises CacheError, and VideoError when the video is not what it was before: nothing is
        kept then.
        """
        assert self._info is not None
        if self._header["sha256"] is not None and fingerprint(self._path) != self._header["sha256"]:
            self._forget()
            raise VideoError(display_name(self._path), "it changed while it was read", "try again when it is complete")
        if not self._waiting:  # the last part became full with the last embedding
            last = load_file(self.file.with_name(self._parts.pop()))
            self._waiting = [Embeddings(last["vector"], last.get("grid"), last["start_seconds"], last["end_seconds"])]
        grids = self._grids and self._waiting[0].grid is not None
        header = {**self._header, "info": asdict(self._info), "clips": self._clips, "grids": grids}
        self._write(self.file, {**header, "parts": self._parts})
        for part in self.file.parent.glob(f"{self.file.stem}.*{_ENDING}"):  # of runs that did not come to an end
            if part.name not in self._parts:
                part.unlink(missing_ok=True)

    def _forget(self) -> None:
        for part in self._parts:
            self.file.with_name(part).unlink(missing_ok=True)

    def _write(self, file: Path, header: dict[str, Any] | None) -> None:
        arrays = _arrays(Embeddings.concatenate(self._waiting))
        self._waiting, self._bytes = [], 0
        try:
            write_bytes(file, save(arrays, metadata=None if header is None else {_HEADER: json.dumps(header)}))
        except OSError as error:
            raise _cannot_write(file.parent, error) from error


def cached_video(
    path: str,
    backbone: Backbone,
    cache: EmbeddingCache | None,
    *,
    grids: bool,
    fps: float | None = None,
    progress: Progress | None = None,
    see: See | None = None,
) -> Iterator[tuple[VideoInfo, Embeddings]]:
    """As `embed_video`, but what `cache` has is taken from it, and what it has not is kept in it when the video ends.

    A stream never comes again, so it is not kept. see: of frames of videos that are embedded now.

    Raises VideoError, WeightsError, CacheError.
    """
    if cache is None or is_url(path):
        yield from embed_video(path, backbone, fps=fps, progress=progress, see=see)
        return
    if (entry := cache.find(path, backbone, grids=grids, fps=fps)) is not None:
        name = display_name(path)  # it may have had another when it was embedded
        yield from ((replace(info, name=name), embeddings) for info, embeddings in entry.read())
        return
    writer = None
    for info, embeddings in embed_video(path, backbone, fps=fps, progress=progress, see=see):
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


def _canonical(value: Any) -> str:
    """JSON in which equal values are equal texts: 2 and 2.0 too."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.path, entry.file))


def _cannot_write(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f"{folder} cannot be written: {error.strerror or error} (free some space or choose another folder)"
    )


def _read_header(file: Path) -> Entry:
    try:
        with safe_open(file, framework="numpy") as opened:
            header = json.loads((opened.metadata() or {})[_HEADER])
        if header.pop("format") != _FORMAT:
            raise CacheError(f"{file} is of another version of oddwatch (delete it and embed again)")
        values = {**header, "info": VideoInfo(**header["info"]), "parts": tuple(header["parts"])}
        return Entry(file=file, **values)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{file} is damaged or no file of embeddings (delete it and embed again)") from error
