"""Files of embeddings that were made elsewhere, as if they were videos."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oddwatch.backbones.given import GivenEmbeddings
from oddwatch.embedding_file import EmbeddingFile, read_embeddings
from oddwatch.errors import DatasetError, VideoError
from oddwatch.types import Embeddings, VideoInfo

_HOUR = 3600.0


def read_given(path: str, backbone: GivenEmbeddings) -> Iterator[tuple[VideoInfo, Embeddings]]:
    """The scenes of a file one after the other, each from a full hour on, so that no event spans two.

    Raises VideoError for a file that cannot be used.
    """
    try:
        file = read_embeddings(path)
    except DatasetError as error:
        raise VideoError(path, str(error).removeprefix(path).strip()) from error
    if (size := file.embeddings.shape[1]) != backbone.vector_size:
        raise VideoError(
            path,
            f"has embeddings of {size} values, the detector learned from {backbone.vector_size}",
            "embed both by one network",
        )
    start = 0.0
    for _, embeddings in scenes(file, backbone):
        times = embeddings.start_seconds + start, embeddings.end_seconds + start
        yield info_of(path), Embeddings(embeddings.vector, None, *times)
        start = (times[1][-1] // _HOUR + 1) * _HOUR


def scenes(
    file: EmbeddingFile, backbone: GivenEmbeddings, *, only_usual: bool = False
) -> Iterator[tuple[str, Embeddings]]:
    """Each scene, from 0 seconds on, with the name of the file and its own. only_usual: what may be learned from."""
    kept = file.usual if only_usual else np.ones(len(file.embeddings), dtype=bool)
    for scene in np.unique(file.scenes[kept]):
        vector = file.embeddings[kept & (file.scenes == scene)]
        name = str(scene) if file.scene_names is None else file.scene_names[scene]
        start = np.arange(len(vector)) * backbone.seconds
        source = str(file.path) if file.scene is None else f"{file.path}, scene {name}"
        yield source, Embeddings(vector, None, start, start + backbone.seconds)


def info_of(name: str) -> VideoInfo:
    """What there is to know of a video that is not here."""
    return VideoInfo(name, width_px=0, height_px=0, fps=None, duration_seconds=None, codec="embeddings")
