"""Videos -> embeddings: of one video, of a whole archive, and those that are kept."""

from __future__ import annotations

from oddwatch.embed.album import Album
from oddwatch.embed.archive import Archive, ArchiveProgress, Job, Map, Part, embed_archive, local_map
from oddwatch.embed.cache import EmbeddingCache, Entry, cached_video
from oddwatch.embed.store import EmbeddedVideo, EmbeddingStore, SeenPart, StoredEmbeddings
from oddwatch.embed.stream import BATCH_FRAMES, Progress, embed_video, fingerprint, too_short

__all__ = [
    "BATCH_FRAMES",
    "Album",
    "Archive",
    "ArchiveProgress",
    "EmbeddedVideo",
    "EmbeddingCache",
    "EmbeddingStore",
    "Entry",
    "Job",
    "Map",
    "Part",
    "Progress",
    "SeenPart",
    "StoredEmbeddings",
    "cached_video",
    "embed_archive",
    "embed_video",
    "fingerprint",
    "local_map",
    "too_short",
]
