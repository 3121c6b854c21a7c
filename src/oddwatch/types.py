"""The records that cross a boundary between modules.

Each rejects wrong shapes when it is made, and its repr shows shapes, never arrays. Times are seconds from the first
frame of a video. Places are fractions of the frame (0..1, x to the right, y down) unless a name ends in `_px`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
Image = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

Box = tuple[float, float, float, float]
"""left, top, right, bottom as fractions of the frame, 0..1."""

Split = Literal["train", "test"]
EVENT_SECONDS = 0.6  # the least that an event lasts: what is over before is none, of alarms and of usual video


def _shape(value: object) -> object:
    return f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else value


def _require(condition: bool, message: str, *arrived: object) -> None:
    # What arrived is put in words only for an error: these checks are made several times a frame.
    if not condition:
        raise ValueError(message + "".join(f", got {_shape(value)}" for value in arrived))


def covered_stretches(start_seconds: FloatArray, end_seconds: FloatArray) -> list[tuple[float, float]]:
    """The union of intervals (N,) to (N,), which may overlap and leave gaps, as separate ones in order.

    >>> covered_stretches(np.array([0.0, 1.0, 9.0]), np.array([2.0, 3.0, 10.0]))
    [(0.0, 3.0), (9.0, 10.0)]
    """
    if not len(start_seconds):
        return []
    order = np.argsort(start_seconds, kind="stable")
    start, reached = start_seconds[order], np.maximum.accumulate(end_seconds[order])
    after_gap = np.flatnonzero(start[1:] > reached[:-1]) + 1
    firsts, lasts = np.r_[0, after_gap], np.r_[after_gap, len(start)] - 1
    return [(float(a), float(b)) for a, b in zip(start[firsts], reached[lasts], strict=True)]


def covered_seconds(start_seconds: FloatArray, end_seconds: FloatArray) -> float:
    """How much time the intervals cover, gaps left out.

    >>> covered_seconds(np.array([0.0, 1.0, 9.0]), np.array([2.0, 3.0, 10.0]))
    4.0
    """
    return sum(end - start for start, end in covered_stretches(start_seconds, end_seconds))


class _ShapeRepr:
    """A repr that shows the shape of an array instead of its numbers."""

    def __repr__(self) -> str:
        parts = (f"{f.name}={_shape(getattr(self, f.name))!r}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, eq=False, repr=False)
class Frame(_ShapeRepr):
    """One picture of a video.

    image: (H, W, 3) uint8 RGB, upright. time_seconds: from the stream, the first frame is 0. index: frames before it.
    """

    image: Image
    time_seconds: float
    index: int

    def __post_init__(self) -> None:
        _require(
            self.image.ndim == 3 and self.image.shape[2] == 3 and self.image.dtype == np.uint8,
            "a frame is (H, W, 3) uint8",
            self.image,
        )


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself. `None`: it does not say, or it says nonsense.

    name: how to call it in a table (no password in it). width_px, height_px: upright, as frames arrive.
    fps: average frames per second. duration_seconds: what the container claims, which can be wrong.
    """

    name: str
    width_px: int
    height_px: int
    fps: float | None
    duration_seconds: float | None
    codec: str


