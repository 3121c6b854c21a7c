"""Views of clips -> embeddings, made once and kept: a frozen backbone never says anything else of a clip."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones import Backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.embed import EmbeddingCache, Entry, cached_video, too_short
from oddwatch.errors import DatasetError, VideoError
from oddwatch.finetune.clips import View, decoded
from oddwatch.types import VideoInfo
from oddwatch.video import prefetch

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
    backbone.weights_sha256()  # what is missing is said before any work
    if isinstance(backbone, ClipBackbone):
        _embed_clips(views, backbone, cache, workers, progress)
        return np.stack([_vectors(view, backbone, cache)[0] for view in views])
    rows = []
    for done, view in enumerate(views):
        rows.append(_mean(view, backbone, cache))
        if progress:
            progress(done + 1, len(views))
    return np.stack(rows)


def _embed_clips(
    views: Sequence[View], backbone: ClipBackbone, cache: EmbeddingCache, workers: int, progress: Progress | None
) -> None:
    """Those that `cache` does not have."""
    missing = [view for view in views if _find(view, backbone, cache) is None]
    groups = iter([list(group) for _, group in groupby(missing, key=lambda view: view.clip.path)])
    taking = threading.Lock()

    def take() -> Iterator[list[View]]:
        while True:
            with taking:
                group = next(groups, None)
            if group is None:
                return
            yield group

    threads = [decoded(take(), backbone) for _ in range(min(workers, max(len(missing), 1)))]
    waiting, done = [], 0
    for found in prefetch(*threads, frames=backbone.batch + workers):
        waiting.append(found)
        if len(waiting) == backbone.batch or done + len(waiting) == len(missing):
            # Every batch is full, so that a clip gives the same in any company.
            embeddings = backbone.embed_windows([window for _, window in waiting], pad=True)
            for row, (view, _) in enumerate(waiting):
                writer = cache.writer(view.clip.path, backbone, grids=False, fps=view.fps, view=view.identity)
                writer.add(_info(view), embeddings[row : row + 1])
                writer.finish()
            done += len(waiting)
            waiting = []
            if progress:
                progress(done, len(missing))


def _vectors(view: View, backbone: ClipBackbone, cache: EmbeddingCache) -> NDArray[np.float32]:
    entry = _find(view, backbone, cache)
    assert entry is not None
    return np.concatenate([embeddings.vector for _, embeddings in entry.read()])


def _mean(view: View, backbone: Backbone, cache: EmbeddingCache) -> NDArray[np.float32]:
    assert not view.number
    try:
        found = cached_video(view.clip.path, backbone, cache, grids=False, fps=view.fps)
        vectors = [embeddings.vector for _, embeddings in found]
        if not vectors:
            raise too_short(view.clip.path)
    except VideoError as error:
        raise DatasetError(f"{error} (prepare the data set again without it)") from error
    return np.asarray(np.concatenate(vectors).mean(axis=0), dtype=np.float32)


def _find(view: View, backbone: ClipBackbone, cache: EmbeddingCache) -> Entry | None:
    return cache.find(view.clip.path, backbone, grids=False, fps=view.fps, view=view.identity)


def _info(view: View) -> VideoInfo:
    c = view.clip
    return VideoInfo(c.path, c.width_px, c.height_px, c.fps, c.seconds, c.codec)
