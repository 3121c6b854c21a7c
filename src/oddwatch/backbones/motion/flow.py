"""Velocity of every second pixel between two frames, measured only where something has changed.

Dense inverse search (DIS, Kroeger et al., ECCV 2016) down to full resolution and without its variational refinement: on
UCSD Ped2's training frames a frame warped by that flow misses changed pixels by 6.9 grey levels, by 8.2 with the
refinement, and by 12.2 with OpenCV's MEDIUM preset (`benchmarks/flow.py`). The noise that the refinement would have
removed goes in the means over windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.motion.leaps import explained, follow_leaps
from oddwatch.backbones.motion.light import evened, relit
from oddwatch.backbones.motion.plate import in_light_of, without_place
from oddwatch.backbones.motion.specks import SPECKS_PX, without_specks
from oddwatch.backbones.motion.steady import moved, offset
from oddwatch.types import Image

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

_TILE_PX = 8
_CHANGED = 10  # grey levels, after a mean over 3 x 3 px: above the noise of cameras by day
_NOISE_TIMES = 1.7  # its median: what noise reaches at night
_NOISE_SPREADS = 4  # of its median above its quartile, by which it lies above its median in rain
_EVERYWHERE = 3  # grey levels of the quartile from which there is noise everywhere, not only texture in places
_CLEAR = 2  # levels: a tile that changed by so many times the noise stands for itself
_MOST_NOISE = 30  # grey levels: where half of the picture is taken up by people, they are not noise
_MARGIN = (5, 5)  # tiles around a changed one: patches and pyramids look beyond it
_LEAST_PX = 96  # sides of a piece: a smaller one has too few levels in its pyramid to follow anything quick
_PLATE_PX = 184  # width of one before a plain ground, in which one more level still follows somebody
_CALL_PX = 2000  # what a call costs in pixels
_WHOLE = 0.8  # share of the picture from which pieces gain nothing
_SHAKEN = 0.5  # share of changed tiles from which the picture may move as a whole
_SWAYED, _SWAYED_PX = 0.7, 0.25  # of the changed tiles are left, and px: noise sways it, too, but by less
_SHIFTED_PX = 0.5  # and does, unless all of this is noise
_LITTLE = 1 / 3  # of a tile's change: the edge of a shadow leaves a quarter, who walks more than half
_OFTEN = 0.5  # of the picture near something that changed: flakes may be few in number
_SPECKS = 0.6  # of what changed: when less is left without specks, they are what there is in the air
_EVEN = (5, 5)
_ONE = 1 / 25  # of `_EVEN`
_OUTLINE, _BESIDE = (21, 21), (9, 9)  # px: of who is less wide all moves if his outline does, and a little around it
_SLOW_PX = 2.0  # per frame: nobody takes it for haste


class Level(NamedTuple):
    """stride_px: distance of the patches. descents: steps of each."""

    stride_px: int
    descents: int


Piece = tuple[int, int, int, int]
"""left, top, right, bottom in px."""

LEVELS = {"fine": Level(4, 16), "fast": Level(6, 8)}


@dataclass(frozen=True)
class Field:
    """velocity: (H / 2, W / 2, 2) px per frame to the right and down. image: (H, W) this frame, without rain or snow.
    measured: share of the picture it took. swayed: whether the camera had moved.
    """

    velocity: Map
    image: Image
    measured: float
    swayed: bool


class Flow:
    """Buffers of one thread."""

    def __init__(self, level: str) -> None:
        chosen = LEVELS[level]
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._dis.setFinestScale(0)
        self._dis.setVariationalRefinementIterations(0)
        self._dis.setPatchStride(chosen.stride_px)
        self._dis.setGradientDescentIterations(chosen.descents)

    def __call__(self, now: Image, before: Image, light: Mask | None = None, plate: Image | None = None) -> Field:
        """On THIS frame's grid, less the shift of the whole picture (shake); 0 where nothing changed.

        now, before: (H, W) uint8, sides multiples of 8, at least 16. light: (H / 8, W / 8) where it has changed.
        plate: (H, W) uint8, see `Plate`; without one the flow is that of the picture as it is.
        """
        seen, swayed, far = _look(now, before), False, False
        if seen.shaken or seen.near.any():
            shift = offset(before, now, 1 - seen.near, far=seen.shaken)
            steady = moved(before, now, shift)
            after = seen if steady is before else _look(now, steady)
            if after.changed < seen.changed:
                far = float(np.hypot(*shift)) > _SWAYED_PX and after.changed < _SWAYED * seen.changed
                before, seen, swayed = steady, after, True
            if light is not None:
                seen, before = _look(now, before, light), evened(before, now)
        plain, specks_px = (now, before), 0
        for px in SPECKS_PX:
            if seen.level > _CHANGED or seen.near.mean() > _OFTEN:
                clear = without_specks(plain[0], px), without_specks(plain[1], px)
                after = _look(*clear, light, alone=False)
                if after.changed < _SPECKS * seen.changed:
                    (now, before), seen, specks_px = clear, after, px
        near, noisy, shaken = seen.near, seen.level > _CHANGED, seen.shaken
        if not (shaken or near.any()):
            return Field(np.zeros((now.shape[0] // 2, now.shape[1] // 2, 2), np.float32), now, 0.0, swayed)
        shown, there = now, None
        if plate is not None and not (far or shaken):  # else it would not lie on the picture
            if specks_px:
                plate = without_specks(plate, specks_px)
            plates = plate, in_light_of(now, plate)  # long shadows may look like another light
            moves = _moves(now, before, seen.level)
            now, before = (without_place(one, plates, seen.level) for one in (now, before))
            there = _there(now)
        pieces = _pieces(near, now.shape[1], now.shape[0], _LEAST_PX if there is None else _PLATE_PX)
        area = sum(_area(p) for p in pieces) / now.size
        whole = shaken or area > _WHOLE
        velocity = self._velocity(now, before, there) if whole else self._pieced(now, before, near, pieces, there)
        shaken = shaken and (
            not noisy or float(np.hypot(*_shift(velocity))) > _SHIFTED_PX
        )  # leaps are not of the camera
        follow_leaps(velocity, now, before)
        if there is not None:
            slow = np.square(velocity).sum(axis=-1) <= _SLOW_PX**2
            velocity *= (slow | (moves & explained(velocity, now, before)))[..., None]
        if shaken:
            velocity -= _shift(velocity)
        else:  # noise has a flow, too, and leaps
            outside = ~_enlarged(near, velocity)
            for channel in range(2):  # ten times as fast as indexing pairs with a mask
                np.copyto(velocity[..., channel], 0, where=outside)
        return Field(velocity, shown, 1.0 if whole else area, swayed)

    def _pieced(
        self, now: Image, before: Image, near: NDArray[np.uint8], pieces: Sequence[Piece], there: Map | None
    ) -> Map:
        """In these pieces alone, near what has changed."""
        velocity = np.zeros((now.shape[0] // 2, now.shape[1] // 2, 2), np.float32)
        for left, top, right, bottom in pieces:
            part = np.s_[top // 2 : bottom // 2, left // 2 : right // 2]
            found = self._velocity(
                now[top:bottom, left:right].copy(),
                before[top:bottom, left:right].copy(),
                None if there is None else there[part],
            )
            inside = _enlarged(near[top // _TILE_PX : bottom // _TILE_PX, left // _TILE_PX : right // _TILE_PX], found)
            for channel in range(2):
                np.copyto(velocity[part][..., channel], found[..., channel], where=inside)
        return velocity

    def _velocity(self, now: Image, before: Image, there: Map | None) -> Map:
        flow = self._dis.calc(now, before, None)
        half = cv2.resize(flow, (now.shape[1] // 2, now.shape[0] // 2), interpolation=cv2.INTER_AREA)
        if there is None:
            return np.asarray(-cv2.blur(half, _EVEN), np.float32)
        # Beside what is there is nothing that flow could hold on to: there it is as at the nearest of it.
        share = np.maximum(cv2.blur(there, _EVEN), _ONE)
        return np.asarray(cv2.blur(half * there[..., None], _EVEN) / -share[..., None], np.float32)


class _Look(NamedTuple):
    """What changed between two frames. near: (H / 8, W / 8), 1 for a changed tile or one beside it and 0 for another.
    level: see `_level`. changed: share of all tiles, noise or not.
    """

    near: NDArray[np.uint8]
    level: float
    changed: float

    @property
    def shaken(self) -> bool:
        return self.changed > _SHAKEN


def _look(now: Image, before: Image, light: Mask | None = None, *, alone: bool = True) -> _Look:
    """light: where what has only become lighter or darker has not changed. alone: whether a tile counts without
    neighbours that changed; never in noise or where the light changed.
    """
    change = _change(now, before)
    may = np.full(change.shape, alone)
    if light is not None:
        left = _change(now, relit(before, now))
        left = np.where(left < _LITTLE * change, 0, np.minimum(left, change)).astype(np.uint8)
        change, may = np.where(light, left, change), may & ~light
    level = _level(change)
    near = np.asarray(
        cv2.dilate(_marked(change, level, may & (level <= _CHANGED)), np.ones(_MARGIN, np.uint8)), np.uint8
    )
    return _Look(near, level, float((change > _CHANGED).mean()))


def _change(now: Image, before: Image) -> NDArray[np.uint8]:
    """(H / 8, W / 8) grey levels by which the pixel of a tile that changed most did."""
    difference = cv2.blur(cv2.absdiff(now, before), (3, 3))
    most = cv2.dilate(difference, np.ones((_TILE_PX, _TILE_PX), np.uint8), anchor=(0, 0))
    return np.asarray(most[::_TILE_PX, ::_TILE_PX], np.uint8)


def _level(change: NDArray[np.uint8]) -> float:
    """Grey levels above which a tile has changed by more than the noise, of which most tiles hold nothing else."""
    ranks = [change.size // 4, change.size // 2]
    quartile, median = np.partition(change, ranks, axis=None)[ranks].tolist()
    noise = _NOISE_TIMES * median
    if quartile >= _EVERYWHERE:
        noise = max(noise, median + _NOISE_SPREADS * (median - quartile))
    return float(min(max(noise, _CHANGED), _MOST_NOISE))


def _marked(change: NDArray[np.uint8], level: float, alone: Mask) -> NDArray[np.uint8]:
    """As 0 and 1: what changed by more than the level. Where it may not alone, only with two neighbours that did, or by
    far more.
    """
    marked = (change > level).astype(np.uint8)
    if not alone.all():
        with_neighbours = cv2.boxFilter(marked, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        marked[~alone & (with_neighbours < 3) & (change <= _CLEAR * level)] = 0
    return marked


def _moves(now: Image, before: Image, level: float) -> Mask:
    """(H / 2, W / 2) near or between what changed by more than the level, and not only because it is a pixel aside."""
    a, b, around = cv2.blur(now, (3, 3)), cv2.blur(before, (3, 3)), np.ones((3, 3), np.uint8)
    above, below = cv2.subtract(a, cv2.dilate(b, around)), cv2.subtract(cv2.erode(b, around), a)
    changed = (cv2.max(above, below) > level / 2).astype(np.uint8)
    inside = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones(_OUTLINE, np.uint8))
    return np.asarray(cv2.dilate(inside, np.ones(_BESIDE, np.uint8))[::2, ::2] > 0, np.bool_)


def _there(shown: Image) -> Map:
    """(H / 2, W / 2) 1 where it is not 0, and 0 elsewhere. shown: (H, W)."""
    half = cv2.resize(shown, (shown.shape[1] // 2, shown.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return (half > 0).astype(np.float32)


def _shift(velocity: Map) -> NDArray[np.float32]:
    """(2,) px per frame to the right and down, of the whole picture."""
    return np.median(velocity[::4, ::4].reshape(-1, 2), axis=0).astype(np.float32)


def _enlarged(tiles: NDArray[np.uint8], velocity: Map) -> NDArray[np.bool_]:
    """Of marked tiles, as many as there are of velocities."""
    size = velocity.shape[1], velocity.shape[0]
    return np.asarray(cv2.resize(tiles, size, interpolation=cv2.INTER_NEAREST) > 0, np.bool_)


def _pieces(near: NDArray[np.uint8], width: int, height: int, least_px: int) -> list[Piece]:
    """Boxes left, top, right, bottom in px, whole tiles, that hold all marked tiles, at least so wide; those are joined
    of which one is cheaper than two.
    """
    boxes = [
        (*_long_enough(left, left + w, width, least_px), *_long_enough(top, top + h, height, _LEAST_PX))
        for left, top, w, h, _ in cv2.connectedComponentsWithStats(near, connectivity=8)[2][1:].tolist()
    ]
    pieces: list[Piece] = []
    for left, right, top, bottom in boxes:
        piece = left, top, right, bottom
        while True:
            cheaper = next((p for p in pieces if _area(_joined(p, piece)) <= _area(p) + _area(piece) + _CALL_PX), None)
            if cheaper is None:
                break
            pieces.remove(cheaper)
            piece = _joined(cheaper, piece)
        pieces.append(piece)
    return pieces


def _long_enough(first: int, last: int, length_px: int, least_px: int) -> tuple[int, int]:
    """Tiles first..last-1 in px, grown to the least that a piece has, inside a picture of this length."""
    missing = max(least_px // _TILE_PX - (last - first), 0)
    first -= missing // 2
    last += missing - missing // 2
    shift = max(-first, 0) - max(last - length_px // _TILE_PX, 0)
    return max(first + shift, 0) * _TILE_PX, min(last + shift, length_px // _TILE_PX) * _TILE_PX


def _joined(one: Piece, other: Piece) -> Piece:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _area(piece: Piece) -> int:
    return (piece[2] - piece[0]) * (piece[3] - piece[1])