@dataclass(frozen=True, eq=False, repr=False)
class Clip(_ShapeRepr):
    """T frames sampled from a stretch of video: images (T, H, W, 3) uint8 RGB, times_seconds (T,) ascending."""

    images: Image
    times_seconds: FloatArray
    start_seconds: float
    end_seconds: float

    def __post_init__(self) -> None:
        _require(
            self.images.ndim == 4 and self.images.shape[3] == 3 and self.images.dtype == np.uint8,
            "clip images are (T, H, W, 3) uint8",
            self.images,
        )
        _require(
            self.times_seconds.shape == self.images.shape[:1],
            f"{len(self.images)} images need as many times",
            self.times_seconds,
        )


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings(_ShapeRepr):
    """N embeddings in order of time.

    vector: (N, D) float32. grid: (N, Gh, Gw, d) float32 or None. start_seconds, end_seconds: (N,) the stretch of video
    that each one looked at; it was known at end_seconds (nothing later was used).
    """

    vector: FloatArray
    grid: FloatArray | None
    start_seconds: FloatArray
    end_seconds: FloatArray

    def __post_init__(self) -> None:
        n = len(self.vector)
        _require(self.vector.ndim == 2, "vector is (N, D)", self.vector)
        _require(
            self.grid is None or (self.grid.ndim == 4 and len(self.grid) == n), f"grid is ({n}, Gh, Gw, d)", self.grid
        )
        for name in ("start_seconds", "end_seconds"):
            _require(getattr(self, name).shape == (n,), f"{name} is ({n},)", getattr(self, name))

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, rows: slice) -> Embeddings:
        """Some of them."""
        grid = None if self.grid is None else self.grid[rows]
        return Embeddings(self.vector[rows], grid, self.start_seconds[rows], self.end_seconds[rows])

    @staticmethod
    def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
        """Join batches of one stream, in the order given. Raises ValueError when there are none."""
        _require(len(parts) > 0, "nothing to concatenate")
        grids = [p.grid for p in parts if p.grid is not None]
        _require(len(grids) in (0, len(parts)), "some batches have a grid and some do not")
        return Embeddings(
            vector=np.concatenate([p.vector for p in parts]),
            grid=np.concatenate(grids) if grids else None,
            start_seconds=np.concatenate([p.start_seconds for p in parts]),
            end_seconds=np.concatenate([p.end_seconds for p in parts]),
        )


@dataclass(frozen=True)
class Reason:
    """Why a score is high. attribute: a word such as `speed`. level: how unusual, 1 is as unusual as usual video gets.
    says: the same for people, such as `3.1x the usual speed here`.
    """

    attribute: str
    level: float
    says: str


@dataclass(frozen=True, eq=False, repr=False)
class ScoreTrack(_ShapeRepr):
    """Scores over the time of one video or stream. HIGH = ANOMALOUS.

    source: the video's display name. start_seconds, end_seconds: (N,) what each score looked at, known at its end.
    scores: (N,) float64, finite, >= 0. boxes: (N, 4) float32 left, top, right, bottom (fractions) of the region around
    the highest cell, or None without a grid. maps: (N, Gh, Gw) float32 anomaly maps, or None when not asked for. info:
    the video. reasons: N of them, why each score is as high as it is (None: nothing is), or None when nobody can say.
    """

    source: str
    start_seconds: FloatArray
    end_seconds: FloatArray
    scores: FloatArray
    boxes: FloatArray | None = None
    maps: FloatArray | None = None
    info: VideoInfo | None = None
    reasons: tuple[Reason | None, ...] | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        n = len(self.scores)
        _require(self.scores.ndim == 1, "scores is (N,)", self.scores)
        _require(bool((np.isfinite(self.scores) & (self.scores >= 0)).all()), "scores must be finite and not negative")
        for name, shape in (("start_seconds", (n,)), ("end_seconds", (n,))):
            _require(getattr(self, name).shape == shape, f"{name} is {shape}", getattr(self, name))
        _require(self.boxes is None or self.boxes.shape == (n, 4), f"boxes is ({n}, 4)", self.boxes)
        _require(
            self.maps is None or (self.maps.ndim == 3 and len(self.maps) == n), f"maps is ({n}, Gh, Gw)", self.maps
        )
        _require(self.reasons is None or len(self.reasons) == n, f"there are {n} reasons, one for each score")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def stretches(self) -> list[tuple[float, float]]:
        """(start, end) in seconds of what the track covers without a gap, in order."""
        return covered_stretches(self.start_seconds, self.end_seconds)

    @property
    def seconds(self) -> float:
        """How much time the track covers; gaps, in which there was no video, do not count."""
        return covered_seconds(self.start_seconds, self.end_seconds)

    @staticmethod
    def concatenate(parts: Sequence[ScoreTrack]) -> ScoreTrack:
        """Join stretches of one video, in the order given. Raises ValueError when there are none."""
        _require(len(parts) > 0, "nothing to concatenate")
        joined: dict[str, Any] = {}
        for name in ("start_seconds", "end_seconds", "scores", "boxes", "maps"):
            arrays = [a for p in parts if (a := getattr(p, name)) is not None]
            _require(len(arrays) in (0, len(parts)), f"some stretches have {name} and some do not")
            joined[name] = np.concatenate(arrays) if arrays else None
        told = [p.reasons for p in parts if p.reasons is not None]
        _require(len(told) in (0, len(parts)), "some stretches have reasons and some do not")
        joined["reasons"] = tuple(reason for reasons in told for reason in reasons) if told else None
        return replace(parts[0], **joined)

    def at(self, times_seconds: FloatArray) -> FloatArray:
        """The latest score known at each time (causal). (M,) float64; 0 before the first one."""
        times = np.asarray(times_seconds, dtype=np.float64)
        if not len(self):
            return np.zeros(times.shape)
        latest = np.searchsorted(self.end_seconds, times + 1e-6, side="right") - 1
        return np.where(latest >= 0, self.scores[np.maximum(latest, 0)], 0.0)


