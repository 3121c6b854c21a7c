"""A plain descriptor of a whole clip, for `classes.py` to compare with: HOF, MBH and HOG in spatial pyramids.

Histograms of flow, of the flow's edges and of the picture's edges (Dalal, Triggs and Schmid, ECCV 2006), of every pair
of frames at 160x120, the median flow taken out, averaged over the clip and over the cells of pyramids of 1, 2 and 4
cells a side (Lazebnik et al., CVPR 2006).
"""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import FloatArray
from oddwatch.video import open_video

KINDS = ("hof", "mbh", "hog")
_SIZE = 160, 120
_CELLS = (1, 2, 4)
_BINS = 8
_STILL_PX = 0.5  # per frame: shorter flow goes into a bin of its own
_NEIGHBOURS = 3

Map = NDArray[np.float32]


def pyramids(path: str | os.PathLike[str]) -> FloatArray:
    """(3, D) the histograms of each of `KINDS`, padded with zeros to the longest. Raises VideoError."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found: list[list[FloatArray]] = []
    before: NDArray[np.uint8] | None = None
    with open_video(path) as video:
        for frame in video:
            gray = cv2.resize(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), _SIZE, interpolation=cv2.INTER_AREA)
            now = np.asarray(gray, np.uint8)
            if before is not None:
                flow = dis.calc(before, now, np.zeros((*now.shape, 2), np.float32))
                found.append(_of_pair(now, np.asarray(flow - np.median(flow, axis=(0, 1)), np.float32)))
            before = now
    means = [_shares(np.mean([pair[kind] for pair in found], axis=0)) for kind in range(len(KINDS))]
    longest = max(len(mean) for mean in means)
    return np.stack([np.pad(mean, (0, longest - len(mean))) for mean in means])


def distances(learned: FloatArray, clips: FloatArray) -> FloatArray:
    """(n,) mean distance of clips (n, 3, D) to their three nearest of the learned ones (m, 3, D): each kind
    standardised by what was learned and brought to length 1, then all of them in one row.
    """
    mean, spread = learned.mean(axis=0), learned.std(axis=0)
    a, b = (_lengths_of_1((rows - mean) / np.where(spread > 0, spread, np.inf)) for rows in (clips, learned))
    apart = np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0))
    return np.asarray(np.sort(apart, axis=1)[:, :_NEIGHBOURS].mean(axis=1))


def _lengths_of_1(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=2, keepdims=True)
    return np.asarray((rows / np.maximum(lengths, 1e-12)).reshape(len(rows), -1))


def _shares(histogram: FloatArray) -> FloatArray:
    """Square roots of the shares of the whole (Arandjelovic and Zisserman, CVPR 2012). Of seven ways to normalise tried
    on the draws of `classes.py` the best for this descriptor.
    """
    return np.asarray(np.sqrt(histogram / max(float(histogram.sum()), 1e-12)))


def _of_pair(gray: NDArray[np.uint8], flow: Map) -> list[FloatArray]:
    right, down = flow[..., 0], flow[..., 1]
    moves = np.hypot(right, down) >= _STILL_PX
    hof = np.concatenate([_oriented(right * moves, down * moves), ~moves[..., None]], axis=2)
    mbh = np.concatenate([_oriented(*_edges(one)) for one in (right, down)], axis=2)
    return [_pooled(one) for one in (hof, mbh, _oriented(*_edges(gray)))]


def _edges(image: NDArray[np.generic]) -> tuple[Map, Map]:
    right, down = (cv2.Sobel(np.asarray(image, np.float32), cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    return np.asarray(right, np.float32), np.asarray(down, np.float32)


def _oriented(x: Map, y: Map) -> Map:
    """(H, W, 8) the length of each vector, shared between the two orientations that it lies between."""
    turn = np.arctan2(y, x) * (_BINS / (2 * np.pi)) % _BINS
    low = np.floor(turn)
    part, length = turn - low, np.hypot(x, y)
    bins = np.arange(_BINS)
    first = (low[..., None] % _BINS == bins) * (length * (1 - part))[..., None]
    return np.asarray(first + ((low[..., None] + 1) % _BINS == bins) * (length * part)[..., None], np.float32)


def _pooled(values: Map) -> FloatArray:
    """(21 x bins,) means over the cells of all levels."""
    levels = [cv2.resize(values, (n, n), interpolation=cv2.INTER_AREA).reshape(-1) for n in _CELLS]
    return np.concatenate(levels).astype(np.float64)
