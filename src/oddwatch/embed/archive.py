"""Any number of videos -> embeddings that are kept: decoding ahead of the network, batches across videos, resumable."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oddwatch.backbones import Backbone
from oddwatch.backbones.clips import ClipBackbone, Pixels
from oddwatch.embed.cache import EmbeddingCache, EntryWriter
from oddwatch.embed.stream import clips_of, embed_video, too_short
from oddwatch.errors import VideoError
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
    """What `embed_archive` did: videos embedded now, videos that were kept already, clips embedded now, failures."""

    embedded: int
    kept: int
    clips: int
    seconds: float
    failures: tuple[Failure, ...]


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
    failures: list[Failure] = []
    missing: list[Job] = []
    for job in jobs:
        try:
            if cache.find(job.path, backbone, grids=grids, fps=job.fps) is None:
                missing.append(job)
        except VideoError as error:
            failures.append(Failure(error.source, error.reason))
    kept = len(jobs) - len(missing) - len(failures)
    by_index = {job.index: job for job in missing}
    sizes = {job.index: _size(job.path) for job in missing}
    writers: dict[int, EntryWriter] = {}
    embedded = clips = finished_size = 0
    under_way: dict[int, float] = {}
    for part in map(Embedder(backbone, grids, workers or min(os.cpu_count() or 1, 4)), missing):
        job = by_index[part.index]
        if part.info is not None and part.embeddings is not None:
            if part.index not in writers:
                writers[part.index] = cache.writer(job.path, backbone, grids=grids, fps=job.fps)
            writers[part.index].add(part.info, part.embeddings)
            clips += len(part.embeddings)
            share = float(part.embeddings.end_seconds[-1]) / (part.info.duration_seconds or math.inf)
            under_way[part.index] = min(share, 1.0) * sizes[part.index]
        else:
            writer = writers.pop(part.index, None)
            if part.failure is not None:
                failures.append(part.failure)
            elif writer is not None:
                writer.finish()
                embedded += 1
            under_way.pop(part.index, None)
            finished_size += sizes[part.index]
        if progress:
            share = (finished_size + sum(under_way.values())) / max(sum(sizes.values()), 1)
            done = embedded + len(failures)
            progress(ArchiveProgress(done, len(missing), clips, share, time.monotonic() - began))
    return Archive(embedded, kept, clips, time.monotonic() - began, tuple(failures))


@dataclass(frozen=True)
class Embedder:
    """Embeds videos here, in this process. A value that can be sent to another process and used there."""

    backbone: Backbone
    grids: bool
    workers: int

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Part]:
        """Parts of the videos; those of several can be mixed, those of one are in order and end with the last one."""
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
        except VideoError as error:
            yield Part(job.index, failure=Failure(error.source, error.reason))
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
                except VideoError as error:
                    yield job.index, Failure(error.source, error.reason), None
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


def _size(path: str) -> int:
    """What the work is in proportion to, as far as can be known without opening anything; 1 at least."""
    place = Path(path)
    files = place.iterdir() if place.is_dir() else [place]
    try:
        return max(sum(file.stat().st_size for file in files), 1)
    except OSError:
        return 1
