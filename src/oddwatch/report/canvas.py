"""Drawing the frames of an annotated video. Knows nothing of detectors: it draws what it is told is known."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.report.overlay import (
    ALARM,
    INK,
    PAPER,
    draw_box,
    draw_text,
    heatmap_overlay,
    resized,
    text_width_px,
)
from oddwatch.report.wording import clock, p_value
from oddwatch.types import Box, FloatArray, Frame, Image

LEAST_WIDTH_PX = 640
"""Smaller pictures are enlarged, so that the text can be read."""

_MOST_UPSCALED_HEIGHT_PX = 720
_HISTORY_SECONDS = 20.0
_MOST_HISTORY = 2000
_FULL_RATIO = 2.0  # thresholds up to which bar and history reach

_PANEL = (30, 34, 41)
_TRACK = (62, 68, 78)
_QUIET = (164, 172, 182)
_CALM = (104, 184, 232)
_HOT = (255, 140, 66)


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known at a frame. ratio: the latest score / threshold, None before the first. raised_seconds: when the
    event that goes on was raised, None when there is none; p_value: of its highest score so far.
    """

    ratio: float | None = None
    anomaly_map: FloatArray | None = None
    box: Box | None = None
    raised_seconds: float | None = None
    p_value: float | None = None


class Canvas:
    """Draws the frames of one video: a banner above the picture, score and history below, nothing over it but heat."""

    def __init__(self, image: Image, threshold: float) -> None:
        """image: any of the video, for its size."""
        height, width = image.shape[:2]
        scale = max(min(LEAST_WIDTH_PX / width, _MOST_UPSCALED_HEIGHT_PX / height), 1.0)
        self._size = max(round(width * scale), 1), max(round(height * scale), 1)
        self._width = max(self._size[0], LEAST_WIDTH_PX)
        self._unit = min(self._width / LEAST_WIDTH_PX, 3.0)
        self._banner_height, self._panel_height = round(34 * self._unit), round(76 * self._unit)
        rows = self._banner_height + self._size[1] + self._panel_height
        self._empty: Image = np.full((rows, self._width, 3), _PANEL, dtype=np.uint8)
        self._threshold = threshold
        self._history: deque[tuple[float, float, bool]] = deque(maxlen=_MOST_HISTORY)

    def draw(self, frame: Frame, seen: Seen) -> Image:
        """The whole picture of one frame."""
        picture = frame.image if frame.image.shape[1::-1] == self._size else resized(frame.image, self._size)
        if seen.anomaly_map is not None:
            picture = heatmap_overlay(picture, seen.anomaly_map, self._threshold)
        if seen.box is not None:
            picture = picture.copy()
            draw_box(picture, seen.box)
        canvas = self._empty.copy()
        left = (self._width - self._size[0]) // 2
        canvas[self._banner_height : self._banner_height + self._size[1], left : left + self._size[0]] = picture
        self._banner(canvas[: self._banner_height], frame.time_seconds, seen)
        self._score(canvas[-self._panel_height :], seen)
        if seen.ratio is not None:
            self._history.append((frame.time_seconds, seen.ratio, seen.raised_seconds is not None))
        self._graph(canvas[-self._panel_height :], frame.time_seconds)
        return canvas

    def _banner(self, area: Image, time_seconds: float, seen: Seen) -> None:
        u = self._unit
        base, height = round(23 * u), 12 * u
        if seen.raised_seconds is not None:
            area[:] = ALARM
            x = draw_text(area, "UNUSUAL", (round(12 * u), base), height_px=height, color=PAPER, bold=True)
            if seen.p_value is not None:
                x = draw_text(
                    area, f"p={p_value(seen.p_value)}", (x + round(16 * u), base), height_px=height, color=PAPER
                )
            text = f"since {clock(seen.raised_seconds)}"
            draw_text(area, text, (x + round(16 * u), base), height_px=height, color=PAPER)
        else:
            text = "usual" if seen.ratio is not None else "no score yet"
            draw_text(area, text, (round(12 * u), base), height_px=height, color=_QUIET)
        now = clock(time_seconds)
        x = area.shape[1] - round(12 * u) - text_width_px(now, height_px=height)
        draw_text(area, now, (x, base), height_px=height, color=PAPER)

    def _score(self, area: Image, seen: Seen) -> None:
        """The bar, with a mark at the threshold, and the number over it."""
        u = self._unit
        left, right, top, bottom = (round(v * u) for v in (12, 172, 44, 58))
        text = "-" if seen.ratio is None else f"{seen.ratio:.2f}" if seen.ratio < 100 else "over 100"
        x = draw_text(area, text, (left, round(32 * u)), height_px=14 * u, color=PAPER, bold=True)
        draw_text(area, "x threshold", (x + round(8 * u), round(32 * u)), height_px=9 * u, color=_QUIET)
        cv2.rectangle(area, (left, top), (right, bottom), _TRACK, -1)
        if seen.ratio is not None:
            end = left + round((right - left) * min(seen.ratio, _FULL_RATIO) / _FULL_RATIO)
            cv2.rectangle(area, (left, top), (end, bottom), _HOT if seen.ratio >= 1 else _CALM, -1)
        mark = left + round((right - left) / _FULL_RATIO)
        cv2.line(area, (mark, top - round(4 * u)), (mark, bottom + round(4 * u)), PAPER, max(round(1.5 * u), 1))

    def _graph(self, area: Image, now: float) -> None:
        """Scores of the last 20 seconds, the present at the right end."""
        u = self._unit
        left, right, top, bottom = round(192 * u), area.shape[1] - round(12 * u), round(10 * u), round(66 * u)
        while self._history and self._history[0][0] < now - _HISTORY_SECONDS:
            self._history.popleft()
        level = round(bottom - (bottom - top) / _FULL_RATIO)
        cv2.rectangle(area, (left, top), (right, bottom), INK, -1)
        cv2.line(area, (left, level), (right, level), _QUIET, max(round(0.75 * u), 1))
        if not self._history:
            return
        times, ratios, raised = (np.array(column) for column in zip(*self._history, strict=True))
        x = right - (now - times) / _HISTORY_SECONDS * (right - left)
        y = bottom - np.minimum(ratios, _FULL_RATIO) / _FULL_RATIO * (bottom - top)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        thick = max(round(1.5 * u), 1)
        for part, is_raised in _runs(points, raised.astype(bool)):
            cv2.polylines(area, [part], False, _HOT if is_raised else _CALM, thick, cv2.LINE_AA)


def _runs(points: NDArray[np.int32], flags: NDArray[np.bool_]) -> list[tuple[NDArray[np.int32], bool]]:
    """The line cut where the flag changes; each part begins with the last point of the one before."""
    edges = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), len(flags)]
    return [(points[max(a - 1, 0) : b], bool(flags[a])) for a, b in pairwise(edges)]
