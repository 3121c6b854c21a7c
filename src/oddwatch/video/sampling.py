"""A few frames of a video that has an end: spread over the whole, or at given times. Seeks where that is cheaper."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence

import numpy as np

from oddwatch.errors import UsageError, VideoError
from oddwatch.types import Clip, FloatArray, Frame, VideoInfo
from oddwatch.video.names import display_name, is_url
from oddwatch.video.opening import open_video
from oddwatch.video.source import VideoSource

_SAME_SECONDS = 1e-6

_Choose = Callable[[FloatArray], Sequence[int]]
"""From the times of all frames to the indices of the wanted ones."""


def sample_clip(path: str | os.PathLike[str], *, frames: int, fps: float | None = None) -> Clip:
    """`frames` frames at linspace(0, n - 1, frames), truncated to integers, of the n frames that can be decoded.

    The clip goes from the first to the last frame of the video. With fewer than `frames` frames some are repeated.
    fps: of a folder of numbered frames, as for `open_video`. Where seeking is cheaper than decoding everything the
    frames are read that way; they are the same, but n then counts damaged frames between them, which nobody looked at.

    Raises VideoError when there is no video, UsageError when `frames` is below 1 or the video never ends.
    """
    return sample_video(path, frames=frames, fps=fps)[1]


def sample_video(path: str | os.PathLike[str], *, frames: int, fps: float | None = None) -> tuple[VideoInfo, Clip]:
    """What is known about the video, and `sample_clip` of it."""
    if frames < 1:
        raise UsageError(f"frames must be at least 1, got {frames}")

    def spread(times: FloatArray) -> Sequence[int]:
        indices: list[int] = np.linspace(0, len(times) - 1, frames).astype(int).tolist()
        return indices

    info, found, times = _pick(path, spread, fps=fps, until_seconds=math.inf)
    return info, Clip(
        images=np.stack([frame.image for frame in found]),
        times_seconds=np.array([frame.time_seconds for frame in found], dtype=np.float64),
        start_seconds=float(times[0]),
        end_seconds=float(times[-1]),
    )


def frames_at(
    path: str | os.PathLike[str], times_seconds: Sequence[float] | FloatArray, *, fps: float | None = None
) -> list[Frame]:
    """The frame shown at each time, in the order asked: the last one that is not later.

    Before the start it is the first frame, after the end the last. fps and errors: as for `sample_clip`, and UsageError
    when a time is not finite. Equal times share one Frame.
    """
    wanted = np.asarray(times_seconds, dtype=np.float64)
    if not np.isfinite(wanted).all():
        raise UsageError("times must be finite numbers of seconds")
    if not len(wanted):
        return []

    def shown(times: FloatArray) -> Sequence[int]:
        latest = np.searchsorted(times, wanted + _SAME_SECONDS, side="right") - 1
        indices: list[int] = np.maximum(latest, 0).tolist()
        return indices

    _, found, _ = _pick(path, shown, fps=fps, until_seconds=float(wanted.max()))
    return found


def _pick(
    path: str | os.PathLike[str], choose: _Choose, *, fps: float | None, until_seconds: float
) -> tuple[VideoInfo, list[Frame], FloatArray]:
    """What is known of the video, the chosen frames, the times of all frames (up to the first after `until_seconds`).

    The guess from the timeline is right as a rule, and then one pass is enough.
    """
    with open_video(path, fps=fps) as source:
        if is_url(path) and source.info.duration_seconds is None:
            raise UsageError(f"{source.info.name}: a live stream has no end to sample up to: record it to a file first")
        times = source.timeline()
        wanted = choose(times) if len(times) else [0]
        by_seeking = source.read_at(wanted)
        if by_seeking is not None:
            return source.info, [by_seeking[index] for index in wanted], times
        if source.at_start:
            kept, times = _decode(source, set(wanted), until_seconds=until_seconds)
            wanted = choose(times)
            if all(index in kept for index in wanted):
                return source.info, [kept[index] for index in wanted], times
    for _ in range(2):
        with open_video(path, fps=fps) as source:
            kept, times = _decode(source, set(wanted), until_seconds=until_seconds)
        wanted = choose(times)
        if all(index in kept for index in wanted):
            return source.info, [kept[index] for index in wanted], times
    raise VideoError(display_name(path), "it changed while it was read", "try again when it is complete")


def _decode(source: VideoSource, wanted: set[int], *, until_seconds: float) -> tuple[dict[int, Frame], FloatArray]:
    kept: dict[int, Frame] = {}
    times: list[float] = []
    for picture in source.pictures():
        times.append(picture.time_seconds)
        if picture.index in wanted:
            kept[picture.index] = picture.frame()
        if picture.time_seconds > until_seconds + _SAME_SECONDS:
            break
    return kept, np.array(times, dtype=np.float64)
