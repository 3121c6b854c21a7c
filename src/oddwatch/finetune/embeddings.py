"""Views of clips -> embeddings, made once and kept: a frozen backbone never says anything else of a clip."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones import Backbone
from oddwatch.backbones.clips import ClipBackbone, Pixels
from oddwatch.embed import EmbeddingCache, Entry, cached_video, too_short
from oddwatch.errors import DatasetError, VideoError
from oddwatch.finetune.clips import View, decoded
from oddwatch.types import Failure, VideoInfo
from oddwatch.video import prefetch
from oddwatch.windows import Window

Progress = Callable[[int, int], None]
"""(views embedded, of how many)."""


def embed_views(
    views: Sequence[View],
    backbone: Backbone,
    cache: EmbeddingCache,
    *,
    workers: int,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """(N, D) embeddings of the views, in their order. What `cache` has is taken from it; what it has not is decoded by
    `workers` threads ahead of the network and kept. Of a backbone that sees streams it is the mean over a clip, and
    there are no augmented views. Raises DatasetError, WeightsError, CacheError.
    """
    return np.stack([row for _, row in _embedded(views, backbone, cache, workers, progress, _refuse)])


def embed_usable(
    views: Sequence[View],
    backbone: Backbone,
    cache: EmbeddingCache,
    *,
    workers: int,
    progress: Progress | None = None,
) -> tuple[list[tuple[View, NDArray[np.float32]]], list[Failure]]:
    """The same, but a view that cannot be read is left out and named: (view, its embedding (D,)) of the others."""
    failures: dict[View, Failure] = {}

    def note(view: View, error: VideoError) -> None:
        failures[view] = Failure(view.clip.path, error.reason)

    usable = list(_embedded(views, backbone, cache, workers, progress, note))
    return usable, [failures[view] for view in views if view in failures]


def is_kept(view: View, backbone: ClipBackbone, cache: EmbeddingCache) -> bool:
    """Whether `cache` has the embedding of a view. Raises DatasetError."""
    try:
        return _find(view, backbone, cache) is not None
    except VideoError as error:
        raise DatasetError(f"{error} (prepare the data set again, it drops such clips)") from error


Unread = Callable[[View, VideoError], None]
"""Told of a view that cannot be read."""


def _refuse(view: View, error: VideoError) -> None:
    raise DatasetError(f"{error} (prepare the data set again, it drops such clips)") from error


def _embedded(
    views: Sequence[View],
    backbone: Backbone,
    cache: EmbeddingCache,
    workers: int,
    progress: Progress | None,
    unread: Unread,
) -> Iterator[tuple[View, NDArray[np.float32]]]:
    backbone.weights_sha256()  # what is missing is said before any work
    if isinstance(backbone, ClipBackbone):
        bad: set[View] = set()

        def note(view: View, error: VideoError) -> None:
            bad.add(view)
            unread(view, error)

        _embed_clips(views, backbone, cache, workers, progress, note)
        for view in views:
            if view not in bad:
                entry = _find(view, backbone, cache)
                assert entry is not None
                yield view, np.concatenate([embeddings.vector for _, embeddings in entry.read()])[0]
        return
    for done, view in enumerate(views):
        try:
            row = _mean(view, backbone, cache)
        except VideoError as error:
            unread(view, error)
            continue
        finally:
            if progress:
                progress(done + 1, len(views))
        yield view, row


def _embed_clips(
    views: Sequence[View],
    backbone: ClipBackbone,
    cache: EmbeddingCache,
    workers: int,
    progress: Progress | None,
    unread: Unread,
) -> None:
    """Those that `cache` does not have."""
    missing = []
    for view in views:
        try:
            if _find(view, backbone, cache) is None:
                missing.append(view)
        except VideoError as error:
            unread(view, error)
    groups = iter([list(group) for _, group in groupby(missing, key=lambda view: view.clip.path)])
    taking = threading.Lock()

    def take() -> Iterator[list[View]]:
        while True:
            with taking:
                group = next(groups, None)
            if group is None:
                return
            yield group

    def keep(some: Sequence[tuple[View, Window[Pixels]]]) -> None:
        # Every batch is full, so that a clip gives the same in any company.
        embeddings = backbone.embed_windows([window for _, window in some], pad=True)
        for row, (view, _) in enumerate(some):
            writer = cache.writer(view.clip.path, backbone, grids=False, fps=view.fps, view=view.identity)
            writer.add(_info(view), embeddings[row : row + 1])
            writer.finish()

    threads = [decoded(take(), backbone, unread) for _ in range(min(workers, max(len(missing), 1)))]
    waiting, done = [], 0
    for found in prefetch(*threads, frames=backbone.batch + workers):
        waiting.append(found)
        if len(waiting) == backbone.batch:
            keep(waiting)
            done += len(waiting)
            waiting = []
            if progress:
                progress(done, len(missing))
    if waiting:
        keep(waiting)
    if progress and missing:
        progress(len(missing), len(missing))


def _mean(view: View, backbone: Backbone, cache: EmbeddingCache) -> NDArray[np.float32]:
    assert not view.number
    found = cached_video(view.clip.path, backbone, cache, grids=False, fps=view.fps)
    vectors = [embeddings.vector for _, embeddings in found]
    if not vectors:
        raise too_short(view.clip.path)
    return np.asarray(np.concatenate(vectors).mean(axis=0), dtype=np.float32)


def _find(view: View, backbone: ClipBackbone, cache: EmbeddingCache) -> Entry | None:
    return cache.find(view.clip.path, backbone, grids=False, fps=view.fps, view=view.identity)


def _info(view: View) -> VideoInfo:
    c = view.clip
    return VideoInfo(c.path, c.width_px, c.height_px, c.fps, c.seconds, c.codec)
