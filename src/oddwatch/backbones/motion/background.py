"""What the place looks like when nothing is there: what rests that was not there, what has gone, who stays how long.

The median of the first half minute, then each cell follows its brightness by a bounded step (sigma-delta, after
Manzanera and Richefeu, 2007), so that what passes by hardly moves it. It is kept in the light of that half minute and
compared in that of the present (`light`), so that a cloud does not leave anything behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.motion.feet import Feet
from oddwatch.backbones.motion.light import alike, gains, gains_along, in_light
from oddwatch.backbones.motion.steady import moved, offset
from oddwatch.backbones.motion.windows import CELL_PX
from oddwatch.types import Image

Map = NDArray[np.float32]

SETTLE_SECONDS = 30.0
"""Before this, who was there at the start is still part of the background."""
CHANNELS = ("left", "taken", "dwell", "present", "stands", "changed")

_CONTRAST = 10.0  # grey levels by which a cell differs from another
_KNOWN_CONTRAST = 5.0  # the same of one in which something rests: noise must not take it away for a moment
_RECENT_SECONDS = 0.5  # over this time what rests looks the same
_WHITE = 250.0  # grey levels: how much lighter it has become nobody sees
_TILE = 2  # cells: light is looked at in these
_AROUND = 9  # of these: less than half of them are of somebody who stands there
_BORDER = 2  # of these, at top and bottom: what is around them lies inside the picture, where a shadow may not be yet
_ALONG = 17  # of these: there light is looked at along the border
_THING = (3, 3)  # cells: what is left behind is smaller than a person
_OUTLINE = (7, 7)  # cells: a thing and its edges
_REST_SECONDS = 3.5  # a shorter halt is part of walking past, and the edges of most shadows have gone on by then
_RELIT_SECONDS = 6.0  # what the shadow of a cloud leaves, where it falls otherwise than around, mostly lasts less
_OFTEN, _LATELY_SECONDS = 0.25, 20.0  # a share of the time lately: with clouds it is most of it, else next to none
_RESTLESS = 1.0  # moments of rest that one in which it looks another way undoes: drops fall before a bag, too
_NEAR_THING = (5, 5)  # cells
_APART = 0.4  # of what is another there rests: of the shadows of those who walk by in a row a quarter may
_SAMPLE_SECONDS = 1.0
_FEWER = 0.8  # of the edges that were there: with fewer something has gone
_STEP = 0.5  # grey levels per second by which the background follows
_PRESENT = 0.15  # share of a window from which somebody is there
_LEAVES = 2.0  # a second of absence undoes this many of presence
_RENEWED = 0.6  # share of the picture: when so much of it is another for so long, the camera or the light is another
_RENEWED_SECONDS = 10.0
_SWAYED = 0.02  # of the picture, that is alike in its place: with less the background would drift after what moves
_CALM_SECONDS = 10.0  # a camera that has not swayed for so long is where it was


class Background:
    """Of one stream, in cells."""

    def __init__(self, window_cells: int) -> None:
        self._window = window_cells, window_cells
        self._feet = Feet()
        self._samples: list[Map] = []
        self._usual: Map | None = None
        self._seconds = 0.0
        self._another = 0.0
        self._calm = np.inf  # seconds since the camera swayed
        self._relit = 0.0  # share of the time in which the light changed

    def update(self, gray: Image, moving: Map, seconds: float, *, swayed: bool = False, relit: bool = False) -> Map:
        """(6, h, w) `CHANNELS`.

        left, taken: share of a bag's size around the cell in which something rests that was not there, or is gone that
        was. dwell: log(1 + seconds for which somebody has been in the window, less twice those in which nobody was).
        present: share of a bag's size around the cell that moves or is another. stands: see `Feet`, 0 until the place
        is known. changed: share of the picture that is another. gray: (H, W). moving: (h, w) share of each cell.
        seconds: since the last call. swayed: the camera has moved a little since. relit: the light has changed over a
        wide area.
        """
        seconds = min(max(seconds, 0.0), 1.0)
        self._seconds += seconds
        self._calm = 0.0 if swayed else self._calm + seconds
        self._relit += min(seconds / _LATELY_SECONDS, 1.0) * (relit - self._relit)
        now = _cells(gray, moving.shape)
        if self._calm < _CALM_SECONDS:
            now = self._in_place(gray, now, moving)
        if self._usual is None:
            self._rested, self._dwelt = np.zeros_like(now), np.zeros_like(now)
            if self._seconds >= len(self._samples) * _SAMPLE_SECONDS:
                self._samples.append(now)
            if self._seconds < SETTLE_SECONDS:
                return self._measured(moving, np.zeros_like(moving, bool), now, now, seconds)
            self._usual = _usual_of(self._samples)
            self._samples.clear()
            self._recent = self._usual
        light = _light(self._usual, now)
        plain = in_light(now, np.reciprocal(light))
        self._recent = self._recent + min(seconds / _RECENT_SECONDS, 1.0) * (plain - self._recent)
        step = np.where(now < _WHITE, seconds * _STEP, 0)
        self._usual += np.clip(plain - self._usual, -step, step)
        usual, recent = (np.clip(in_light(one, light), 0, 255) for one in (self._usual, self._recent))
        other = np.abs(now - usual) > np.where(self._rested >= _REST_SECONDS, _KNOWN_CONTRAST, _CONTRAST)
        if other.any():
            other &= ~alike(now, usual)
        still = other & (np.abs(now - recent) < _CONTRAST)
        restless = np.maximum(self._rested - _RESTLESS * seconds, 0)
        self._rested = np.where(still, self._rested + seconds, np.where(other, restless, 0)).astype(np.float32)
        self._another = self._another + seconds if other.mean() > _RENEWED else 0.0
        if self._another > _RENEWED_SECONDS:
            self._usual, self._recent, self._another = now, now, 0.0
        return self._measured(moving, other, now, usual, seconds)

    def _in_place(self, gray: Image, now: Map, moving: Map) -> Map:
        """(h, w) what the camera would see from where it first looked, unless that is less like the usual."""
        usual = self._usual if self._usual is not None else self._samples[0] if self._samples else now
        seen = np.clip(in_light(usual, _light(usual, now)), 0, 255).astype(np.uint8)
        still = (moving <= _PRESENT).astype(np.uint8)
        found = _cells(moved(gray, gray, CELL_PX * offset(now.astype(np.uint8), seen, still, steps=2)), now.shape)
        unlike = [float((np.abs(one - seen) > _CONTRAST).mean()) for one in (now, found)]
        return found if unlike[0] - unlike[1] > _SWAYED else now

    def _measured(self, moving: Map, other: NDArray[np.bool_], now: Map, usual: Map, seconds: float) -> Map:
        present = (other | (moving > _PRESENT)).astype(np.float32)
        share = cv2.blur(present, self._window)
        stays = share > _PRESENT
        self._dwelt = np.maximum(self._dwelt + np.where(stays, seconds, -_LEAVES * seconds), 0).astype(np.float32)
        clouds = self._relit > _OFTEN
        rested = self._rested >= (_RELIT_SECONDS if clouds else _REST_SECONDS)
        resting = _apart(rested, other)
        if clouds:
            resting &= _inside(resting.shape)
        rests = cv2.blur(resting.astype(np.float32), _THING)
        taken = np.zeros_like(rests)
        if rests.any():
            dimmed = cv2.blur(now, _OUTLINE) / np.maximum(cv2.blur(usual, _OUTLINE), 1.0)
            fewer = _outline(now) < _FEWER * np.minimum(dimmed, 1.0) * _outline(usual)
            taken, rests = np.where(fewer, rests, 0), np.where(fewer, 0, rests)
        dwell = np.log1p(self._dwelt, out=np.zeros_like(rests), where=stays)
        feet = np.zeros_like(rests) if self._usual is None else self._feet.update(present, seconds)
        changed = np.full_like(rests, other.mean())
        return np.stack([rests, taken, dwell, cv2.blur(present, _THING), feet, changed]).astype(np.float32)


def _usual_of(samples: Sequence[Map]) -> Map:
    """Their median, each in the light of their plain median: in no single one is nobody's shadow anywhere."""
    plain = np.median(samples, axis=0).astype(np.float32)
    alike_lit = [in_light(sample, np.reciprocal(_light(plain, sample))) for sample in samples]
    return np.asarray(np.median(alike_lit, axis=0), np.float32)


