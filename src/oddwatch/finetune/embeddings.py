"""Views of clips -> embeddings, made once and kept: a frozen backbone never says anything else of a clip."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.clips import ClipBackbone
from oddwatch.embed import EmbeddingCache, Entry
from oddwatch.finetune.clips import View, decoded
from oddwatch.types import VideoInfo
from oddwatch.video import prefetch


def embed_views(
    views: Sequence[View],
    backbone: ClipBackbone,
    cache: EmbeddingCache,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """(N, D) embeddings of the views, in their order. What `cache` has is taken from it; what it has not is decoded by
    `workers` threads ahead of the network and kept. Raises DatasetError, WeightsError, CacheError.
    """
    backbone.weights_sha256()  # what is missing is said before any work
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
    rows = []
    for view in views:
        entry = _find(view, backbone, cache)
        assert entry is not None
        rows += [embeddings.vector for _, embeddings in entry.read()]
    return np.concatenate(rows)


def _find(view: View, backbone: ClipBackbone, cache: EmbeddingCache) -> Entry | None:
    return cache.find(view.clip.path, backbone, grids=False, fps=view.fps, view=view.identity)


def _info(view: View) -> VideoInfo:
    c = view.clip
    return VideoInfo(c.path, c.width_px, c.height_px, c.fps, c.seconds, c.codec)
