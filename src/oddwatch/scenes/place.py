"""A place: the camera, the ground and what stands on it, drawn once from its own seed.

A walkway between two lawns, in perspective. One keeps to the right: people on the near lane walk to the right of the
picture, those on the far lane to the left. Behind the far lawn stands a hedge, a brick wall or a building.

Viewpoints, low sun and wet or white ground are other cameras, suns and ground pictures of the same place; what changes
with time is the matter of `weather`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.scenes.conditions import VIEWPOINTS, Conditions
from oddwatch.scenes.shapes import Array, Builder, Camera, Colour, Painter, Pixels, Shape, Sprite, toned
from oddwatch.scenes.weather import on_the_ground

PATH_HALF_M = 3.4
NEAR_LANE_M, FAR_LANE_M = (-2.9, -0.75), (0.75, 2.9)
"""Across the walkway: where the people of a lane walk. The middle stays free for overtaking."""
NEAR_LAWN_M, FAR_LAWN_M = (-5.3, -4.5), (5.2, 6.2)
"""Across the walkway: where somebody on the grass walks."""

_UNSEEN_M, _UNSEEN_LOW_SUN_M = 3.0, 9.0
_SUNLESS_SHADE = (0.88, 0.89, 0.91)
_SIGN_M = 3.5  # across the walkway: on the kerb, where nobody walks

_SKY_SHADOW = 70  # of 255: how much of a shadow is left where the sun does not shine
_KERB_M = 0.16
_BACKDROP_M = 8.2
_PERSON_M = 1.9
_GRASSES: tuple[Colour, ...] = ((104, 128, 70), (92, 122, 66), (122, 130, 78), (84, 114, 72))
_PAVINGS: tuple[Colour, ...] = ((168, 162, 152), (150, 148, 146), (176, 160, 140), (140, 134, 130))
_LEAVES: tuple[Colour, ...] = ((62, 92, 48), (74, 104, 52), (54, 82, 50))


class Prop(NamedTuple):
    """Something that stands still and may hide who walks behind it."""

    sprite: Sprite
    depth_m: float


class Place:
    """One place, seen by a fixed camera.

    size_px: width, height of its pictures. margin_px: how much more is drawn on each side, for the camera to shake.
    ground: (height + 2 margin, width + 2 margin, 3) uint8 RGB without the props. sunlit: the same size, uint8, 0 where
    the ground lies in shade already. shade: RGB factors of a shadow. unseen_m: people start and end this far out of
    view: as long as a cart, or as somebody's shadow. lamps_m: (x, y) of lamps. sign_m: (x, y) where a folding sign
    stands, in scenes that have it.
    """

    def __init__(self, *, seed: int, size_px: tuple[int, int], conditions: Conditions | None = None) -> None:
        conditions = conditions or Conditions()
        higher, farther = VIEWPOINTS[conditions.viewpoint]
        rng = np.random.default_rng([seed, 0])
        width, height = size_px
        self.size_px = size_px
        self.margin_px = max(4, round(height / 40))
        self.canvas_px = (width + 2 * self.margin_px, height + 2 * self.margin_px)
        self.camera = Camera.looking(
            height_m=higher * rng.uniform(6.0, 6.8),
            back_m=farther * rng.uniform(12.2, 13.0),
            yaw=float(rng.choice([-1, 1])) * math.radians(rng.uniform(9, 17)),
            pitch=math.radians(rng.uniform(26.3, 28.3)) + (math.atan(higher / farther * 0.5) - math.atan(0.5)),
            focal_px=height * rng.uniform(1.75, 1.9),
            centre_px=(self.canvas_px[0] / 2, self.canvas_px[1] / 2),
        )
        self.sun = _sun(rng, low=conditions.low_sun)
        self.unseen_m = _UNSEEN_LOW_SUN_M if conditions.low_sun else _UNSEEN_M
        self.shade = _SUNLESS_SHADE if conditions.sunless else (0.56, 0.6, 0.68)
        self.painter = Painter(self.camera, size_px=self.canvas_px, sun=self.sun)
        ground, sunlit, paved = _Ground(self, rng).drawn()
        self.props, lamp_m = _props(self, rng, ground, sunlit)
        self.lamps_m = (lamp_m, (lamp_m[0] + 9.0, 4.6), (lamp_m[0] - 9.0, 4.6))
        self.sign_m = _sign_place(self, np.random.default_rng([seed, 7]))
        self.ground = on_the_ground(conditions, ground, paved)
        self.sunlit = np.maximum(sunlit, np.uint8(_SKY_SHADOW))
        levels = 1 - np.arange(256)[:, None, None] / 255 * (1 - np.array(self.shade))
        self._shades = np.rint(255 * levels).astype(np.uint8)

    def shaded(self, mask: Pixels) -> Pixels:
        """A fresh picture of the ground with shadows where a mask of the canvas says so (255 = full shadow)."""
        soft = cv2.multiply(cv2.GaussianBlur(mask, (3, 3), 0), self.sunlit, scale=1 / 255)
        return np.asarray(cv2.multiply(self.ground, cv2.LUT(cv2.merge([soft] * 3), self._shades), scale=1 / 255))

    def foot_px(self, at: tuple[float, float]) -> float:
        """The row of the canvas where something stands on the ground."""
        return float(self.camera.project(np.array([[*at, 0.0]]))[0, 1])

    def view(self, y_m: float) -> tuple[float, float]:
        """As `span`, but with the 3 m at both ends that any place has, whatever its sun."""
        left, right = self.span(y_m)
        return left + (self.unseen_m - _UNSEEN_M), right - (self.unseen_m - _UNSEEN_M)

    def span(self, y_m: float) -> tuple[float, float]:
        """From where to where along the walkway a person at `y_m` is in view, and `unseen_m` more at both ends."""
        x = np.arange(-60.0, 60.0, 0.25)
        seen = np.zeros(len(x), dtype=bool)
        for z in (0.0, _PERSON_M):
            at = self.camera.project(np.stack([x, np.full_like(x, y_m), np.full_like(x, z)], axis=1))
            seen |= (at[:, 0] > 0) & (at[:, 0] < self.canvas_px[0]) & (at[:, 1] > 0) & (at[:, 3] > 1.0)
        inside = x[seen]
        return float(inside[0]) - self.unseen_m, float(inside[-1]) + self.unseen_m


def _sun(rng: np.random.Generator, *, low: bool) -> Array:
    """From the side and a little behind the camera or behind the scene, so that shadows show the gait."""
    height, side = math.radians(rng.uniform(38, 52)), float(rng.choice([-1, 1]))
    turn = math.radians(rng.uniform(-35, 35))
    height *= 0.33 if low else 1.0
    return np.array([side * math.cos(height) * math.cos(turn), math.cos(height) * math.sin(turn), math.sin(height)])


class _Ground:
    """Draws the ground and the backdrop pixel by pixel: each pixel asks where its ray ends."""

    _FINER = 2

    def __init__(self, place: Place, rng: np.random.Generator) -> None:
        self._place = place
        self._rng = rng
        self._noise = rng.random((256, 256)).astype(np.float32)
        width, height = (n * self._FINER for n in place.canvas_px)
        px, py = np.meshgrid((np.arange(width) + 0.5) / self._FINER, (np.arange(height) + 0.5) / self._FINER)
        self._rays = place.camera.rays(px, py)
        eye = place.camera.position
        down = np.minimum(self._rays[..., 2], -1e-3)
        reach = np.minimum(-eye[2] / down, 200.0)
        self._x = (eye[0] + self._rays[..., 0] * reach).astype(np.float32)
        self._y = (eye[1] + self._rays[..., 1] * reach).astype(np.float32)
        self._size = (reach / place.camera.focal_px).astype(np.float32)

    def drawn(self) -> tuple[Pixels, Pixels, NDArray[np.bool_]]:
        """The ground picture, where the sun reaches it, and where it is paved."""
        y = self._y
        path = np.abs(y) < PATH_HALF_M + _KERB_M
        picture = np.where(path[..., None], self._paving(), self._grass())
        lit = 1.0 - 0.9 * self._tree_shade()
        wall, hit = self._backdrop()
        near_wall = np.clip((_BACKDROP_M - y) / 0.5, 0, 1)
        picture *= (0.75 + 0.25 * near_wall)[..., None]
        shade = np.array(self._place.shade, np.float32)
        picture *= 1 - (1 - shade) * (1 - lit[..., None])
        picture = np.where(hit[..., None], wall, picture)
        lit[hit] = 0
        size = self._place.canvas_px
        small = cv2.resize(np.clip(picture, 0, 255).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (3, 3), 0.45)
        sunlit = cv2.resize(lit.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        paved = cv2.resize((path & ~hit).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        return np.asarray(small + 0.5, dtype=np.uint8), np.asarray(sunlit * 255, dtype=np.uint8), paved

    def _texture(self, x: Array, y: Array, scale_m: float) -> Array:
        """Smooth noise in -1..1 whose blobs are about `scale_m` large."""
        u = np.mod(x / scale_m + 17.3, 255).astype(np.float32)
        v = np.mod(y / scale_m + 41.9, 255).astype(np.float32)
        noise = cv2.remap(self._noise, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(noise, dtype=np.float32) * 2 - 1

    def _grass(self) -> Array:
        rng, x, y = self._rng, self._x, self._y
        base = np.array(_GRASSES[rng.integers(len(_GRASSES))], np.float32)
        tone = (
            1
            + 0.1 * self._texture(x, y, 2.7)
            + 0.1 * self._texture(x, y, 0.7)
            + 0.13 * self._texture(x, y, 0.16)
            + 0.16 * self._texture(x, y * 0.6, 0.05)
        )
        dry = np.clip(self._texture(x + 90, y, 1.9) * 0.7, 0, 1)[..., None] * np.array([26, 12, -6], np.float32)
        trodden = np.exp(-(((np.abs(y) - PATH_HALF_M - _KERB_M) / 0.16) ** 2))[..., None]
        earth = np.array([122, 106, 80], np.float32)
        grass = (base + dry) * tone[..., None]
        return np.asarray(grass * (1 - 0.6 * trodden) + earth * 0.6 * trodden)

    def _paving(self) -> Array:
        rng, x, y = self._rng, self._x, self._y
        base = np.array(_PAVINGS[rng.integers(len(_PAVINGS))], np.float32)
        style = str(rng.choice(["slabs", "bricks", "asphalt"], p=[0.45, 0.25, 0.3]))
        tone = 1 + 0.05 * self._texture(x, y, 1.6) + 0.05 * self._texture(x, y, 0.3) + 0.05 * self._texture(x, y, 0.04)
        if style == "asphalt":
            base = np.array([118, 118, 120], np.float32)
            tone = tone + 0.07 * self._texture(y, x, 0.05)
        else:
            length, breadth = (0.85, 0.566) if style == "slabs" else (0.5, 0.2833)
            row = np.floor(y / breadth)
            column = np.floor(x / length + 0.5 * np.mod(row, 2))
            chance = np.mod(np.sin(row * 12.9898 + column * 78.233) * 43758.5453, 1.0)
            tone = tone + (chance - 0.5) * 0.13
            to_joint = np.minimum(_to_edge(y / breadth) * breadth, _to_edge(x / length + 0.5 * np.mod(row, 2)) * length)
            wide = np.maximum(0.012, self._size)
            tone = tone - 0.28 * np.clip(1.5 - to_joint / wide, 0, 1) * np.minimum(1, 0.014 / wide)
        stains = np.clip(self._texture(x + 30, y, 0.8) - 0.55, 0, 1)
        paving = base * (tone - 0.35 * stains)[..., None]
        paint = np.array([222, 218, 206], np.float32)
        worn = (0.75 + 0.25 * self._texture(x, y, 0.09)) * 0.7
        dashes = (np.abs(y) < 0.06) & (np.mod(x, 2.4) < 1.3)
        arrows = self._arrow(-1.85, 1) | self._arrow(1.85, -1)
        painted = ((dashes | arrows) * worn)[..., None]
        paving = paving * (1 - painted) + paint * painted
        kerb = (np.abs(y) > PATH_HALF_M) & (np.abs(y) < PATH_HALF_M + _KERB_M)
        stones = 1 - 0.3 * (np.mod(x, 0.9) < np.maximum(0.02, self._size))
        return np.asarray(np.where(kerb[..., None], np.array([186, 182, 172]) * (stones * tone)[..., None], paving))

    def _arrow(self, lane_y: float, direction: int) -> NDArray[np.bool_]:
        """Arrows painted on a lane show which way it goes."""
        along = np.mod(self._x * direction + 3.0, 7.5)
        across = np.abs(self._y - lane_y)
        shaft = (along < 0.9) & (across < 0.07)
        tip = (along >= 0.9) & (along < 1.5) & (across < 0.3 * (1.5 - along) / 0.6)
        return np.asarray(shaft | tip)

    def _tree_shade(self) -> Array:
        """0..1: dappled shade of trees that stand outside of the picture."""
        rng, x, y = self._rng, self._x, self._y
        shade = np.zeros_like(x)
        left, right = self._place.view(0.0)
        for _ in range(int(rng.integers(1, 3))):
            cx, cy, radius = rng.uniform(left + 2, right - 2), rng.uniform(-4.5, 4.5), rng.uniform(1.4, 2.4)
            crown = 1.15 - np.hypot((x - cx) / 1.3, y - cy) / radius + 0.35 * self._texture(x, y, 0.55)
            holes = self._texture(x, y + 50, 0.22) + 0.4 * self._texture(x, y, 0.1)
            shade = np.maximum(shade, np.clip(crown * 3, 0, 1) * np.clip(0.9 - holes * 0.9, 0.15, 1))
        return np.asarray(np.clip(shade, 0, 1))

    def _backdrop(self) -> tuple[Array, NDArray[np.bool_]]:
        """What stands behind the far lawn: its picture, and where it is."""
        rng = self._rng
        eye = self._place.camera.position
        forward = np.maximum(self._rays[..., 1], 1e-3)
        reach = (_BACKDROP_M - eye[1]) / forward
        x = (eye[0] + self._rays[..., 0] * reach).astype(np.float32)
        z = (eye[2] + self._rays[..., 2] * reach).astype(np.float32)
        style = str(rng.choice(["hedge", "wall", "building"]))
        if style == "hedge":
            leaf = np.array(_LEAVES[rng.integers(len(_LEAVES))], np.float32)
            tone = (
                0.78
                + 0.2 * self._texture(x, z, 0.5)
                + 0.22 * self._texture(x, z, 0.14)
                + 0.22 * self._texture(x, z, 0.05)
                + 0.12 * np.minimum(z, 2.0)
            )
            picture = leaf * tone[..., None]
        elif style == "wall":
            row = np.floor(z / 0.16)
            along = x / 0.5 + 0.5 * np.mod(row, 2)
            chance = np.mod(np.sin(row * 91.7 + np.floor(along) * 47.3) * 43758.5453, 1.0)
            joints = (np.mod(z, 0.16) < 0.025) | (np.mod(along, 1.0) < 0.045)
            tone = 0.9 + 0.22 * (chance - 0.5) + 0.08 * self._texture(x, z, 0.9) + 0.06 * self._texture(x, z, 0.07)
            picture = np.where(joints[..., None], np.array([168, 156, 144]), np.array([152, 98, 78])) * tone[..., None]
            coping = (z > 2.1) & (z < 2.25)
            picture = np.where(coping[..., None], np.array([178, 174, 166]) * tone[..., None], picture)
            leaf = np.array(_LEAVES[rng.integers(len(_LEAVES))], np.float32)
            trees = 0.8 + 0.25 * self._texture(x, z, 0.7) + 0.3 * self._texture(x, z, 0.17)
            picture = np.where((z >= 2.25)[..., None], leaf * trees[..., None], picture)
        else:
            stone = np.array([[188, 178, 160], [170, 172, 174], [196, 184, 150]][rng.integers(3)], np.float32)
            tone = 0.92 + 0.05 * self._texture(x, z, 1.3) + 0.04 * self._texture(x, z, 0.08)
            picture = stone * tone[..., None]
            picture = np.where((z < 0.45)[..., None], picture * 0.72, picture)
            across, up = np.mod(x, 2.6), z
            frame = (across > 0.62) & (across < 1.98) & (up > 0.95) & (up < 2.6)
            glass = (across > 0.7) & (across < 1.9) & (up > 1.03) & (up < 2.52) & (np.abs(across - 1.3) > 0.04)
            reflection = 1 + 0.35 * self._texture(x, z * 0.5, 0.9)
            picture = np.where(frame[..., None], np.array([222, 220, 214]), picture)
            picture = np.where(glass[..., None], np.array([70, 82, 94]) * reflection[..., None], picture)
        return np.asarray(picture, dtype=np.float64), z > 0


def _to_edge(cells: Array) -> Array:
    """Distance to the nearest whole number, 0..0.5."""
    return np.asarray(np.abs(np.mod(cells + 0.5, 1.0) - 0.5))


def _sign_place(place: Place, rng: np.random.Generator) -> tuple[float, float]:
    y = float(rng.choice([-_SIGN_M, _SIGN_M]))
    left, right = place.view(y)
    return left + (right - left) * float(rng.uniform(0.4, 0.6)), y


def _props(
    place: Place, rng: np.random.Generator, ground: Pixels, sunlit: Pixels
) -> tuple[tuple[Prop, ...], tuple[float, float]]:
    """A lamp, a bench, a bin, bushes, a tree; and where the lamp is. Their shadows are drawn into the ground."""
    left, right = place.view(5.0)
    near_left, near_right = place.view(-3.9)
    middle = (left + right) / 2
    standing: list[tuple[Shape, float, float]] = []
    bench_x = middle + rng.uniform(-3.0, 3.0)
    standing.append((_bench(), bench_x, 4.05))
    standing.append((_bin(), bench_x + 1.4, 3.95))
    tree_x = middle + float(rng.choice([-1, 1])) * rng.uniform(3.2, 4.6)
    standing.append((_tree(rng), tree_x, 6.6))
    for _ in range(int(rng.integers(3, 6))):
        standing.append((_bush(rng), rng.uniform(left, right), 7.6))
    lamp_x = (near_left + near_right) / 2 + float(rng.choice([-1, 1])) * rng.uniform(1.6, 2.6)
    standing.append((_lamp(), lamp_x, -3.85))
    mask = np.zeros(place.canvas_px[::-1], np.uint8)
    placed = [(shape.moved(x, y), x, y) for shape, x, y in standing]
    for shape, _, _ in placed:
        place.painter.shadow(shape, mask)
    mask = cv2.multiply(cv2.GaussianBlur(mask, (3, 3), 0), sunlit, scale=1 / 255)
    share = mask[..., None] / 255.0
    ground[:] = ground * (1 - share * (1 - np.array(place.shade)))
    sunlit[:] = cv2.subtract(sunlit, mask)
    sprites = ((place.painter.sprite(shape), place.camera.depth(x, y)) for shape, x, y in placed)
    return tuple(Prop(sprite, depth) for sprite, depth in sprites if sprite is not None), (lamp_x, -3.85)


def _bench() -> Shape:
    make = Builder()
    wood, iron = (140, 100, 66), (58, 60, 62)
    for x in (-0.75, 0.75):
        make.add(iron, (x, -0.2, 0.0, 0.03), (x, -0.2, 0.42, 0.03))
        make.add(iron, (x, 0.22, 0.0, 0.03), (x, 0.3, 0.85, 0.03))
    for y in (-0.2, -0.05, 0.1):
        make.add(wood, (-0.9, y, 0.45, 0.05), (0.9, y, 0.45, 0.05))
    for z in (0.62, 0.8):
        make.add(toned(wood, 0.9), (-0.9, 0.27, z, 0.06), (0.9, 0.27, z, 0.06))
    return make.shape()


def _bin() -> Shape:
    make = Builder()
    make.add((62, 82, 70), (0, 0, 0.12, 0.2), (0, 0, 0.75, 0.24))
    make.add((40, 44, 44), (0, 0, 0.95, 0.17))
    return make.shape()


def _lamp() -> Shape:
    make = Builder()
    make.add((66, 70, 74), (0, 0, 0.0, 0.11), (0, 0, 0.5, 0.09))
    make.add((66, 70, 74), (0, 0, 0.4, 0.055), (0, 0, 6.5, 0.045))
    return make.shape()


def _tree(rng: np.random.Generator) -> Shape:
    make = Builder()
    bark = (96, 80, 66)
    make.add(bark, (0, 0, 0.0, 0.24), (0.05, 0, 0.5, 0.16))
    make.add(bark, (0.05, 0, 0.4, 0.16), (0.0, 0.05, 3.4, 0.12))
    leaf = _LEAVES[rng.integers(len(_LEAVES))]
    _foliage(make, rng, leaf, count=170, centre=(0.0, 0.0, 3.5), extent=(1.5, 1.2, 1.1))
    return make.shape()


def _bush(rng: np.random.Generator) -> Shape:
    make = Builder()
    leaf = _LEAVES[rng.integers(len(_LEAVES))]
    _foliage(make, rng, leaf, count=60, centre=(0.0, 0.0, 0.4), extent=(0.7, 0.4, 0.4))
    return make.shape()


def _foliage(
    make: Builder,
    rng: np.random.Generator,
    colour: Colour,
    *,
    count: int,
    centre: tuple[float, float, float],
    extent: tuple[float, float, float],
) -> None:
    for _ in range(count):
        direction = rng.normal(size=3)
        direction *= rng.uniform(0.5, 1.0) / np.linalg.norm(direction)
        x, y, z = np.array(centre) + direction * np.array(extent)
        tone = 0.75 + 0.3 * direction[2] + rng.uniform(-0.15, 0.15)
        make.add(toned(colour, float(tone) + 0.25), (float(x), float(y), float(z), float(rng.uniform(0.1, 0.2))))
