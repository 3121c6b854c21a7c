"""A video with what the detector thinks of it drawn in: score, history, heat, box and banner.

One pass in constant memory. Everything that a frame shows was known at that frame: it is what a live viewer would see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from oddwatch.detector import Detector
from oddwatch.embed import BATCH_FRAMES, Progress
from oddwatch.errors import UsageError
from oddwatch.grouping import EventGrouper
from oddwatch.report.canvas import Canvas, Seen
from oddwatch.report.overlay import ratio_to
from oddwatch.types import Event, FloatArray, Frame, Reason, ScoreTrack
from oddwatch.video import VideoWriter, open_video, prefetch

_SAME_SECONDS = 1e-6
_DEFAULT_FPS = 25.0


def annotate(
    detector: Detector,
    video: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    *,
    threshold: float | None = None,
    track: ScoreTrack | None = None,
    fps: float | None = None,
    progress: Progress | None = None,
) -> tuple[Event, ...]:
    """Write `video` to `out_path` (mp4) with the scores drawn in, and return its events.

    threshold: for events, bar and heat; by default that of the detector's budget. track: what the detector said of this
    video, with its maps, where that is known; otherwise the video is scored here. fps: of a folder of frames. Frames
    keep their times; small pictures are enlarged to 640 px so that the text can be read, larger ones keep their size. A
    frame without a score (the first one, or one that the backbone skips) shows the latest score known. Nothing is left
    behind when it fails. Raises VideoError, DetectorError, UsageError when `out_path` is the video itself.
    """
    if os.path.exists(out_path) and os.path.exists(video) and os.path.samefile(video, out_path):
        raise UsageError(f"{os.fspath(out_path)} would replace the video that is read: choose another name")
    level = detector.threshold.value if threshold is None else threshold
    events: list[Event] = []
    watcher = _Watcher(detector, level, events, track)
    with open_video(video, fps=fps) as source:
        name, duration_seconds = source.info.name, source.info.duration_seconds
        with VideoWriter(out_path, fps=source.info.fps or _DEFAULT_FPS) as writer:
            watched = watcher.watch(prefetch(source, frames=2 * BATCH_FRAMES), name)
            for frame in prefetch(_drawn(watched, level)):  # draws while the writer encodes
                writer.write(frame.image, time_seconds=frame.time_seconds)
                if progress and frame.index % BATCH_FRAMES == 0:
                    progress(name, frame.time_seconds, duration_seconds)
    return tuple(events)


def _drawn(watched: Iterator[tuple[Frame, Seen]], threshold: float) -> Iterator[Frame]:
    canvas: Canvas | None = None
    for frame, seen in watched:
        canvas = canvas or Canvas(frame.image, threshold)
        yield replace(frame, image=canvas.draw(frame, seen))


class _Watcher:
    """Frames of one video in, the same frames with what is known at each out; ended events go to `events`."""

    def __init__(
        self, detector: Detector, threshold: float, events: list[Event], track: ScoreTrack | None = None
    ) -> None:
        self._detector = detector
        self._track = track
        self._threshold = threshold
        self._release = threshold * detector.grouping.release
        self._grouper = EventGrouper(threshold, detector.grouping)
        self._events = events
        self._seen = Seen()
        self._peak = 0.0

    def watch(self, frames: Iterator[Frame], name: str) -> Iterator[tuple[Frame, Seen]]:
        for batch, known in self._scored(frames, name):
            at = 0
            for frame in batch:
                while (
                    known is not None
                    and at < len(known)
                    and known.end_seconds[at] <= frame.time_seconds + _SAME_SECONDS
                ):
                    box = None if known.boxes is None else known.boxes[at]
                    anomaly_map = None if known.maps is None else known.maps[at]
                    start, end, score = known.start_seconds[at], known.end_seconds[at], float(known.scores[at])
                    reason = None if known.reasons is None else known.reasons[at]
                    self._push(float(start), float(end), score, anomaly_map, box, reason)
                    at += 1
                yield frame, self._seen
        self._keep(self._grouper.close())

    def _scored(self, frames: Iterator[Frame], name: str) -> Iterator[tuple[list[Frame], ScoreTrack | None]]:
        """Frames in batches, each with the scores that became known with it."""
        stream, first = self._detector.backbone.stream(), 0
        for batch, is_last in _batches(frames):
            if self._track is None:
                known = [stream.push(batch), stream.close() if is_last else None]
                embeddings = [e for e in known if e is not None]
                scored = [self._detector.score_embeddings(e, name) for e in embeddings]
                yield batch, ScoreTrack.concatenate(scored) if scored else None
            else:
                until = batch[-1].time_seconds + _SAME_SECONDS
                last = int(np.searchsorted(self._track.end_seconds, until, side="right"))
                yield batch, _part(self._track, slice(first, last))
                first = last

    def _push(
        self,
        start: float,
        end: float,
        score: float,
        anomaly_map: FloatArray | None,
        box: FloatArray | None,
        reason: Reason | None,
    ) -> None:
        ended = self._grouper.push(start, end, score, box, reason)
        self._keep(ended)
        raised, goes_on = self._grouper.raised, score >= self._release
        before = 0.0 if ended else self._peak
        self._peak = max(before, score) if raised or goes_on else 0.0
        since = None if ended else self._seen.raised_seconds
        place = None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        self._seen = Seen(
            ratio=float(ratio_to(self._threshold, score)),
            anomaly_map=anomaly_map,
            box=place if raised and goes_on else None,
            raised_seconds=(end if since is None else since) if raised else None,
            p_value=self._p_value(self._peak) if raised else None,
        )

    def _keep(self, event: Event | None) -> None:
        if event is not None:
            self._events.append(replace(event, p_value=self._p_value(event.peak_score)))

    def _p_value(self, score: float) -> float | None:
        return float(self._detector.calibration.p_value(score)) if self._detector.calibrated else None


def _part(track: ScoreTrack, part: slice) -> ScoreTrack:
    return replace(
        track,
        start_seconds=track.start_seconds[part],
        end_seconds=track.end_seconds[part],
        scores=track.scores[part],
        boxes=None if track.boxes is None else track.boxes[part],
        maps=None if track.maps is None else track.maps[part],
        reasons=None if track.reasons is None else track.reasons[part],
    )


def _batches(frames: Iterator[Frame]) -> Iterator[tuple[list[Frame], bool]]:
    """Frames in batches, and whether it is the last one."""
    batch: list[Frame] = []
    for frame in frames:
        if len(batch) == BATCH_FRAMES:
            yield batch, False
            batch = []
        batch.append(frame)
    if batch:
        yield batch, True
