"""The first day of a camera: what it sees is collected on disk, then a detector learns from it and is saved.

What was collected survives the process: parts of a minute, each written at once, in a folder beside the detector's.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.backbones import Backbone
from oddwatch.detector import Detector
from oddwatch.embed import Album, EmbeddingStore, SeenPart, StoredEmbeddings
from oddwatch.errors import DetectorError, NotEnoughVideoError
from oddwatch.files import write_bytes
from oddwatch.monitor.records import Learning, Readiness
from oddwatch.types import Embeddings, FloatArray, Frame, ScoreTrack, covered_seconds

_log = logging.getLogger(__name__)
_PART_SECONDS = 60.0
_PIECE_SECONDS = 10.0
_FAR_OUT = 3.0  # quartile distances above the upper quartile: what Tukey called far out
_MOST_LEFT_OUT = 0.05
_PICTURES = 512
_RATES = (("1/hour", 1.0), ("1/day", 24.0), ("1/week", 168.0))


@dataclass(frozen=True)
class _Part:
    session: int
    first_seconds: float
    path: Path


class Collection:
    """Embeddings of one camera that are being collected, in `folder`.

    Every start of the process is a session: a recording of its own, because the times of two cannot be compared.
    Embeddings of another backbone or another picture are refused with a DetectorError. wanted_seconds: of video in all;
    pictures are kept so rarely that there are a few hundred.
    """

    def __init__(self, folder: Path, backbone: Backbone, *, wanted_seconds: float = 86_400.0) -> None:
        self._folder = folder
        self._waiting: list[Embeddings] = []
        self._rows = 0
        self._album = Album(stretch_seconds=max(wanted_seconds / _PICTURES, 0.5))
        self._seconds = 0.0
        self.moments = 0
        folder.mkdir(parents=True, exist_ok=True)
        identity = json.dumps(backbone.identity(), sort_keys=True)
        described = folder / "backbone.json"
        if described.exists() and described.read_text(encoding="utf-8") != identity:
            raise DetectorError(f"{folder} holds what another backbone has seen: remove it to begin again")
        write_bytes(described, identity.encode())
        parts = self._parts()
        self._session = max((part.session for part in parts), default=-1) + 1
        self._wall = 0.0
        for part in parts:
            with np.load(part.path) as arrays:
                self._count(arrays["start"], arrays["end"])

    @property
    def seconds(self) -> float:
        """Of video that was seen, gaps left out."""
        return self._seconds

    def see(self, frame: Frame) -> None:
        """The next frame, of which a small picture may be kept with its embedding."""
        self._album.see(frame)

    def add(self, embeddings: Embeddings, *, wall_offset: float) -> None:
        """Keep what has been seen. wall_offset: from its times to seconds since 1970. Raises OSError, when a part
        cannot be written; what waits for it stays.
        """
        self._waiting.append(embeddings)
        self._album.note(embeddings, self._rows)
        self._rows += len(embeddings)
        self._wall = wall_offset
        self._count(embeddings.start_seconds, embeddings.end_seconds)
        if self._waiting[-1].end_seconds[-1] - self._waiting[0].start_seconds[0] >= _PART_SECONDS:
            self.flush()

    def _count(self, start: FloatArray, end: FloatArray) -> None:
        self._seconds += covered_seconds(start, end)
        self.moments += len(start)

    def flush(self) -> None:
        """Write what waits. Raises OSError."""
        if not self._waiting:
            return
        joined = Embeddings.concatenate(self._waiting)
        arrays: dict[str, Any] = {"vector": joined.vector, "start": joined.start_seconds, "end": joined.end_seconds}
        arrays["wall_offset"] = np.array(self._wall)
        if joined.grid is not None:
            held = joined.grid.any(axis=-1)
            arrays |= {"values": joined.grid[held], "held": np.packbits(held), "shape": np.array(joined.grid.shape)}
        pictures = self._album.pictures
        arrays |= {f"picture {row}": np.frombuffer(jpeg, np.uint8) for row, jpeg in pictures.items()}
        data = io.BytesIO()
        np.savez(data, **arrays)
        name = f"{self._session:04d}-{joined.start_seconds[0]:017.3f}.npz"
        write_bytes(self._folder / name, data.getvalue())
        self._waiting.clear()
        self._album.take()
        self._rows = 0

    def _parts(self) -> list[_Part]:
        found = []
        for path in sorted(self._folder.glob("*.npz")):
            session, _, first = path.stem.partition("-")
            found.append(_Part(int(session), float(first), path))
        return found

    def sessions(self) -> Iterator[tuple[str, Iterator[SeenPart]]]:
        """(name, parts) of each, in order."""
        for session, parts in groupby(self._parts(), key=lambda part: part.session):
            yield f"session {session + 1}", (_read(part.path) for part in parts)

    def remove(self) -> None:
        """It has been learned from."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _read(path: Path) -> SeenPart:
    with np.load(path) as arrays:
        grid = None
        if "shape" in arrays:
            shape = tuple(int(n) for n in arrays["shape"])
            grid = np.zeros(shape, np.float32)
            held = np.unpackbits(arrays["held"], count=int(np.prod(shape[:3]))).reshape(shape[:3]).astype(bool)
            grid[held] = arrays["values"]
        embeddings = Embeddings(arrays["vector"], grid, arrays["start"], arrays["end"])
        named = [(name, name.partition("picture ")[2]) for name in arrays.files]
        pictures = {int(row): arrays[name].tobytes() for name, row in named if row}
        return SeenPart(embeddings, float(arrays["wall_offset"]), pictures)


