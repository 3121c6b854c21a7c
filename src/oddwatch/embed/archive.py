"""Any number of videos -> embeddings that are kept: decoding ahead of the network, batches across videos, resumable."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oddwatch.backbones import Backbone
from oddwatch.backbones.clips import ClipBackbone, Pixels
from oddwatch.embed.cache import EmbeddingCache, EntryWriter
from oddwatch.embed.stream import clips_of, embed_video, too_short
from oddwatch.errors import UsageError, VideoError, WeightsError
from oddwatch.types import Embeddings, Failure, VideoInfo
from oddwatch.video import display_name, prefetch
from oddwatch.windows import Window


@dataclass(frozen=True)
class Job:
    """One video to embed. index: its place among all. fps: of a folder of frames."""

    index: int
    path: str
    fps: float | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """What became of the video of job `index`: its next embeddings, or its end, with the failure if there was one."""

    index: int
    info: VideoInfo | None = None
    embeddings: Embeddings | None = None
    failure: Failure | None = None

    @property
    def last(self) -> bool:
        """Nothing more comes of this video."""
        return self.embeddings is None


Embed = Callable[[Iterable[Job]], Iterator[Part]]
Map = Callable[[Embed, Sequence[Job]], Iterator[Part]]
"""Runs `embed` on all jobs, here or elsewhere. Parts of one video come in order and end with the last one."""


def local_map(embed: Embed, jobs: Sequence[Job]) -> Iterator[Part]:
    """In this process."""
    return embed(jobs)


@dataclass(frozen=True)
class Archive:
    """What `embed_archive` did: videos embedded now, videos that were kept already, clips embedded now, failures; and
    the file that each path is kept in now.
    """

    embedded: int
    kept: int
    clips: int
    seconds: float
    failures: tuple[Failure, ...]
    files: dict[str, Path]


@dataclass(frozen=True)
class ArchiveProgress:
    """How far it is: videos done of `videos` to embed, clips, the share of the work (0..1), seconds since the start."""

    done: int
    videos: int
    clips: int
    share: float
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """If it goes on as it went, None when nothing is done yet."""
        return self.seconds * (1 - self.share) / self.share if self.share else None


def embed_archive(
    jobs: Sequence[Job],
    backbone: Backbone,
    cache: EmbeddingCache,
    *,
    grids: bool = False,
    workers: int | None = None,
    map: Map = local_map,
    progress: Callable[[ArchiveProgress], None] | None = None,
) -> Archive:
    """Embed the videos that `cache` does not have yet, and keep each as soon as it is finished.

    grids: keep the grids too. workers: threads that decode, by default one per core, four at most. A video that cannot
    be used is reported and does not stop the others. Raises WeightsError before any work, CacheError when the folder
    cannot be written.
    """
    began = time.monotonic()
    backbone.weights_sha256()  # what is missing is said before any work
    cache.require_writable()
    failures: list[Failure] = []
    missing: list[Job] = []
    files: dict[str, Path] = {}
    for job in jobs:
        try:
            entry = cache.find(job.path, backbone, grids=grids, fps=job.fps)
        except VideoError as error:
            failures.append(Failure(error.source, error.reason))
            continue
        if entry is None:
            missing.append(job)
        else:
            files[job.path] = entry.file
        if progress:
            progress(ArchiveProgress(0, len(jobs), 0, 0.0, time.monotonic() - began))
    kept = len(files)
    by_index = {job.index: job for job in missing}
    sizes = {job.index: _size(job.path) for job in missing}
    total = max(sum(sizes.values()), 1)
    writers: dict[int, EntryWriter] = {}
    embedded = clips = finished_size = 0
    under_way: dict[int, float] = {}
    embed = Embedder(backbone, backbone.identity(), grids, workers or min(os.cpu_count() or 1, 4))
    for part in map(embed, missing):
        job = by_index[part.index]
        if part.info is not None and part.embeddings is not None:
            if part.index not in writers:
                writers[part.index] = cache.writer(job.path, backbone, grids=grids, fps=job.fps)
            writers[part.index].add(part.info, part.embeddings)
            clips += len(part.embeddings)
            share = float(part.embeddings.end_seconds[-1]) / (part.info.duration_seconds or math.inf)
            under_way[part.index] = min(share, 1.0) * sizes[part.index]
        else:
            failure = part.failure
            if (writer := writers.pop(part.index, None)) is not None and failure is None:
                try:
                    writer.finish()
                    embedded += 1
                    files[job.path] = writer.file
                except VideoError as error:
                    failure = Failure(error.source, error.reason)
            if failure is not None:
                failures.append(failure)
            under_way.pop(part.index, None)
            finished_size += sizes[part.index]
        if progress:
            share = (finished_size + sum(under_way.values())) / total
            done = embedded + len(failures)
            progress(ArchiveProgress(done, len(missing), clips, share, time.monotonic() - began))
    return Archive(embedded, kept, clips, time.monotonic() - began, tuple(failures), files)


@dataclass(frozen=True)
class Embedder:
    """Embeds videos here, in this process. A value that can be sent to another process and used there."""

    backbone: Backbone
    identity: dict[str, Any]
    grids: bool
    workers: int

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Part]:
        """Parts of the videos; those of several can be mixed, those of one are in order and end with the last one.

        Raises WeightsError where the weights or the code are not those of whoever sent this.
        """
        if self.backbone.identity() != self.identity:
            raise WeightsError(
                f"{self.backbone.record.name} is another one here, in its weights or its version, than where the work "
                "was asked for: install the same on every machine"
            )
        if isinstance(self.backbone, ClipBackbone):
            return self._across_videos(jobs, self.backbone)
        return (part for job in jobs for part in self._one_by_one(job))

    def _one_by_one(self, job: Job) -> Iterator[Part]:
        empty = True
        try:
            for info, embeddings in embed_video(job.path, self.backbone, fps=job.fps):
                empty = False
                yield Part(job.index, info, self._wanted(embeddings))
            if empty:
                raise too_short(display_name(job.path))
        except (VideoError, UsageError) as error:
            yield Part(job.index, failure=_failure(job, error))
        else:
            yield Part(job.index)

    def _across_videos(self, jobs: Iterable[Job], backbone: ClipBackbone) -> Iterator[Part]:
        """Clips of several videos share a batch; every batch is full, so that a clip gives the same in any company."""
        todo, taking = iter(jobs), threading.Lock()

        def decode() -> Iterator[_Decoded]:
            while True:
                with taking:
                    job = next(todo, None)
                if job is None:
                    return
                try:
                    for info, clip in clips_of(job.path, backbone, fps=job.fps):
                        yield job.index, info, clip
                except (VideoError, UsageError) as error:
                    yield job.index, _failure(job, error), None
                else:
                    yield job.index, None, None

        waiting: list[_Decoded] = []
        clips = 0
        for decoded in prefetch(*(decode() for _ in range(self.workers)), frames=backbone.batch + self.workers):
            waiting.append(decoded)
            clips += decoded[2] is not None
            if clips == backbone.batch or clips == 0:
                yield from self._embedded(waiting, backbone)
                waiting, clips = [], 0
        yield from self._embedded(waiting, backbone)

    def _embedded(self, decoded: Sequence[_Decoded], backbone: ClipBackbone) -> Iterator[Part]:
        clips = [clip for _, _, clip in decoded if clip is not None]
        found = self._wanted(backbone.embed_windows(clips, pad=True)) if clips else None
        row = 0
        for index, said, clip in decoded:
            if clip is None:
                yield Part(index, failure=said if isinstance(said, Failure) else None)
            else:
                assert found is not None
                assert isinstance(said, VideoInfo)
                yield Part(index, said, found[row : row + 1])
                row += 1

    def _wanted(self, embeddings: Embeddings) -> Embeddings:
        return embeddings if self.grids else replace(embeddings, grid=None)


_Decoded = tuple[int, VideoInfo | Failure | None, Window[Pixels] | None]
"""Job index; then what a clip is from, or how its video ended; then the clip, if it is one."""


def _failure(job: Job, error: VideoError | UsageError) -> Failure:
    """Of one video; the others can still be embedded."""
    if isinstance(error, VideoError):
        return Failure(error.source, error.reason)
    return Failure(display_name(job.path), str(error))


def _size(path: str) -> int:
    """What the work is in proportion to, as far as can be known without opening anything; 1 at least."""
    place = Path(path)
    files = place.iterdir() if place.is_dir() else [place]
    try:
        return max(sum(file.stat().st_size for file in files), 1)
    except OSError:
        return 1
