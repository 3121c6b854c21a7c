"""One video -> embeddings in order of time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from oddwatch.backbones import Backbone
from oddwatch.backbones.clips import ClipBackbone, Pixels
from oddwatch.backbones.given import GivenEmbeddings
from oddwatch.embed.given import read_given
from oddwatch.errors import VideoError
from oddwatch.files import sha256_of
from oddwatch.types import Embeddings, Frame, VideoInfo
from oddwatch.video import display_name, open_video, prefetch, sample_video
from oddwatch.video.names import is_numbered_image, visible_entries
from oddwatch.windows import Window

Progress = Callable[[str, float, float | None], None]
"""(video, seconds done, seconds in all or None): called now and then, from the thread that asked for the work."""
See = Callable[[Frame], None]
"""Called with every frame before its embedding is known, perhaps from another thread."""

BATCH_FRAMES = 16


def embed_video(
    path: str,
    backbone: Backbone,
    *,
    fps: float | None = None,
    progress: Progress | None = None,
    see: See | None = None,
) -> Iterator[tuple[VideoInfo, Embeddings]]:
    """Embeddings of one video in order of time, in batches; decoding runs ahead in a thread.

    Nothing comes from a video that is too short for the backbone. fps: of a folder of frames. Raises VideoError, at the
    latest when the video ends without a single frame.
    """
    if isinstance(backbone, GivenEmbeddings):
        yield from read_given(path, backbone)
        return
    if isinstance(backbone, ClipBackbone):
        yield from _embed_clips(path, backbone, fps, progress, see)
        return
    with open_video(path, fps=fps) as source:
        stream = backbone.stream()
        for frames in _in_batches(prefetch(source, frames=2 * BATCH_FRAMES), BATCH_FRAMES):
            if see:
                for frame in frames:
                    see(frame)
            if (embeddings := stream.push(frames)) is not None:
                yield source.info, embeddings
            if progress and len(frames) == BATCH_FRAMES:
                progress(source.info.name, frames[-1].time_seconds, source.info.duration_seconds)
        if (embeddings := stream.close()) is not None:
            yield source.info, embeddings


def _embed_clips(
    path: str, backbone: ClipBackbone, fps: float | None, progress: Progress | None, see: See | None
) -> Iterator[tuple[VideoInfo, Embeddings]]:
    backbone.weights_sha256()  # what is missing is said before any work
    clips = prefetch(clips_of(path, backbone, fps=fps, see=see), frames=backbone.batch)
    waiting: list[Window[Pixels]] = []
    info: VideoInfo | None = None
    for info, clip in clips:
        waiting.append(clip)
        if len(waiting) == backbone.batch:
            yield info, backbone.embed_windows(waiting)
            waiting = []
            if progress:
                progress(info.name, clip.end_seconds, info.duration_seconds)
    if waiting and info is not None:
        yield info, backbone.embed_windows(waiting)


def clips_of(
    path: str, backbone: ClipBackbone, *, fps: float | None = None, see: See | None = None
) -> Iterator[tuple[VideoInfo, Window[Pixels]]]:
    """The clips of one video as the backbone wants to see them, prepared but not embedded. Raises VideoError."""
    if backbone.window_seconds is None:
        info, clip = sample_video(path, frames=backbone.input.frames, fps=fps)
        if see:
            for index, (image, seconds) in enumerate(zip(clip.images, clip.times_seconds, strict=True)):
                see(Frame(image, float(seconds), index))
        yield info, backbone.whole(clip)
        return
    with open_video(path, fps=fps) as source:
        cutter = backbone.cutter()
        for frame in source:
            if see:
                see(frame)
            for window in cutter.push(frame):
                yield source.info, window
        for window in cutter.close():
            yield source.info, window


def _in_batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def too_short(name: str) -> VideoError:
    """What to raise when `embed_video` gave nothing."""
    return VideoError(name, "too short to show any movement", "give a video of at least a second")


def fingerprint(path: str) -> str | None:
    """sha256 of a file, or of names and bytes of the numbered images in a folder; None for what is neither (a stream).

    Raises VideoError when it cannot be read.
    """
    place = Path(path)
    try:
        if place.is_file():
            return sha256_of(place)
        if not place.is_dir():
            return None
        digest = hashlib.sha256()
        for file in filter(is_numbered_image, visible_entries(place)):
            digest.update(os.fsencode(file.name) + b"\0%d\0" % file.stat().st_size)
            with file.open("rb") as handle:
                while chunk := handle.read(1 << 20):
                    digest.update(chunk)
    except OSError as error:
        raise VideoError(
            display_name(path), f"cannot be read: {error.strerror or error}", "check its permissions"
        ) from error
    return digest.hexdigest()