@dataclass(frozen=True)
class Event:
    """A stretch of track above the threshold.

    peak_score is reached at peak_seconds. p_value: how often usual video scores at least as high (None: no
    calibration). box: where, as fractions of the frame (None: the scorer does not localise). reason: why the peak is so
    high (None: the scorer cannot say).
    """

    start_seconds: float
    end_seconds: float
    peak_seconds: float
    peak_score: float
    p_value: float | None = None
    box: Box | None = None
    reason: Reason | None = None

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.end_seconds - self.start_seconds

    def overlaps(self, happened: TruthEvent, *, tolerance_seconds: float = 0.0) -> bool:
        """Whether it has a moment in common with what happened, which may end later by the tolerance (ends count)."""
        return (
            self.start_seconds <= happened.end_seconds + tolerance_seconds
            and self.end_seconds >= happened.start_seconds
        )

    @property
    def place(self) -> str:
        """Where its box is, in words: `upper left`, `middle`, `lower right`...; `-` without a box."""
        if self.box is None:
            return "-"
        left, top, right, bottom = self.box
        across = ("left", "", "right")[min(int(3 * (left + right) / 2), 2)]
        down = ("upper", "", "lower")[min(int(3 * (top + bottom) / 2), 2)]
        return " ".join(word for word in (down, across) if word) or "middle"


@dataclass(frozen=True)
class TruthBox:
    """Where an unusual thing is at one moment."""

    time_seconds: float
    box: Box