def _cells(gray: Image, shape: tuple[int, ...]) -> Map:
    return cv2.resize(gray, (shape[1], shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)


def _light(usual: Map, now: Map) -> Map:
    """(h, w) by what factor it has grown since the usual."""
    size = max(now.shape[1] // _TILE, 1), max(now.shape[0] // _TILE, 1)
    a, b = (np.asarray(cv2.resize(i, size, interpolation=cv2.INTER_AREA), np.float32) for i in (usual, now))
    found = gains(a, b, _AROUND)
    if found.shape[0] > _ALONG:  # not at the sides, where one border lies in many a light
        for border in (np.s_[:_BORDER], np.s_[-_BORDER:]):
            found[border] = gains_along(a[border], b[border], _ALONG)
    wide = cv2.resize(found, (now.shape[1], now.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32)


def _inside(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where the light around is known in all directions."""
    inside = np.zeros(shape, np.bool_)
    far = _BORDER * _TILE
    inside[far:-far, far:-far] = True
    return inside


def _apart(rested: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where enough of what is another around it rests, too."""
    rest, all_of_it = (cv2.blur(one.astype(np.float32), _NEAR_THING) for one in (rested, other))
    return np.asarray(rested & (rest >= _APART * all_of_it), np.bool_)


def _outline(cells: Map) -> Map:
    """How much edge there is around each cell: a bag has more than the ground that it hides."""
    right, down = cv2.Sobel(cells, cv2.CV_32F, 1, 0), cv2.Sobel(cells, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.blur(np.abs(right) + np.abs(down), _OUTLINE), np.float32)
