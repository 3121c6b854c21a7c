"""A clean plate: the picture of the place when nobody is there, so that flow is taken of what is not the place.

In a pyramid what is small is soon mostly its surroundings, which rest: the flow of somebody who runs is then a third of
his speed, more or less by how the pavement behind him looks. Before a plain ground it is all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.motion.light import coarse, gains, in_light
from oddwatch.types import Image

Map = NDArray[np.float32]

KNOWN_SECONDS = 30.0
"""After so long the plate is known."""

_SAMPLE_SECONDS = 1.0
_STEP = 0.5  # grey levels per sample by which it follows
_AROUND = 9  # tiles: less than half of them are of somebody who stands there
_SMOOTH = (3, 3)
_DARKEST, _CONTRAST = 64, 0.5  # of what is not the place, before a ground of 0
_APART = 10.0  # grey levels by which a picture differs from the plate
_RENEWED, _RENEWED_SAMPLES = 0.6, 10  # when so much of it is another for so long, the camera or the light is another


class Plate:
    """Of one stream."""

    def __init__(self) -> None:
        self._samples: list[Image] = []
        self._usual: Map | None = None
        self._shown: Image | None = None
        self._next = -np.inf
        self._another = 0

    def seen(self, gray: Image, seconds: float) -> Image | None:
        """The plate (H, W): the median of half a minute, which then follows; None while too little was seen.

        gray: (H, W) uint8. seconds: its time, which ascends.
        """
        if seconds < self._next:
            return self._shown
        self._next = seconds + _SAMPLE_SECONDS * (1 - 1e-6)
        if self._usual is None:
            self._samples.append(gray)
            if len(self._samples) * _SAMPLE_SECONDS > KNOWN_SECONDS:
                self._usual = np.median(self._samples, axis=0).astype(np.float32)
                self._samples.clear()
        else:
            light = _light(self._usual, gray)
            off = in_light(gray.astype(np.float32), np.reciprocal(light)) - self._usual
            self._another = self._another + 1 if float((np.abs(off) > _APART).mean()) > _RENEWED else 0
            self._usual += np.clip(off, -_STEP, _STEP)
            if self._another > _RENEWED_SAMPLES:
                self._usual, self._another = None, 0
        self._shown = None if self._usual is None else np.asarray(np.rint(self._usual), np.uint8)
        return self._shown


def without_place(image: Image, plates: Sequence[Image], level: float) -> Image:
    """What differs from all plates, before a ground of 0: the brighter, the brighter it is, but nowhere near 0.

    image: (H, W) uint8. plates: the same place in each light that there may be. level: grey levels by which nothing but
    noise differs.
    """
    apart = cv2.blur(reduce(cv2.min, [cv2.absdiff(image, plate) for plate in plates]), _SMOOTH)
    share = cv2.addWeighted(apart, 255 / (2 * level), apart, 0, -127.5)  # of 255: at the level none, at 3 levels all
    shown = cv2.addWeighted(image, _CONTRAST, image, 0, _DARKEST)
    return np.asarray(cv2.multiply(share, shown, scale=1 / 255), np.uint8)


def in_light_of(image: Image, plate: Image) -> Image:
    """The plate (H, W) as it would look in the light of an image (H, W)."""
    return np.asarray(np.clip(np.rint(in_light(plate.astype(np.float32), _light(plate, image))), 0, 255), np.uint8)


def _light(plate: Image | Map, image: Image) -> Map:
    gain = gains(coarse(plate), coarse(image), _AROUND)
    return np.asarray(cv2.resize(gain, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
