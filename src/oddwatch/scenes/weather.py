"""Light and weather over a painted scene: lamps at dusk, shadows of clouds, rain, snow, and what they do to the ground.

Everything is a function of the moment, or of the frame's number where frames have nothing in common.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.scenes.conditions import Conditions
from oddwatch.scenes.shapes import Array, Camera, Pixels, Sprite

_DUSK = np.array((0.3, 0.32, 0.4), np.float32)
_LAMP = np.array((0.62, 0.5, 0.3), np.float32)
_LAMP_REACH_M = 3.2
_HUM = 0.04
_CLOUD_M, _CLOUD_M_S, _CLOUDED = 9.0, 2.2, 0.58
_COARSE = 8  # the light of a cloud needs no more than every 8th pixel
_EXPOSURE_SECONDS, _EXPOSURE_STEP = 23.0, 0.1
_STREAKS, _FLAKES = 260, 170
_TILES = 2  # a picture of streaks is this many times as wide and high as a frame
_REFLECTED = 0.22


class Weather:
    """See the module. size_px, canvas_px: of frames and of what is painted. lamps_m: (x, y) on the ground."""

    def __init__(
        self,
        conditions: Conditions,
        camera: Camera,
        *,
        size_px: tuple[int, int],
        canvas_px: tuple[int, int],
        lamps_m: tuple[tuple[float, float], ...],
        rng: np.random.Generator,
    ) -> None:
        self._conditions, self._size_px, self._canvas_px = conditions, size_px, canvas_px
        self._seed = int(rng.integers(2**31))
        if conditions.dusk:
            x, y = _on_ground(camera, canvas_px, step=1)
            self._pools = [
                np.exp(-((np.hypot(x - lamp_x, y - lamp_y) / _LAMP_REACH_M) ** 2))[..., None] * _LAMP
                for lamp_x, lamp_y in lamps_m
            ]
            self._steady = _levels(_DUSK + sum(self._pools))
        if conditions.clouds:
            self._ground = _on_ground(camera, canvas_px, step=_COARSE)
            self._sky = rng.random((256, 256)).astype(np.float32)
            turn = rng.uniform(0, 2 * math.pi)
            self._drift = _CLOUD_M_S * math.cos(turn), _CLOUD_M_S * math.sin(turn)
        if conditions.rain:
            self._streaks = _streaks(rng, size_px)
        if conditions.snow:
            self._flakes = rng.random((_FLAKES, 4))

    @property
    def plain(self) -> bool:
        """Whether there is none: nothing has to be done to a picture."""
        c = self._conditions
        return not (c.dusk or c.clouds or c.rain or c.snow)

    def lit(self, canvas: Pixels, seconds: float) -> Pixels:
        """What is painted as if in full light, in the light of a moment."""
        if self._conditions.dusk:
            light = self._steady if not self._conditions.flicker else self._flickering(seconds)
            return np.asarray(cv2.multiply(canvas, light, scale=1 / 255))
        return (
            np.asarray(cv2.multiply(canvas, self._clouded(seconds), scale=1 / 255))
            if self._conditions.clouds
            else canvas
        )

    def fallen(self, picture: Pixels, seconds: float, index: int) -> Pixels:
        """A frame with the drops or the flakes that are in the air."""
        width, height = self._size_px
        if self._conditions.rain:
            left, top = np.random.default_rng([self._seed, 1, index]).integers((width, height))
            drops = self._streaks[top : top + height, left : left + width]
            return np.asarray(cv2.add(picture, cv2.merge([drops] * 3)))
        if self._conditions.snow:
            picture = picture.copy()
            for across, down, near, sway in self._flakes:
                speed = (0.12 + 0.45 * near) * height  # near flakes fall faster over the picture
                y = (down * 1.1 * height + speed * seconds) % (1.1 * height)
                x = (
                    across * width + 0.05 * height * math.sin(0.9 * seconds + 7 * sway) + 0.15 * speed * seconds
                ) % width
                radius = max(0.5, (0.3 + 1.5 * near**3) * height / 240)
                cv2.circle(
                    picture, (round(x * 16), round(y * 16)), round(radius * 16), (236, 238, 242), -1, cv2.LINE_AA, 4
                )
        return picture

    def reflection(self, sprite: Sprite, ground_px: float) -> Sprite | None:
        """The sprite upside down below the line where it touches the ground, faint; None when it is dry."""
        if not self._conditions.rain:
            return None
        flipped = cv2.convertScaleAbs(cv2.flip(sprite.rgba, 0), alpha=_REFLECTED)
        top = round(2 * ground_px) - sprite.top - sprite.rgba.shape[0]
        first, last = max(0, -top), min(flipped.shape[0], self._canvas_px[1] - top)
        if last <= first:
            return None
        return Sprite(np.ascontiguousarray(flipped[first:last]), sprite.left, top + first)

    def exposure(self, seconds: float) -> float:
        """The gain of a camera that sets its exposure anew now and then."""
        if not self._conditions.clouds:
            return 1.0
        step = np.random.default_rng([self._seed, 2, max(0, int(seconds / _EXPOSURE_SECONDS))])
        return 1 + _EXPOSURE_STEP * float(step.uniform(-1, 1))

    def _flickering(self, seconds: float) -> Pixels:
        hum = 1 + _HUM * math.sin(2 * math.pi * 3.7 * seconds)
        spell = np.random.default_rng([self._seed, 3, int(seconds / 5)])
        failing = spell.random() < 0.5
        lit = np.random.default_rng([self._seed, 4, int(seconds / 0.3)]).random() < 0.6
        light = _DUSK + sum(hum * pool for pool in self._pools[1:])
        return _levels(light + (hum if lit or not failing else 0.15) * self._pools[0])

    def _clouded(self, seconds: float) -> Pixels:
        x, y = self._ground
        u = (x - self._drift[0] * seconds) / _CLOUD_M
        v = (y - self._drift[1] * seconds) / _CLOUD_M
        cover = sum(
            share * cv2.remap(self._sky, np.mod(k * u, 255).astype(np.float32), np.mod(k * v, 255).astype(np.float32),
                              cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            for k, share in ((1.0, 0.8), (2.7, 0.2))
        )  # fmt: skip
        covered = np.clip((np.asarray(cover) - 0.42) / 0.16, 0, 1)
        light = 1 - (1 - _CLOUDED) * covered
        coarse = np.rint(255 * light).astype(np.uint8)
        return np.asarray(cv2.merge([cv2.resize(coarse, self._canvas_px, interpolation=cv2.INTER_LINEAR)] * 3))


def on_the_ground(conditions: Conditions, ground: Pixels, paved: NDArray[np.bool_]) -> Pixels:
    """The ground as it looks when it is wet or white. ground: (H, W, 3). paved: (H, W) bool; the rest is grass."""
    picture = ground.astype(np.float32)
    if conditions.rain:
        picture *= np.where(paved[..., None], np.array((0.66, 0.69, 0.74)), np.array((0.8, 0.84, 0.82)))
    if conditions.snow:
        white = np.where(paved, 0.45, 0.72)[..., None]
        picture = picture * (1 - white) + np.array((222, 226, 234), np.float32) * white
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _on_ground(camera: Camera, canvas_px: tuple[int, int], *, step: int) -> tuple[Array, Array]:
    """World x, y of every `step`th pixel, at most 60 m away."""
    width, height = canvas_px
    px, py = np.meshgrid(np.arange(step / 2, width, step), np.arange(step / 2, height, step))
    rays = camera.rays(px, py)
    reach = np.minimum(-camera.position[2] / np.minimum(rays[..., 2], -1e-3), 60.0)
    return camera.position[0] + reach * rays[..., 0], camera.position[1] + reach * rays[..., 1]


def _levels(light: Array) -> Pixels:
    return np.clip(np.rint(255 * light), 0, 255).astype(np.uint8)


def _streaks(rng: np.random.Generator, size_px: tuple[int, int]) -> Pixels:
    """(2 H, 2 W) falling drops as the shutter draws them; any frame-sized part of it is another moment."""
    width, height = size_px
    picture = np.zeros((_TILES * height, _TILES * width), np.uint8)
    slant = rng.uniform(-0.25, 0.25)
    for x, y, near, tone in rng.random((_STREAKS * _TILES**2, 4)):
        at = np.array((x * _TILES * width, y * _TILES * height))
        length = (0.02 + 0.06 * near) * height
        to = at + np.array((slant * length, length))
        level = int(14 + 26 * tone)
        cv2.line(
            picture, tuple(np.rint(at * 16).astype(int)), tuple(np.rint(to * 16).astype(int)), level, 1, cv2.LINE_AA, 4
        )
    return picture
