"""The camera, and shapes made of convex parts in the world.

World: metres; x along the walkway, y across it (away from the camera), z up, ground at z = 0. A part is the convex hull
of a few balls: a limb is the hull of two, a box face of four small ones. One representation serves people, vehicles,
benches, their shadows and the truth boxes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]
Colour = tuple[float, float, float]
"""RGB, 0..255."""
Ball = tuple[float, float, float, float]
"""x, y, z, radius in metres: forward, left, up while a shape is built, world coordinates once it is placed."""

_NEAREST_M = 0.5
_SUPERSAMPLE = 2
_SHIFT = 4  # fractional bits of OpenCV's polygon corners
_TURNS = np.linspace(0, 2 * math.pi, 12, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)
_LIT_SHARE, _DARK_SIDE = 0.8, 0.72


class Part(NamedTuple):
    """The balls [first, last) of a shape. ring: a closed line through them; flat: one tone; nearer_m: for the order."""

    first: int
    last: int
    colour: Colour
    ring: bool
    flat: bool
    nearer_m: float


class Shape(NamedTuple):
    """Something in the world: balls (N, 4) float64 and the parts they make up."""

    balls: Array
    parts: tuple[Part, ...]

    def moved(self, x: float, y: float, z: float = 0.0, *, heading: float = 0.0) -> Shape:
        """Turned by `heading` radians about the vertical through its origin, then shifted."""
        cos, sin = math.cos(heading), math.sin(heading)
        balls = self.balls.copy()
        balls[:, 0] = x + cos * self.balls[:, 0] - sin * self.balls[:, 1]
        balls[:, 1] = y + sin * self.balls[:, 0] + cos * self.balls[:, 1]
        balls[:, 2] += z
        return Shape(balls, self.parts)


class Builder:
    """Collects parts: `add` for a hull of balls, `box` for a box with shaded faces."""

    def __init__(self) -> None:
        self._balls: list[Ball] = []
        self._parts: list[Part] = []

    def add(self, colour: Colour, *balls: Ball, ring: bool = False, flat: bool = False, nearer_m: float = 0.0) -> None:
        first = len(self._balls)
        self._balls += balls
        self._parts.append(Part(first, len(self._balls), colour, ring, flat, nearer_m))

    def box(self, colour: Colour, low: tuple[float, float, float], high: tuple[float, float, float]) -> None:
        """An upright box between two corners; its top is lightest and its ends are darkest."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        r = 0.012
        for tone, face in (
            (0.62, ((x0, y0, z0), (x0, y1, z0), (x0, y1, z1), (x0, y0, z1))),
            (0.7, ((x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1))),
            (0.85, ((x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1))),
            (0.75, ((x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1))),
            (1.0, ((x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1))),
        ):
            self.add(toned(colour, tone), *((*corner, r) for corner in face), flat=True)

    def shape(self) -> Shape:
        return Shape(np.array(self._balls, dtype=np.float64).reshape(-1, 4), tuple(self._parts))


def joined(*shapes: Shape) -> Shape:
    """Several shapes as one, drawn in depth order among each other."""
    parts: list[Part] = []
    offset = 0
    for shape in shapes:
        parts += (p._replace(first=p.first + offset, last=p.last + offset) for p in shape.parts)
        offset += len(shape.balls)
    return Shape(np.concatenate([shape.balls for shape in shapes]), tuple(parts))


