"""How a detector learns: which embeddings teach, which are held out, and what they score. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.embed import Progress, StoredEmbeddings
from oddwatch.errors import NotEnoughVideoError, VideoError
from oddwatch.grouping import settled
from oddwatch.scorers import GridScorer, Scorer
from oddwatch.scorers.base import PIXELS
from oddwatch.types import Embeddings, FloatArray, ScoreTrack, covered_seconds

Indices = NDArray[np.int64]
PIECE_SECONDS = 10.0
"""Usual video that comes in fewer than ten files, or in one that is longer than a fold, is judged by the clip in pieces
of this length."""
_CHUNK = 256
_GUARD_SECONDS = 2.0
_REGION = 0.6


def inputs_of(stored: StoredEmbeddings) -> list[dict[str, Any]]:
    """What it learns from, as JSON types."""
    return [
        {
            "name": v.name,
            "label": v.label,
            "sha256": v.sha256,
            "fps": v.fps,
            "seconds": round(covered_seconds(*stored.times[v.first : v.last].T), 3),
        }
        for v in stored.videos
    ]


@dataclass(frozen=True)
class Piece:
    """A stretch of one video: embeddings first..last-1, in fold `fold`."""

    video: int
    first: int
    last: int
    fold: int


def cut(stored: StoredEmbeddings, folds: int) -> list[Piece]:
    """Contiguous pieces of usual video, and contiguous groups of them as folds: neighbours in time stay together.

    With ten videos or more a piece is a video. With fewer, and wherever a video alone is more than a fold's fair share
    (total / folds), it is 10 seconds of one, or less when there is too little. Raises NotEnoughVideoError for fewer
    than 20 embeddings.
    """
    total = len(stored)
    if total < 20:
        raise NotEnoughVideoError(
            f"{total} usual moments are too few to learn from, 20 are needed: give longer videos, or more of them"
        )
    bounds: list[tuple[int, int, int]] = []
    for index, video in enumerate(stored.videos):
        parts = 1
        share = (video.last - video.first) / total
        if len(stored.videos) < 10 or share * folds > 1:
            seconds = covered_seconds(*stored.times[video.first : video.last].T)
            parts = max(round(seconds / PIECE_SECONDS), int(np.ceil(2 * folds * share)), 1)
        edges = np.linspace(video.first, video.last, min(parts, video.last - video.first) + 1).astype(int)
        bounds += [(index, int(a), int(b)) for a, b in pairwise(edges)]
    return [Piece(v, a, b, min(int(folds * (a + b) / 2 / total), folds - 1)) for v, a, b in bounds]


def teachers(stored: StoredEmbeddings, pieces: Sequence[Piece], fold: int) -> Indices:
    """Embeddings outside `fold`, less those within 2 s of it, whose windows may have seen some of it."""
    teach = np.ones(len(stored), dtype=bool)
    for piece in (p for p in pieces if p.fold == fold):
        video = stored.videos[piece.video]
        start = stored.times[piece.first, 0] - _GUARD_SECONDS
        end = stored.times[piece.last - 1, 1] + _GUARD_SECONDS
        times = stored.times[video.first : video.last]
        teach[video.first : video.last] &= (times[:, 1] < start) | (times[:, 0] > end)
    return np.flatnonzero(teach)


class FittedScorer:
    """A scorer with what it looks at: the `vector` of an embedding, or its `grid`."""

    def __init__(self, scorer: Scorer, on: str) -> None:
        self.scorer = scorer
        self.on = on
        self._grid = GridScorer(scorer)

    def fit(self, stored: StoredEmbeddings, items: Indices, *, seed: int) -> FittedScorer:
        """Learn from these embeddings, or from a random sample of `max_rows` rows. Raises NotEnoughVideoError."""
        if self.on == "grid":
            assert stored.grid_shape is not None
            values, cells, of = stored.sample_rows(
                items, most=self.scorer.max_rows, seed=seed, run=self.scorer.run_of_moments
            )
            if len(values) < 2:
                raise NotEnoughVideoError("nothing moves in the usual video: give video in which the usual happens")
            x = self._grid.rows(values, cells, stored.grid_shape[:2])
            del values, cells  # as large as x
        else:
            most, rng = self.scorer.max_rows, np.random.default_rng(seed)
            of = items if len(items) <= most else np.sort(rng.choice(items, most, replace=False))
            x = stored.vectors[of]
        videos = stored.video_of[of]
        groups = np.stack([videos, stored.times[of, 1]], axis=1)
        self.scorer.fit(x, labels=[stored.videos[v].label for v in videos], groups=groups)
        return self

    def survey(self, stored: StoredEmbeddings) -> None:
        """Show the scorer all embeddings of which `fit` took a sample."""
        if self.on != "grid":
            return

        def usual() -> Iterator[tuple[NDArray[np.float32], FloatArray]]:
            for video, one in enumerate(stored.videos):
                for first in range(one.first, one.last, _CHUNK):
                    last = min(first + _CHUNK, one.last)
                    rows, held = self._grid.held_rows(stored.grids(first, last))
                    seconds = stored.times[first:last, 1][np.nonzero(held)[0]]
                    yield rows, np.stack([np.full(len(seconds), float(video)), seconds], axis=1)

        self.scorer.survey(usual())

    def maps(self, grids: FloatArray) -> NDArray[np.float32]:
        """(N, Gh, Gw) anomaly maps of grids (N, Gh, Gw, d)."""
        return self._grid.maps(grids)

    def highest_cell(self, embeddings: Embeddings, anomaly_map: FloatArray | None) -> int | None:
        """Of the flattened map (Gh, Gw) of the first embedding, which is made without one; None without grids."""
        if self.on != "grid" or embeddings.grid is None:
            return None
        return int((self.maps(embeddings.grid[:1])[0] if anomaly_map is None else anomaly_map).argmax())

    def vector_scores(self, vectors: FloatArray) -> FloatArray:
        """(N,) scores of vectors (N, D)."""
        return self.scorer.score(vectors)

    def track(
        self,
        embeddings: Embeddings,
        source: str,
        shape: tuple[int, int, int] | None,
        *,
        maps: bool,
        reasons_from: float,
    ) -> ScoreTrack:
        """The score track of embeddings. shape: (Gh, Gw, d) that their grids must have, where it looks at grids. maps:
        keep the anomaly maps. reasons_from: lower scores get none. Raises VideoError for another shape.
        """
        times = embeddings.start_seconds, embeddings.end_seconds
        if self.on == "vector":
            return ScoreTrack(source, *times, self.vector_scores(embeddings.vector))
        grid = embeddings.grid
        if grid is None or grid.shape[1:] != shape:
            shapes = f"{None if grid is None else grid.shape[1:3]}, learned {shape and shape[:2]}"
            raise VideoError(
                source,
                f"its picture has another shape than the video this detector learned from (grid {shapes})",
                "score the camera view that it learned, or learn a detector for this one",
            )
        found, reasons = self._grid.explained(grid, reasons_from)
        scores = found.max(axis=(1, 2)).astype(np.float64)
        return ScoreTrack(source, *times, scores, peak_boxes(found), found if maps else None, reasons=reasons)

    def scores(self, stored: StoredEmbeddings, first: int, last: int) -> FloatArray:
        """(last - first,) scores; of a grid the highest of its map."""
        if self.on == "vector":
            return self.vector_scores(stored.vectors[first:last])
        parts = [self.maps(stored.grids(i, min(i + _CHUNK, last))).max(axis=(1, 2)) for i in range(first, last, _CHUNK)]
        return np.concatenate(parts).astype(np.float64)

    def clip_score(self, vectors: FloatArray, scores: FloatArray) -> float:
        """ONE score of a whole clip: of its mean vector, or on a grid the highest of its moments (scores). Of pixels it
        is the mean of its moments, because a mean of pictures is no picture.
        """
        if self.on == "grid":
            return float(scores.max())
        if self.scorer.columns == PIXELS:
            return float(scores.mean())
        return float(self.vector_scores(vectors.mean(axis=0, keepdims=True))[0])


def maker(
    stored: StoredEmbeddings,
    build: Callable[[], Scorer],
    on: str,
    *,
    seed: int,
    times: int,
    progress: Progress | None = None,
) -> Callable[[Indices], FittedScorer]:
    """(embeddings to learn from) -> scorer, which will be called so many times; progress is told how far that is."""
    fits = iter(range(times))

    def make(items: Indices) -> FittedScorer:
        scorer, done = build(), next(fits)

        def told(share: float) -> None:
            if progress:
                progress("learning what is usual", done + share, float(times))

        told(0.0)
        scorer.told = told
        return FittedScorer(scorer, on).fit(stored, items, seed=seed)

    return make


@dataclass(frozen=True)
class HeldOut:
    """What usual video scores by a scorer that had not learned from it: by the moment (tracks) and by the clip.

    clip_scores, clip_seconds: (n,) scores and lengths of the pieces that stand for clips.
    """

    tracks: tuple[ScoreTrack, ...]
    clip_scores: FloatArray
    clip_seconds: FloatArray


def hold_out(
    stored: StoredEmbeddings,
    make: Callable[[Indices], FittedScorer],
    *,
    folds: int,
    whole: FittedScorer,
    settling_seconds: float = 0.0,
) -> HeldOut:
    """Score every piece by a scorer made from the other folds (cross-fitting, so that all usual video both teaches and
    calibrates). make: (embeddings to learn from) -> scorer. whole: the one of all of it, in whose units they score.
    settling_seconds: so much of the beginning of a video, and after a gap, is left out of its track, unless it is all.
    """
    kept = _kept(stored, settling_seconds)
    pieces = cut(stored, folds)
    used = sorted({p.fold for p in pieces})
    tracks: list[ScoreTrack] = []
    clips: list[float] = []
    lengths: list[float] = []
    for fold in used:
        items = teachers(stored, pieces, fold)
        if not len(items):
            raise NotEnoughVideoError("too little usual video to hold any of it out: give at least 10 seconds")
        scorer = make(items)
        scorer.scorer.scale_as(whole.scorer)
        for run in _runs([p for p in pieces if p.fold == fold]):
            first, last = run[0].first, run[-1].last
            scores = scorer.scores(stored, first, last)
            keep = kept[first:last]
            if keep.any():
                start, end = stored.times[first:last][keep].T
                tracks.append(ScoreTrack(stored.videos[run[0].video].name, start, end, scores[keep]))
            clips += [
                scorer.clip_score(stored.vectors[p.first : p.last], scores[p.first - first : p.last - first])
                for p in run
            ]
            lengths += [stored.times[p.last - 1, 1] - stored.times[p.first, 0] for p in run]
    return HeldOut(tuple(tracks), np.array(clips), np.array(lengths))


def _kept(stored: StoredEmbeddings, settling_seconds: float) -> NDArray[np.bool_]:
    """(N,) which moments may be events."""
    kept = np.ones(len(stored), dtype=bool)
    for video in stored.videos:
        times = stored.times[video.first : video.last]
        found = settled(times[:, 0], times[:, 1], settling_seconds)
        kept[video.first : video.last] = found if found.any() else True
    return kept


def _runs(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Neighbouring pieces of one video, together."""
    runs: list[list[Piece]] = []
    for piece in pieces:
        if runs and runs[-1][-1].video == piece.video and runs[-1][-1].last == piece.first:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def peak_boxes(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) left, top, right, bottom (fractions) of the region around the peak where a map is at least 0.6 of it."""
    height, width = maps.shape[1:]
    boxes = np.zeros((len(maps), 4), dtype=np.float32)
    for i, one in enumerate(maps):
        y, x = np.unravel_index(int(one.argmax()), one.shape)
        peak = one[y, x]
        if peak <= 0:
            boxes[i] = (0, 0, 1, 1)
            continue
        _, labels, stats, _ = cv2.connectedComponentsWithStats((one >= _REGION * peak).astype(np.uint8))
        left, top, w, h = stats[labels[y, x]][:4]
        boxes[i] = (left / width, top / height, (left + w) / width, (top + h) / height)
    return boxes