def certified(seconds: float) -> str:
    """The rarest budget that so much video can certify, such as `1/hour`; `none yet` below an hour."""
    return next((name for name, hours in reversed(_RATES) if seconds >= 3600 * hours), "none yet")


def learn(
    collection: Collection,
    learning: Learning,
    folder: Path,
    *,
    camera: str,
    progress: Callable[[str, float, float | None], None] | None = None,
) -> tuple[Detector, Readiness]:
    """Learn from what was collected, save the detector in `folder`, forget the collection.

    A few unusual moments do no harm: pieces of 10 s whose highest held-out score is far out, in Tukey's sense, of those
    of all pieces (at most 5% of them) are left out, and it learns once more. Raises NotEnoughVideoError, DetectorError.
    """
    collection.flush()
    first = _fit(collection, learning, (), progress)
    settling = first.grouping.settling_seconds
    left_out = _far_out(first.calibration.tracks, settling) if learning.trim else ()
    detector = _fit(collection, learning, left_out, progress) if left_out else first
    detector.save(folder)
    walls = tuple(_wall_times(collection, left_out))
    ready = Readiness(
        camera=camera,
        seconds=collection.seconds,
        wanted_seconds=learning.seconds,
        moments=collection.moments,
        certified=certified(collection.seconds),
        stable=_stability(detector.calibration.tracks),
        left_out=walls,
        armed=True,
        says=detector.threshold.says,
    )
    collection.remove()
    return detector, ready


Stretch = tuple[str, float, float]
"""Session, from, to."""


def _fit(
    collection: Collection,
    learning: Learning,
    left_out: Sequence[Stretch],
    progress: Callable[[str, float, float | None], None] | None,
) -> Detector:
    detector = learning.detector()
    with EmbeddingStore(keep_grids=detector.on == "grid") as store:
        for name, parts in collection.sessions():
            skipped = [(start, end) for session, start, end in left_out if session == name]
            store.add_parts(name, (kept for part in parts if len((kept := _without(part, skipped)).embeddings)))
        for failure in store.failures:
            _log.warning("left out of learning: %s", failure)
        if not store.videos:
            raise NotEnoughVideoError("nothing that was seen can be learned from: let the camera see more")
        stored: StoredEmbeddings = store.freeze()
        return detector.fit(stored, progress=progress)


def _without(part: SeenPart, skipped: Sequence[tuple[float, float]]) -> SeenPart:
    seen = part.embeddings
    keep = np.ones(len(seen), dtype=bool)
    for start, end in skipped:
        keep &= (seen.end_seconds <= start) | (seen.start_seconds >= end)
    if keep.all():
        return part
    grid = None if seen.grid is None else seen.grid[keep]
    kept = Embeddings(seen.vector[keep], grid, seen.start_seconds[keep], seen.end_seconds[keep])
    place = np.cumsum(keep) - 1
    pictures = {int(place[row]): jpeg for row, jpeg in part.pictures.items() if keep[row]}
    return SeenPart(kept, part.wall_offset, pictures)


def _far_out(tracks: Sequence[ScoreTrack], settling_seconds: float) -> tuple[Stretch, ...]:
    """settling_seconds: before a track began, which holds what the beginning of the track does."""
    pieces: list[tuple[float, Stretch]] = []
    for track in tracks:
        number = np.floor((track.end_seconds - track.end_seconds[0]) / _PIECE_SECONDS)
        for one in np.unique(number):
            inside = np.flatnonzero(number == one)
            start, end = float(track.start_seconds[inside[0]]), float(track.end_seconds[inside[-1]])
            start -= settling_seconds if one == 0 else 0.0
            pieces.append((float(track.scores[inside].max()), (track.source, start, end)))
    peaks = np.log1p([peak for peak, _ in pieces])
    lower, upper = np.quantile(peaks, (0.25, 0.75))
    most = int(_MOST_LEFT_OUT * len(pieces))
    far = [place for place in np.argsort(-peaks)[:most] if peaks[place] > upper + _FAR_OUT * max(upper - lower, 0.05)]
    return tuple(sorted(pieces[place][1] for place in far))


def _wall_times(collection: Collection, left_out: Sequence[Stretch]) -> Iterator[tuple[float, float]]:
    offsets = {name: next(parts).wall_offset for name, parts in collection.sessions()}
    for session, start, end in left_out:
        yield start + offsets[session], end + offsets[session]


def _stability(tracks: Sequence[ScoreTrack]) -> float | None:
    """How alike the highest percent of the scores is in both halves of the time: 1 the same, 0 nothing alike."""
    scores = np.concatenate([track.scores for track in tracks])
    if len(scores) < 200:
        return None
    high = [float(np.quantile(half, 0.99)) for half in np.array_split(scores, 2)]
    return min(high) / max(high) if max(high) > 0 else None
