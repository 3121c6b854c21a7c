"""A strip of frames over an event, with the anomaly map as heat and the event's box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oddwatch.report.overlay import ALARM, INK, PAPER, draw_box, draw_text, heatmap_overlay, resized
from oddwatch.report.wording import clock
from oddwatch.types import Event, FloatArray, Frame, Image, ScoreTrack
from oddwatch.video import frames_at

FRAMES = 5
_TILE_WIDTH_PX = 384
_MOST_TILE_HEIGHT_PX = 432
_LABEL_PX = 40
_GAP_PX = 12
_SAME_SECONDS = 1e-6


def strip_times(event: Event) -> FloatArray:
    """(5,) seconds, evenly over the event; the one nearest to the peak is moved onto the peak.

    >>> strip_times(Event(2.0, 6.0, 4.7, 9.0))
    array([2. , 3. , 4. , 4.7, 6. ])
    """
    times = np.linspace(event.start_seconds, event.end_seconds, FRAMES)
    times[np.abs(times - event.peak_seconds).argmin()] = event.peak_seconds
    return times


def event_strips(
    path: str, track: ScoreTrack, events: Sequence[Event], *, threshold: float, fps: float | None = None
) -> list[Image]:
    """One strip per event of one video, (H, W, 3). Reads the video once. Raises VideoError, UsageError."""
    times = [strip_times(event) for event in events]
    frames = frames_at(path, np.concatenate(times), fps=fps) if events else []
    strips = []
    for index, event in enumerate(events):
        shown = frames[index * FRAMES : (index + 1) * FRAMES]
        strips.append(_strip(shown, times[index], track, event, threshold))
    return strips


def _strip(frames: Sequence[Frame], times: FloatArray, track: ScoreTrack, event: Event, threshold: float) -> Image:
    height, width = frames[0].image.shape[:2]
    scale = min(_TILE_WIDTH_PX / width, _MOST_TILE_HEIGHT_PX / height)
    size = max(round(width * scale), 48), max(round(height * scale), 12)
    tiles: list[Image] = []
    for frame, time in zip(frames, times, strict=True):
        image = resized(frame.image, size)
        known = int(np.searchsorted(track.end_seconds, time + _SAME_SECONDS, side="right")) - 1
        if track.maps is not None and known >= 0:
            image = heatmap_overlay(image, track.maps[known], threshold)
        is_peak = bool(time == event.peak_seconds)
        if event.box is not None and is_peak:
            draw_box(image, event.box)
        tiles.append(_labelled(image, clock(float(time)), is_peak=is_peak))
        tiles.append(np.full((tiles[0].shape[0], _GAP_PX, 3), 255, dtype=np.uint8))
    return np.hstack(tiles[:-1])


def _labelled(image: Image, text: str, *, is_peak: bool) -> Image:
    tile = np.full((image.shape[0] + _LABEL_PX, image.shape[1], 3), PAPER, dtype=np.uint8)
    tile[: image.shape[0]] = image
    base = image.shape[0] + _LABEL_PX - 10
    end = draw_text(tile, text, (2, base), height_px=19, color=INK)
    if is_peak:
        draw_text(tile, "peak", (end + 14, base), height_px=19, color=ALARM, bold=True)
    return tile