@dataclass(frozen=True)
class TruthEvent:
    """One unusual event that is known to have happened. kind: a word such as `cyclist`. boxes: over time, or empty."""

    kind: str
    start_seconds: float
    end_seconds: float
    boxes: tuple[TruthBox, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Sample(_ShapeRepr):
    """One video of a data set: what to read and what is known about it.

    name: unique in the data set. path: file or folder of frames. fps: needed for a folder of frames, else None.
    label: class of the clip ("usual" when there are no classes). truth: unusual events, None when it is not known,
    empty when there are none. frame_labels: (N,) bool per frame, None when only `truth` is known.
    masks: called, it reads (N, H, W) bool, the unusual pixels of each frame; None when there are none to read.
    """

    name: str
    path: str
    split: Split
    fps: float | None = None
    label: str = "usual"
    truth: tuple[TruthEvent, ...] | None = None
    frame_labels: NDArray[np.bool_] | None = None
    masks: Callable[[], NDArray[np.bool_]] | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set: its name, its samples, and whom to cite."""

    name: str
    samples: tuple[Sample, ...]
    citation: str = ""

    def split(self, split: Split) -> tuple[Sample, ...]:
        """The samples of one split, in order."""
        return tuple(s for s in self.samples if s.split == split)


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, and why. reason: names the remedy but not the source; `str` has both."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@dataclass(frozen=True)
class FrameMetrics:
    """Frame-level figures of one configuration (definitions: `oddwatch.metrics`). None: not defined on this data.

    regions_derived: whether nobody annotated the regions and tracks behind rbdc and tbdc: derived from pixel masks.
    pixel_auc: micro AUC by the pixel-level criterion, where there are masks.
    """

    micro_auc: float | None
    macro_auc: float | None
    macro_auc_padded: float | None
    macro_videos: int
    average_precision: float | None
    eer: float | None
    rbdc: float | None = None
    tbdc: float | None = None
    regions_derived: bool | None = None
    pixel_auc: float | None = None


@dataclass(frozen=True)
class EventMetrics:
    """Event-level figures at one threshold (definitions: `oddwatch.metrics`)."""

    threshold: float
    truth_events: int
    found_events: int
    false_alarms: int
    normal_hours: float
    false_alarms_per_hour: float | None
    recall: float | None
    median_delay_seconds: float | None


@dataclass(frozen=True)
class LeaveOneOut:
    """Each usual video scored by a detector that learned from the others, at the threshold of the asked budget.

    interval: exact 95% Poisson interval of the number of false alarms in `hours`. expected: what the budget allows,
    None when it is a share of scores and not a rate.
    """

    budget: str
    hours: float
    false_alarms: int
    interval: tuple[float, float]
    expected: float | None

    @property
    def verdict(self) -> str | None:
        """What the interval says of the budget, to be put after `the count`; None when nothing can be expected."""
        if self.expected is None:
            return None
        low, high = self.interval
        if self.expected < low:
            return "is more than the budget allows"
        return "agrees with the budget" if self.expected <= high else "is less than the budget allows"


@dataclass(frozen=True)
class Row:
    """One configuration in a comparison table. offline: of scores smoothed over past and future. found: its events in
    each test video, empty without a threshold.
    """

    name: str
    causal: FrameMetrics
    offline: FrameMetrics | None = None
    events: EventMetrics | None = None
    note: str = ""
    found: tuple[tuple[Event, ...], ...] = field(repr=False, default=())


@dataclass(frozen=True, eq=False)
class ScoredSample:
    """One test video with its track (maps kept), the events found in it, and per-frame times and labels.

    frame_seconds: (N,) float64. frame_labels: (N,) bool or None. frame_scores: (N,) float64, causal.
    """

    sample: Sample
    track: ScoreTrack
    events: tuple[Event, ...]
    frame_seconds: FloatArray = field(repr=False)
    frame_scores: FloatArray = field(repr=False)
    frame_labels: NDArray[np.bool_] | None = field(repr=False, default=None)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that `oddwatch evaluate` found; the report is drawn from it and from nothing else.

    rows: the first is the configuration asked for. samples: the test videos scored by it. usual_scores: held-out scores
    of usual training video. threshold, threshold_says: the alert threshold and from what it comes, in a sentence.
    settings: nested, JSON types only (versions, seeds, options).
    """

    dataset: str
    rows: tuple[Row, ...]
    samples: tuple[ScoredSample, ...]
    usual_scores: FloatArray = field(repr=False)
    threshold: float
    threshold_says: str
    frames_per_second: float | None
    leave_one_out: LeaveOneOut | None
    failures: tuple[Failure, ...]
    settings: dict[str, Any]
    citation: str = ""


@dataclass(frozen=True)
class ComparedScorer:
    """One scorer of a `Comparison`. figures: for each view those of each seed; empty when it has none, see the note."""

    name: str
    figures: tuple[tuple[FrameMetrics, ...], ...]
    note: str = ""

    def micro_auc(self) -> list[tuple[float, float]]:
        """(mean, standard deviation over the seeds) for each view, then of the mean over the views."""
        if not self.figures:
            return []
        by_view = np.array([[one.micro_auc for one in seeds] for seeds in self.figures], dtype=np.float64)
        return [(float(row.mean()), float(row.std())) for row in (*by_view, by_view.mean(axis=0))]


@dataclass(frozen=True, eq=False, repr=False)
class ComparedView(_ShapeRepr):
    """The test embeddings of one view and what each scorer says of them, by its name: (n,) float64, of the first seed.

    frame_labels: (n, T) bool. scenes: name of the scene of each. known, usual: embeddings in the training file, and
    those of them that were learned from.
    """

    name: str
    frame_labels: NDArray[np.bool_]
    scenes: tuple[str, ...]
    scores: dict[str, FloatArray]
    known: int
    usual: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that `oddwatch evaluate embeddings` found. scorers: the default first."""

    dataset: str
    scorers: tuple[ComparedScorer, ...]
    views: tuple[ComparedView, ...]
    seed: int
