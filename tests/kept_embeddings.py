"""Small archives, and what is kept of their videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from small_videos import write

from oddwatch.backbones import Backbone
from oddwatch.embed import (
    EmbeddingCache,
    Job,
    embed_video,
)
from oddwatch.types import Embeddings

NAME = "mean_backbone:MeanPicture"
SECONDS = (2.0, 3.3, 0.7, 4.0, 1.2)


def archive_videos(folder: Path) -> list[str]:
    """0.mp4 to 4.mp4, of `SECONDS`."""
    return [str(write(folder / f"{i}.mp4", seconds, seed=i)) for i, seconds in enumerate(SECONDS)]


def jobs(paths: Sequence[str], *, fps: float | None = None) -> list[Job]:
    return [Job(index, path, fps) for index, path in enumerate(paths)]


def read(cache: EmbeddingCache, path: str, backbone: Backbone, *, grids: bool = False) -> Embeddings:
    entry = cache.find(path, backbone, grids=grids)
    assert entry is not None
    return Embeddings.concatenate([embeddings for _, embeddings in entry.read()])


def directly(path: str, backbone: Backbone) -> Embeddings:
    return Embeddings.concatenate([embeddings for _, embeddings in embed_video(path, backbone)])


def assert_same(found: Embeddings, expected: Embeddings) -> None:
    for name in ("vector", "grid", "start_seconds", "end_seconds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)


def shutil_copy(source: str, target: Path) -> str:
    target.write_bytes(Path(source).read_bytes())
    return str(target)


def without_grid(embeddings: Embeddings) -> Embeddings:
    return Embeddings(embeddings.vector, None, embeddings.start_seconds, embeddings.end_seconds)