def toned(colour: Colour, factor: float) -> Colour:
    """A colour made darker (factor < 1) or lighter."""
    red, green, blue = (min(255.0, max(0.0, c * factor)) for c in colour)
    return red, green, blue


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera. position: (3,) metres. axes: (3, 3) rows right, down, forward. Pixels: of the canvas."""

    position: Array
    axes: Array
    focal_px: float
    centre_px: tuple[float, float]

    @staticmethod
    def looking(
        *, height_m: float, back_m: float, yaw: float, pitch: float, focal_px: float, centre_px: tuple[float, float]
    ) -> Camera:
        """At (0, -back_m, height_m), looking along +y turned by `yaw` to the right and `pitch` down (radians)."""
        cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
        axes = np.array([[cy, -sy, 0.0], [-sy * sp, -cy * sp, -cp], [sy * cp, cy * cp, -sp]])
        return Camera(np.array([0.0, -back_m, height_m]), axes, focal_px, centre_px)

    def project(self, points: Array) -> Array:
        """World (N, 3) -> (N, 4): x, y in pixels, pixels per metre, depth in metres."""
        seen = (points - self.position) @ self.axes.T
        depth = np.maximum(seen[:, 2], _NEAREST_M)
        scale = self.focal_px / depth
        return np.stack(
            [self.centre_px[0] + seen[:, 0] * scale, self.centre_px[1] + seen[:, 1] * scale, scale, depth], axis=1
        )

    def rays(self, x_px: Array, y_px: Array) -> Array:
        """World directions (..., 3) of pixels."""
        seen = np.stack(
            [
                (x_px - self.centre_px[0]) / self.focal_px,
                (y_px - self.centre_px[1]) / self.focal_px,
                np.ones_like(x_px),
            ],
            axis=-1,
        )
        return np.asarray(seen @ self.axes)

    def depth(self, x: float, y: float) -> float:
        """How far a place on the ground is, for drawing the far before the near."""
        return float((np.array([x, y, 0.0]) - self.position) @ self.axes[2])

    def bounds_px(self, shape: Shape) -> tuple[float, float, float, float]:
        """left, top, right, bottom of a shape on the canvas, not clipped."""
        seen = self.project(shape.balls[:, :3])
        radius = shape.balls[:, 3] * seen[:, 2]
        return (
            float((seen[:, 0] - radius).min()),
            float((seen[:, 1] - radius).min()),
            float((seen[:, 0] + radius).max()),
            float((seen[:, 1] + radius).max()),
        )


class Sprite(NamedTuple):
    """A drawn shape: premultiplied (h, w, 4) uint8 RGBA at (left, top) of the canvas."""

    rgba: Pixels
    left: int
    top: int

    def blend(self, canvas: Pixels) -> None:
        """Put it over the canvas, in place."""
        height, width = self.rgba.shape[:2]
        under = canvas[self.top : self.top + height, self.left : self.left + width]
        alpha = self.rgba[:, :, 3]
        kept = cv2.multiply(under, cv2.merge([255 - alpha] * 3), scale=1 / 255)
        cv2.add(kept, np.ascontiguousarray(self.rgba[:, :, :3]), dst=under)


class Painter:
    """Draws shapes on a canvas of (height, width) pixels, lit by a sun. sun: unit vector (3,) from the ground to it."""

    def __init__(self, camera: Camera, *, size_px: tuple[int, int], sun: Array) -> None:
        self._camera = camera
        self._width, self._height = size_px
        self._sun = sun
        self._light_px = camera.axes[:2] @ sun * (1 - _LIT_SHARE)
        self._ground_tilt = -camera.axes[2, 2]

    def sprite(self, shape: Shape) -> Sprite | None:
        """The shape as seen, with smooth edges; None when it is outside of the canvas."""
        left, top, right, bottom = self._camera.bounds_px(shape)
        x0, y0 = max(0, math.floor(left) - 1), max(0, math.floor(top) - 1)
        x1, y1 = min(self._width, math.ceil(right) + 2), min(self._height, math.ceil(bottom) + 2)
        if x0 >= x1 or y0 >= y1:
            return None
        seen = self._camera.project(shape.balls[:, :3])
        centres = (seen[:, :2] - (x0, y0)) * _SUPERSAMPLE
        radii = np.maximum(shape.balls[:, 3] * seen[:, 2], 0.4) * _SUPERSAMPLE
        dark = _corners(centres, radii[:, None, None] * _CIRCLE)
        lit = _corners(centres + radii[:, None] * self._light_px, radii[:, None, None] * _CIRCLE * _LIT_SHARE)
        rings = (centres * (1 << _SHIFT)).astype(np.int32)
        large = np.zeros(((y1 - y0) * _SUPERSAMPLE, (x1 - x0) * _SUPERSAMPLE, 4), np.uint8)
        depths = [float(seen[p.first : p.last, 3].mean()) - p.nearer_m for p in shape.parts]
        for i in sorted(range(len(depths)), key=depths.__getitem__, reverse=True):
            part = shape.parts[i]
            balls = slice(part.first, part.last)
            if part.ring:
                thick = max(1, round(2 * float(radii[part.first])))
                cv2.polylines(large, [rings[balls]], True, (*part.colour, 255.0), thick, cv2.LINE_AA, _SHIFT)
            elif part.flat:
                _fill(large, dark[balls], part.colour)
            else:
                _fill(large, dark[balls], toned(part.colour, _DARK_SIDE))
                _fill(large, lit[balls], part.colour)
        small = cv2.resize(large, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        return Sprite(np.asarray(small, dtype=np.uint8), x0, y0)

    def shadow(self, shape: Shape, mask: Pixels) -> None:
        """Draw the shape's shadow on the ground into a (height, width) uint8 mask, 255 = full shadow."""
        on_ground = shape.balls[:, :3] - np.maximum(shape.balls[:, 2:3], 0) / self._sun[2] * self._sun
        seen = self._camera.project(on_ground)
        radii = np.maximum(shape.balls[:, 3] * seen[:, 2], 0.4)
        corners = _corners(seen[:, :2], radii[:, None, None] * _CIRCLE * (1.0, self._ground_tilt))
        for part in shape.parts:
            if part.ring:
                thick = max(1, round(float(radii[part.first])))
                line = (seen[part.first : part.last, :2] * (1 << _SHIFT)).astype(np.int32)
                cv2.polylines(mask, [line], True, 255, thick, cv2.LINE_AA, _SHIFT)
            else:
                hull = cv2.convexHull(corners[part.first : part.last].reshape(-1, 2))
                cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_AA, _SHIFT)


def _corners(centres: Array, offsets: Array) -> NDArray[np.int32]:
    return np.asarray((centres[:, None] + offsets) * (1 << _SHIFT)).astype(np.int32)


def _fill(image: Pixels, corners: NDArray[np.int32], colour: Colour) -> None:
    hull = cv2.convexHull(corners.reshape(-1, 2))
    cv2.fillConvexPoly(image, hull, (*colour, 255.0), cv2.LINE_AA, _SHIFT)
