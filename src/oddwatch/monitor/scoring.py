"""Frames of one camera -> events, as they happen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.detector import Detector
from oddwatch.detector.learning import peak_boxes
from oddwatch.errors import UsageError
from oddwatch.grouping import EventGrouper, Grouping
from oddwatch.monitor.batching import Networks
from oddwatch.monitor.records import Polygon
from oddwatch.types import Embeddings, Event, FloatArray, Frame, Image, ScoreTrack

_REMEMBERED = 6000
"""Scores of late that quantiles are told of: ten minutes at 10 a second."""


@dataclass(frozen=True, eq=False)
class Peak:
    """The moment of an event that scored highest so far: its picture, anomaly map (Gh, Gw) and embedding (one row)."""

    image: Image
    anomaly_map: FloatArray | None
    embedding: Embeddings


@dataclass(frozen=True, eq=False)
class Change:
    """An event was raised (not over), or is over. peak: of what is known by now."""

    event: Event
    peak: Peak
    over: bool


class Scoring:
    """The state of one camera's scoring. zones: polygons; what lies outside of all of them does not count. networks:
    those that it shares with other cameras.

    Raises UsageError for zones with a detector that does not localise.
    """

    def __init__(
        self,
        detector: Detector,
        grouping: Grouping,
        *,
        zones: Sequence[Polygon] = (),
        networks: Networks | None = None,
    ) -> None:
        self.detector, self._grouping = detector, grouping
        self.threshold = detector.threshold.value
        self._lowest = self.threshold * grouping.release  # of what is part of an event
        self.scores: deque[float] = deque(maxlen=_REMEMBERED)
        self.seconds_per_frame: deque[float] = deque(maxlen=_REMEMBERED)
        self.scored = 0
        self._networks = networks or Networks()
        self._stream = self._networks.stream(detector.backbone)
        self._grouper = EventGrouper(self.threshold, grouping)
        self._peak: Peak | None = None
        self._peak_score = 0.0
        self._start: float | None = None
        self._told = False
        self._zones = _raster(zones, detector.grid_shape) if zones else None

    @property
    def is_raised(self) -> bool:
        """Whether an event is being told of at this moment."""
        return self._told

    def push(self, frames: Sequence[Frame], source: str) -> list[Change]:
        """Score frames in order of time. Raises VideoError when their shape is not what the detector learned."""
        began = time.perf_counter()
        changes: list[Change] = []
        for frame in frames:
            embeddings = self._stream.push([frame])
            if embeddings is None:
                continue
            found = self.detector.score_embeddings(embeddings, source, maps=True, reasons_from=self._lowest)
            track = self.within_zones(found)
            for row in range(len(track)):
                changes += self._row(track, row, embeddings, frame)
        self.scored += len(frames)
        if frames:
            self.seconds_per_frame.append((time.perf_counter() - began) / len(frames))
        return changes

    def interrupt(self) -> list[Change]:
        """Nothing is seen from here on for a while: what is going on is over, what was carried on is forgotten."""
        ended = self._grouper.close()
        self._stream = self._networks.stream(self.detector.backbone)
        return self._over(ended)

    def within_zones(self, track: ScoreTrack) -> ScoreTrack:
        """The track with scores and boxes of what is inside the zones."""
        if self._zones is None or track.maps is None:
            return track
        maps = np.where(self._zones, track.maps, np.float32(0))
        scores = maps.max(axis=(1, 2)).astype(np.float64)
        # Why a place outside is high says nothing of the highest one inside.
        inside = maps.reshape(len(maps), -1).argmax(axis=1) == track.maps.reshape(len(maps), -1).argmax(axis=1)
        reasons = track.reasons and tuple(r if ok else None for r, ok in zip(track.reasons, inside, strict=True))
        return replace(track, scores=scores, boxes=peak_boxes(maps), maps=maps, reasons=reasons)

    def _row(self, track: ScoreTrack, row: int, embeddings: Embeddings, frame: Frame) -> list[Change]:
        score = float(track.scores[row])
        self.scores.append(score)
        box = None if track.boxes is None else track.boxes[row]
        reason = None if track.reasons is None else track.reasons[row]
        ended = self._grouper.push(float(track.start_seconds[row]), float(track.end_seconds[row]), score, box, reason)
        changes = self._over(ended)
        event = self._grouper.event
        if event is None:
            return changes
        if event.start_seconds != self._start:  # what was in hand before was too short to be an event
            self._start, self._peak = event.start_seconds, None
        if self._peak is None or score > self._peak_score:
            anomaly_map = None if track.maps is None else track.maps[row]
            self._peak = Peak(frame.image, anomaly_map, embeddings[row : row + 1])
            self._peak_score = score
        if self._grouper.raised and not self._told:
            self._told = True
            changes.append(Change(self._with_p(event), self._peak, over=False))
        return changes

    def _over(self, ended: Event | None) -> list[Change]:
        peak, told = self._peak, self._told
        if ended is not None or self._grouper.event is None:
            self._peak, self._peak_score, self._told = None, 0.0, False
        if ended is None or peak is None or not told:
            return []
        return [Change(self._with_p(ended), peak, over=True)]

    def _with_p(self, event: Event) -> Event:
        return replace(event, p_value=float(self.detector.calibration.p_value(event.peak_score)))


def _raster(zones: Sequence[Polygon], grid_shape: tuple[int, int, int] | None) -> NDArray[np.bool_]:
    """(Gh, Gw) which cells of the grid a zone touches."""
    if grid_shape is None:
        raise UsageError("zones need a detector that looks at places: learn one on grid, or leave the zones out")
    height, width = grid_shape[:2]
    fine = 16
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    for zone in zones:
        cv2.fillPoly(canvas, [np.rint(np.asarray(zone) * (width * fine, height * fine)).astype(np.int32)], 1)
    touched = canvas.reshape(height, fine, width, fine).any(axis=(1, 3))
    return np.asarray(touched, dtype=np.bool_)
