"""What moved further between two frames than coarse-to-fine flow can follow: blocks are looked for in the frame before.

A small thing that leaps further than its own size is gone from the coarse levels of a pyramid (Brox and Malik, Large
displacement optical flow, TPAMI 2011, add matches of descriptors for that). Here it is done only where the flow does
not explain what changed, and only a block counts that is found where something went away, with neighbours that leapt
alike, some of which are found again from there: grass looks like other grass, but that did not change; of somebody who
comes in at the border nothing was there before, and what looks like him then is in another place now.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import Image

Map = NDArray[np.float32]

_TILE = 4  # px of half size
_BLOCK = 5  # px of half size on each side of a tile's middle
_REACH = 1 / 8  # of the picture's width, half of it up and down
_CHANGED = 8  # grey levels, mean of a block
_UNEXPLAINED = 0.5  # of the change is left after the flow
_AROUND, _BETTER = (11, 11), 0.7  # px of half size, in which less than so much of the change is left
_FOUND = 0.7  # of what is left is left after the leap
_NEAR = 3  # tiles, to each side
_ALIKE_PX = 2  # of half size
_AGREE = 3  # tiles near one, with it
_AGAIN = 1 / 3  # of these are found again backwards: arms and legs change


def follow_leaps(velocity: Map, now: Image, before: Image) -> None:
    """Puts leaps in `velocity`, (H / 2, W / 2, 2) px per frame. now, before: (H, W) uint8, sides multiples of 8."""
    size = velocity.shape[1], velocity.shape[0]
    now, before = (np.asarray(cv2.resize(i, size, interpolation=cv2.INTER_AREA), np.uint8) for i in (now, before))
    change = np.asarray(cv2.absdiff(now, before), np.uint8)
    changed, left = _blocks(change), _blocks(_unexplained(velocity, now, before))
    lost = (left > _CHANGED) & (left > _UNEXPLAINED * changed)
    lost &= cv2.boxFilter(lost.astype(np.uint8), -1, (2 * _NEAR + 1, 2 * _NEAR + 1), normalize=False) >= _AGREE
    found = []
    for (y, x), most in zip(np.argwhere(lost).tolist(), (_FOUND * left[lost]).tolist(), strict=True):
        rows, columns = _block(y, now.shape[0]), _block(x, now.shape[1])
        right, down = _leap(rows, columns, now, before)
        source = slice(rows.start - down, rows.stop - down), slice(columns.start - right, columns.stop - right)
        block = now[rows, columns]
        apart = cv2.norm(block, before[source], cv2.NORM_L1) / block.size
        if apart > most or cv2.norm(change[source], cv2.NORM_L1) < _CHANGED * block.size:
            continue
        back = _leap(*source, before, now)
        again = max(abs(right + back[0]), abs(down + back[1])) <= _ALIKE_PX
        found.append((y, x, right, down, again))
    leaps = np.array(found)
    for leap in leaps if len(found) >= _AGREE else ():
        alike = (np.abs(leaps - leap)[:, :4] <= (_NEAR, _NEAR, _ALIKE_PX, _ALIKE_PX)).all(axis=1)
        if np.count_nonzero(alike) >= _AGREE and leaps[alike, 4].mean() >= _AGAIN:
            y, x, right, down, _ = leap
            velocity[y * _TILE : (y + 1) * _TILE, x * _TILE : (x + 1) * _TILE] = 2 * right, 2 * down


def explained(velocity: Map, now: Image, before: Image) -> NDArray[np.bool_]:
    """(H / 2, W / 2) where the flow leaves less of what changed, and comes from within the picture: what appears from
    behind a tree, over the border or as noise has a flow, too. Arguments: as in `follow_leaps`.
    """
    size = velocity.shape[1], velocity.shape[0]
    now, before = (np.asarray(cv2.resize(i, size, interpolation=cv2.INTER_AREA), np.uint8) for i in (now, before))
    differences = cv2.absdiff(now, before), _unexplained(velocity, now, before)
    changed, left = (cv2.blur(one, _AROUND).astype(np.float32) for one in differences)
    x, y = (place - velocity[..., axis] / 2 for axis, place in enumerate(_places(*now.shape)))
    known = (x > -1) & (x < now.shape[1]) & (y > -1) & (y < now.shape[0])
    return np.asarray(known & (left < _BETTER * changed), np.bool_)


def _unexplained(velocity: Map, now: Image, before: Image) -> Image:
    """Difference between this frame and the one before, moved along the flow."""
    x, y = _places(*now.shape)
    moved = cv2.remap(
        before, x - velocity[..., 0] / 2, y - velocity[..., 1] / 2, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.absdiff(now, moved), np.uint8)


@lru_cache(maxsize=8)
def _places(height: int, width: int) -> tuple[Map, Map]:
    """(height, width) x and y of each pixel."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def _blocks(difference: Image) -> Map:
    """Means of the blocks around the middles of all tiles."""
    means = cv2.blur(difference, (2 * _TILE, 2 * _TILE))
    return means[_TILE // 2 :: _TILE, _TILE // 2 :: _TILE].astype(np.float32)


def _block(tile: int, length: int) -> slice:
    middle = tile * _TILE + _TILE // 2
    return slice(max(middle - _BLOCK, 0), min(middle + _BLOCK, length))


def _leap(rows: slice, columns: slice, now: Image, before: Image) -> tuple[int, int]:
    """px of half size to the right and down, from where the most alike block was."""
    far = round(_REACH * now.shape[1])
    top, left = max(rows.start - far // 2, 0), max(columns.start - far, 0)
    around = before[top : rows.stop + far // 2, left : columns.stop + far]
    x, y = cv2.minMaxLoc(cv2.matchTemplate(around, now[rows, columns], cv2.TM_SQDIFF))[2]
    return columns.start - left - x, rows.start - top - y
