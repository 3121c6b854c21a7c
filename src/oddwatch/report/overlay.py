"""Drawing on pictures: anomaly maps as heat, boxes, text. Colours are RGB."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Box, FloatArray, Image

Color = tuple[int, int, int]

INK: Color = (24, 28, 34)
PAPER: Color = (255, 255, 255)
ALARM: Color = (199, 62, 10)
BOX: Color = (94, 219, 255)

_SHOWN_FROM = 0.5
_FULL_AT = 1.5
_FULL_ALPHA = 0.6
_CAPITAL_PX = 21  # height of a capital letter of OpenCV's fonts at scale 1
_DARKEST = 96  # inferno begins with black, which would read as shadow and not as heat


def heatmap_overlay(image: Image, anomaly_map: FloatArray, threshold: float) -> Image:
    """A copy of `image` (H, W, 3) with an anomaly map (Gh, Gw) as heat over it, the grid spread evenly.

    What it shows is relative to the threshold and the same in every frame: nothing below half of it, full strength from
    one and a half of it on. So a quiet frame looks quiet. Colours: inferno from purple to yellow.
    """
    heat = _heat(anomaly_map, threshold)
    result = image.copy()
    rows, columns = np.flatnonzero(heat.any(axis=1)), np.flatnonzero(heat.any(axis=0))
    if not len(rows):
        return result
    height, width = image.shape[:2]
    full = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
    # Only where there is heat, and one cell around it, into which the interpolation reaches.
    down, across = height / heat.shape[0], width / heat.shape[1]
    top, bottom = int(max((rows[0] - 1) * down, 0)), int(np.ceil((rows[-1] + 2) * down))
    left, right = int(max((columns[0] - 1) * across, 0)), int(np.ceil((columns[-1] + 2) * across))
    part, warm = result[top:bottom, left:right], full[top:bottom, left:right]
    colors = _COLORS[(_DARKEST + warm * (255 - _DARKEST)).astype(np.uint8)]
    alpha = warm * np.float32(_FULL_ALPHA)
    result[top:bottom, left:right] = cv2.blendLinear(colors, np.ascontiguousarray(part), alpha, 1 - alpha)
    return result


def ratio_to(threshold: float, scores: Any) -> NDArray[np.float64]:
    """scores / threshold, at most 1e6, whatever the threshold."""
    least = max(threshold, float(np.finfo(np.float32).tiny))
    return np.asarray(np.minimum(np.asarray(scores, dtype=np.float64) / least, 1e6))


def _heat(anomaly_map: FloatArray, threshold: float) -> NDArray[np.float32]:
    """(Gh, Gw) 0 where nothing shows to 1 at full strength."""
    heat = (ratio_to(threshold, anomaly_map) - _SHOWN_FROM) / (_FULL_AT - _SHOWN_FROM)
    return np.clip(heat, 0, 1).astype(np.float32)


def draw_box(image: Image, box: Box) -> None:
    """Draw a box, fractions of the frame, into `image`; outlined in dark, so that it shows on any ground."""
    height, width = image.shape[:2]
    left, top, right, bottom = (round(f * n) for f, n in zip(box, (width, height, width, height), strict=True))
    corners = (left, top), (max(right - 1, left), max(bottom - 1, top))
    line = max(round(min(height, width) / 180), 2)
    cv2.rectangle(image, *corners, INK, line + 2, cv2.LINE_AA)
    cv2.rectangle(image, *corners, BOX, line, cv2.LINE_AA)


def draw_text(
    image: Image, text: str, place_px: tuple[int, int], *, height_px: float, color: Color, bold: bool = False
) -> int:
    """Write ASCII text, capitals height_px high, from `place_px` (x, y of the base line). Returns x where it ends."""
    font, scale, line = _font(height_px, bold)
    x = place_px[0]
    for letter, advance in zip(text, _advances(text, height_px, bold), strict=True):
        cv2.putText(image, letter, (x, place_px[1]), font, scale, color, line, cv2.LINE_AA)
        x += advance
    return x


def text_width_px(text: str, *, height_px: float, bold: bool = False) -> int:
    """How wide `draw_text` writes."""
    return sum(_advances(text, height_px, bold))


def _advances(text: str, height_px: float, bold: bool) -> list[int]:
    """Letter by letter, with a little air around digits: OpenCV sets small ones so tight that they touch."""
    font, scale, line = _font(height_px, bold)
    return [cv2.getTextSize(letter, font, scale, line)[0][0] + (not letter.isalpha()) for letter in text]


def _font(height_px: float, bold: bool) -> tuple[int, float, int]:
    scale = height_px / _CAPITAL_PX
    return cv2.FONT_HERSHEY_DUPLEX if bold else cv2.FONT_HERSHEY_SIMPLEX, scale, max(round(scale), 1)


def resized(image: Image, size_px: tuple[int, int]) -> Image:
    """The image scaled to (width, height)."""
    shrinks = size_px[0] < image.shape[1]
    scaled = cv2.resize(image, size_px, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(scaled, dtype=np.uint8)


def _inferno() -> Image:
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


_COLORS = _inferno()
