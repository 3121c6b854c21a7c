"""How good scores, maps and events are against what is known to have happened. Every definition is in its docstring.

Pure functions on arrays: nothing here reads a file, chooses a threshold or normalises a score per video. A figure that
the data does not define (one class only, no truth at all) is None, never nan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from oddwatch.types import Box, Event, EventMetrics, FloatArray, FrameMetrics, TruthEvent

BoolArray = NDArray[np.bool_]
_Indices = NDArray[np.intp]
_ROUNDING = 1e-9


class Region(NamedTuple):
    """Where one unusual thing is in one frame. track: the same number in all frames of a video that show it."""

    box: Box
    track: int


@dataclass(frozen=True)
class RegionMetrics:
    """Region- and track-based figures (see `region_metrics`), and how many regions and tracks they speak of."""

    rbdc: float | None
    tbdc: float | None
    regions: int
    tracks: int


def frame_metrics(
    scores: Sequence[FloatArray], labels: Sequence[BoolArray], *, regions: RegionMetrics | None = None
) -> FrameMetrics:
    """Frame-level figures over the videos of a test set.

    scores, labels: per video (N,) finite scores (high = anomalous) and (N,) bool (True = anomalous). regions: its
    figures are copied into the result.

    - micro_auc: area under the ROC curve of all frames of all videos taken together.
    - macro_auc: mean of each video's own AUC over the `macro_videos` videos that have both classes.
    - macro_auc_padded: what papers print as macro: every video first gets one usual frame with the lowest score of ALL
      videos and one anomalous frame with the highest, so that videos of one class count too. It flatters, the more the
      shorter the videos are.
    - average_precision: sum over the ranking of (recall step) x (precision); chance level is the anomalous share.
    - eer: where the false positive rate equals the miss rate, on the ROC curve with straight lines between its points.

    Micro and macro: Georgescu et al., "A Background-Agnostic Framework with Adversarial Training for Abnormal Event
    Detection in Video", TPAMI 2022; frame level and EER: Mahadevan et al., "Anomaly Detection in Crowded Scenes",
    CVPR 2010. All figures are None when no frame, or every frame, is anomalous. Raises ValueError on arrays that do
    not fit together and on scores that are not finite.

    >>> frame_metrics([np.array([0.1, 0.4, 0.3, 0.8])], [np.array([False, False, True, True])]).micro_auc
    0.75
    """
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    _same_length(scores=scores, labels=labels)
    videos = [
        _scores_and_labels(s, y, f"video {i}") for i, (s, y) in enumerate(zip(scores, labels, strict=True)) if len(s)
    ]
    all_scores = np.concatenate([s for s, _ in videos] or [np.zeros(0)])
    all_labels = np.concatenate([y for _, y in videos] or [np.zeros(0, bool)])
    rbdc, tbdc = (regions.rbdc, regions.tbdc) if regions else (None, None)
    if not _both_classes(all_labels):
        return FrameMetrics(None, None, None, 0, None, None, rbdc, tbdc)
    lowest, highest = all_scores.min(), all_scores.max()
    whole = [roc_auc_score(y, s) for s, y in videos if _both_classes(y)]
    padded = [roc_auc_score(np.r_[False, y, True], np.r_[lowest, s, highest]) for s, y in videos]
    false_positive_rate, true_positive_rate, _ = roc_curve(all_labels, all_scores)
    return FrameMetrics(
        micro_auc=float(roc_auc_score(all_labels, all_scores)),
        macro_auc=float(np.mean(whole)) if whole else None,
        macro_auc_padded=float(np.mean(padded)),
        macro_videos=len(whole),
        average_precision=float(average_precision_score(all_labels, all_scores)),
        eer=float(np.interp(0.0, false_positive_rate + true_positive_rate - 1.0, false_positive_rate)),
        rbdc=rbdc,
        tbdc=tbdc,
    )


def event_metrics(
    events: Sequence[Sequence[Event]],
    truth: Sequence[Sequence[TruthEvent]],
    *,
    watched: Sequence[Sequence[tuple[float, float]]],
    threshold: float,
    raised_after_seconds: float = 0.0,
    tolerance_seconds: float = 0.0,
) -> EventMetrics:
    """What a person who receives the alerts would see, at one threshold.

    events, truth, watched: per video what was raised, what happened and the stretches (start, end) in seconds that were
    watched, which do not overlap. threshold: the one that made the events; it is only copied into the result.

    - A truth event is found when at least one event overlaps it in time (end points count).
    - A false alarm is an event that overlaps no truth event. Several events on one truth event are no false alarms.
    - recall: found / truth events.
    - normal_hours: the time watched outside all truth events; false_alarms_per_hour: false alarms / normal_hours.
    - median_delay_seconds: over the found ones, from the truth's start until the first overlapping event is raised,
      `raised_after_seconds` after its start (the shortest event that is reported); at least 0.

    tolerance_seconds lengthens every truth event at its END, because a causal score looks back over its window and may
    rise only when a short event is already over; what it adds does not count as normal time. It never reaches before
    the start: nothing can be detected before it happens. The default 0 forgives nothing.

    Overlap is the widest of the event-based matchings in use (Tatbul et al., "Precision and Recall for Time Series",
    NeurIPS 2018, existence reward): one alert is enough to make a person look. Raises ValueError when the lists differ
    in length.
    """
    _same_length(events=events, truth=truth, watched=watched)
    delays: list[float] = []
    false_alarms = 0
    normal_seconds = 0.0
    for raised, happened, stretches in zip(events, truth, watched, strict=True):
        intervals = [(t.start_seconds, t.end_seconds + tolerance_seconds) for t in happened]
        hits = [[e.overlaps(t, tolerance_seconds=tolerance_seconds) for t in happened] for e in raised]
        for i, truth_event in enumerate(happened):
            first = min((e.start_seconds for e, hit in zip(raised, hits, strict=True) if hit[i]), default=None)
            if first is not None:
                delays.append(max(first + raised_after_seconds - truth_event.start_seconds, 0.0))
        false_alarms += sum(not any(hit) for hit in hits)
        normal_seconds += sum(last - first - _covered_seconds(intervals, first, last) for first, last in stretches)
    truth_events = sum(map(len, truth))
    normal_hours = normal_seconds / 3600
    return EventMetrics(
        threshold=threshold,
        truth_events=truth_events,
        found_events=len(delays),
        false_alarms=false_alarms,
        normal_hours=normal_hours,
        false_alarms_per_hour=false_alarms / normal_hours if normal_hours > 0 else None,
        recall=len(delays) / truth_events if truth_events else None,
        median_delay_seconds=float(np.median(delays)) if delays else None,
    )


def intervals_from_labels(labels: BoolArray, times_seconds: FloatArray) -> list[tuple[float, float]]:
    """The stretches of True in per-frame labels, as (start, end) in seconds.

    labels (N,) bool, times_seconds (N,) ascending. A stretch ends where the next frame begins; the last frame of the
    video is taken to last as long as the usual (median) one.

    >>> intervals_from_labels(np.array([False, True, True, False]), np.array([0.0, 0.5, 1.0, 1.5]))
    [(0.5, 1.5)]
    """
    labels, times = np.asarray(labels, dtype=bool), np.asarray(times_seconds, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != times.shape:
        raise ValueError(f"labels and times_seconds are (N,) both, got {labels.shape} and {times.shape}")
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    edges = np.flatnonzero(np.diff(np.r_[False, labels, False]))
    bounds = np.r_[times, times[-1] + spacing] if len(times) else times
    return [(float(bounds[first]), float(bounds[after])) for first, after in edges.reshape(-1, 2)]


def poisson_interval(count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a Poisson mean of which `count` events were seen.

    With a = 1 - confidence: (chi2(a/2; 2 count) / 2, chi2(1 - a/2; 2 count + 2) / 2), the lower end 0 for count 0
    (Garwood, "Fiducial Limits for the Poisson Distribution", Biometrika 1936). Raises ValueError on a negative count
    and on a confidence outside 0..1.

    >>> [round(end, 3) for end in poisson_interval(3)]
    [0.619, 8.767]
    """
    if count < 0 or not 0 < confidence < 1:
        raise ValueError(f"count must be >= 0 and confidence between 0 and 1, got {count} and {confidence}")
    tail = (1 - confidence) / 2
    low = float(scipy.stats.chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    return low, float(scipy.stats.chi2.isf(tail, 2 * count + 2)) / 2


def region_metrics(
    maps: Sequence[FloatArray],
    regions: Sequence[Sequence[Sequence[Region]]],
    *,
    thresholds: int = 100,
    minimum_iou: float = 0.1,
    minimum_track_share: float = 0.1,
) -> RegionMetrics:
    """RBDC and TBDC: are the right PLACES found? (Ramachandra and Jones, "Street Scene", WACV 2020).

    maps: per video (N, Gh, Gw) anomaly maps, one per frame, high = anomalous, the grid spread evenly over the frame.
    regions: per video and frame the true regions. The sizes of grids may differ between videos.

    At a threshold, the detected regions of a frame are the bounding boxes of the 8-connected components of cells >= it.
    A true region is detected when a detected region overlaps it with intersection / union >= minimum_iou; a track is
    detected when at least minimum_track_share of its regions are; a detected region that overlaps no true region that
    much is a false positive. The region (track) detection rate is the share of all true regions (tracks) that are
    detected. The figure is the area under that rate over 0 to 1 false positives per frame.

    How the curve is drawn here: `thresholds` cell values are tried, spaced evenly in the logarithm of the share of
    cells above them, so that only the order of the map values matters. Each gives a point; it counts with the best
    rate that any of them reaches with at most as many false positives, because components merge at low thresholds and
    the rate falls again. Straight lines join the points, from no detection at all on, and after the last one the rate
    stays. With 100 thresholds the area is within about 0.01 of what 400 give.

    rbdc and tbdc are None when there is no true region. Raises ValueError on shapes that do not fit together and on
    maps that are not finite.
    """
    _same_length(maps=maps, regions=regions)
    if not (0 < minimum_iou <= 1 and 0 < minimum_track_share <= 1):
        raise ValueError(f"minimum shares are > 0 and <= 1, got {minimum_iou} and {minimum_track_share}")
    if thresholds < 1:
        raise ValueError(f"at least one threshold is needed, got {thresholds}")
    videos = [_MapVideo(m, r, f"video {i}") for i, (m, r) in enumerate(zip(maps, regions, strict=True)) if len(m)]
    frames = sum(v.frames for v in videos)
    total = sum(len(v.boxes) for v in videos)
    tracks = sum(v.tracks for v in videos)
    if not total:
        return RegionMetrics(None, None, 0, 0)
    curve = [(0.0, 0.0, 0.0)]
    for threshold in _map_thresholds([v.maps for v in videos], thresholds):
        found = [v.found(threshold, minimum_iou) for v in videos]
        curve.append(
            (
                sum(false_positives for _, false_positives in found) / frames,
                sum(int(hit.sum()) for hit, _ in found) / total,
                sum(v.found_tracks(hit, minimum_track_share) for v, (hit, _) in zip(videos, found, strict=True))
                / tracks,
            )
        )
    false_positives, region_rate, track_rate = np.array(curve).T
    return RegionMetrics(
        rbdc=_area_to_one(false_positives, region_rate),
        tbdc=_area_to_one(false_positives, track_rate),
        regions=total,
        tracks=tracks,
    )


def pixel_scores(maps: FloatArray, masks: BoolArray, *, share: float = 0.4) -> tuple[FloatArray, BoolArray]:
    """Scores (N,) and labels (N,) of the frames of one video, whose ROC is that of the pixel-level criterion.

    An unusual frame counts as detected at a threshold when at least `share` of its unusual pixels reach it, a usual
    frame as a false positive when any pixel does (Mahadevan et al., CVPR 2010). So the score of an unusual frame is the
    highest value that so many of its unusual pixels reach, that of a usual one its highest. maps: (N, Gh, Gw), the grid
    spread evenly over the frame. masks: (N, H, W), True where something is unusual. Raises ValueError when they do not
    fit together.

    >>> pixel_scores(np.array([[[1.0, 3.0], [2.0, 0.0]]]), np.array([[[True, False], [True, False]]]))[0]
    array([2.])
    """
    if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks) or not 0 < share <= 1:
        raise ValueError(f"maps {maps.shape} and masks {masks.shape} are (N, ...) both, and the share is in 0..1")
    y, x = ((np.arange(size) * cells // size) for size, cells in zip(masks.shape[1:], maps.shape[1:], strict=True))
    scores, labels = np.zeros(len(maps)), np.asarray(masks.any(axis=(1, 2)))
    for i, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        if labels[i]:
            values = np.sort(one[np.ix_(y, x)][mask])[::-1]
            scores[i] = values[int(np.ceil(share * len(values) - _ROUNDING)) - 1]
        else:
            scores[i] = one.max()
    return scores, labels


def regions_from_masks(masks: BoolArray, *, minimum_iou: float = 0.1) -> list[list[Region]]:
    """Per frame the regions of pixel masks, linked to tracks. Both are DERIVED, nobody annotated them.

    masks: (N, H, W) bool. A region is the bounding box of an 8-connected component. It continues the track of a region
    of the frame before when their boxes overlap with intersection / union >= minimum_iou; pairs are chosen so that the
    overlaps sum to the most. Two things that touch are one region, and a thing that vanishes for a frame comes back as
    a new track. Data sets that publish masks but no tracks (UCSD Ped2) get figures from this that are near those of
    papers that annotated tracks by hand, but not the same: say so where they are printed.
    """
    if masks.ndim != 3:
        raise ValueError(f"masks is (N, H, W), got {masks.shape}")
    size = np.array([masks.shape[2], masks.shape[1]] * 2)
    result: list[list[Region]] = []
    boxes_before, tracks_before = np.zeros((0, 4)), np.zeros(0, np.intp)
    next_track = 0
    for mask in masks:
        boxes = _component_boxes(mask.astype(np.uint8)) / size
        tracks = np.full(len(boxes), -1, np.intp)
        overlap = _iou(boxes[:, None], boxes_before[None])
        here, before = scipy.optimize.linear_sum_assignment(overlap, maximize=True)
        linked = overlap[here, before] >= minimum_iou - _ROUNDING
        tracks[here[linked]] = tracks_before[before[linked]]
        new = tracks < 0
        tracks[new] = next_track + np.arange(new.sum())
        next_track += int(new.sum())
        result.append([Region(_box(box), int(track)) for box, track in zip(boxes, tracks, strict=True)])
        boxes_before, tracks_before = boxes, tracks
    return result


def regions_from_truth(truth: Sequence[TruthEvent], times_seconds: FloatArray) -> list[list[Region]]:
    """Per frame the regions of truth events that carry boxes; each event is one track.

    times_seconds: (N,) of the frames. Between two of its boxes an event moves in a straight line; outside them, but
    between its start and its end, it stays where the nearest box is. Events without boxes give no region.
    """
    times = np.asarray(times_seconds, dtype=np.float64)
    result: list[list[Region]] = [[] for _ in times]
    for track, event in enumerate(truth):
        known = sorted(event.boxes, key=lambda b: b.time_seconds)
        if not known:
            continue
        corners = np.array([b.box for b in known]).T
        frames = np.flatnonzero((times >= event.start_seconds) & (times <= event.end_seconds))
        moved = np.stack([np.interp(times[frames], [b.time_seconds for b in known], c) for c in corners], axis=1)
        for frame, box in zip(frames, moved, strict=True):
            result[frame].append(Region(_box(box), track))
    return result


class _MapVideo:
    """The maps and the true regions of one video, as arrays that one threshold after the other is tried on."""

    def __init__(self, maps: FloatArray, regions: Sequence[Sequence[Region]], name: str) -> None:
        if maps.ndim != 3 or len(maps) != len(regions):
            raise ValueError(f"{name}: maps {maps.shape} do not go with the regions of {len(regions)} frames")
        if not np.isfinite(maps).all():
            raise ValueError(f"{name}: maps must be finite")
        self.maps = maps
        self.frames, self._height, self._width = maps.shape
        self.boxes = np.array([r.box for frame in regions for r in frame], dtype=np.float64).reshape(-1, 4)
        names, self._track = np.unique(np.array([r.track for f in regions for r in f], np.intp), return_inverse=True)
        self.tracks = len(names)
        self._count = np.array([len(frame) for frame in regions], np.intp)
        self._first = np.cumsum(self._count) - self._count
        # All frames on one sheet, an empty row below each: one call finds the components of the whole video.
        self._sheet = np.zeros((self.frames, self._height + 1, self._width), np.uint8)

    def found(self, threshold: float, minimum_iou: float) -> tuple[BoolArray, int]:
        """Which true regions are detected (G,) and how many detected regions are false."""
        np.greater_equal(self.maps, threshold, out=self._sheet[:, : self._height].view(np.bool_))
        detected = _component_boxes(self._sheet.reshape(-1, self._width)).astype(np.float64)
        frame = (detected[:, 1] // (self._height + 1)).astype(np.intp)
        detected[:, 1::2] -= (frame * (self._height + 1))[:, None]
        detected /= (self._width, self._height) * 2
        each, other = _pairs(self._first[frame], self._count[frame])
        hit = _iou(detected[each], self.boxes[other]) >= minimum_iou - _ROUNDING
        return _flags(other[hit], len(self.boxes)), len(detected) - int(_flags(each[hit], len(detected)).sum())

    def found_tracks(self, hit: BoolArray, minimum_share: float) -> int:
        """How many tracks have at least this share of their regions among the detected ones."""
        share = np.bincount(self._track, hit, self.tracks) / np.bincount(self._track, minlength=self.tracks)
        return int((share >= minimum_share).sum())


def _map_thresholds(maps: Sequence[FloatArray], count: int) -> FloatArray:
    """Cell values, few cells above the first: what matters happens in the highest per mille of all cells."""
    values = np.sort(np.concatenate([m.ravel() for m in maps]))[::-1]
    ranks = np.geomspace(1, len(values), count).round().astype(np.intp) - 1
    return np.unique(values[ranks])[::-1]


def _area_to_one(false_positives: FloatArray, rate: FloatArray) -> float:
    """Area over 0..1 under straight lines between (x, best rate of a point that is not to the right of x)."""
    order = np.lexsort((rate, false_positives))
    x, best = false_positives[order], np.maximum.accumulate(rate[order])
    inside = x <= 1
    return float(np.trapezoid(np.r_[best[inside], np.interp(1.0, x, best)], np.r_[x[inside], 1.0]))


def _component_boxes(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(K, 4) left, top, right, bottom of the 8-connected components, in cells; right and bottom are just outside."""
    stats = cv2.connectedComponentsWithStats(image, connectivity=8)[2][1:]
    return np.concatenate([stats[:, :2], stats[:, :2] + stats[:, 2:4]], axis=1)


def _iou(a: NDArray[Any], b: NDArray[Any]) -> FloatArray:
    """Intersection over union of boxes (..., 4) against boxes (..., 4)."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    union = _area(a) + _area(b) - shared
    iou: FloatArray = np.divide(shared, union, out=np.zeros(union.shape), where=union > 0)
    return iou


def _area(boxes: NDArray[Any]) -> NDArray[Any]:
    area: NDArray[Any] = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
    return area


def _pairs(first: _Indices, count: _Indices) -> tuple[_Indices, _Indices]:
    """Every i paired with each of first[i], first[i] + 1, ... (count[i] of them)."""
    each = np.repeat(np.arange(len(count)), count)
    return each, np.arange(len(each)) - np.repeat(np.cumsum(count) - count, count) + first[each]


def _flags(indices: _Indices, length: int) -> BoolArray:
    flags = np.zeros(length, bool)
    flags[indices] = True
    return flags


def _box(corners: NDArray[Any]) -> Box:
    left, top, right, bottom = (float(c) for c in corners)
    return left, top, right, bottom


def _covered_seconds(intervals: Sequence[tuple[float, float]], first_seconds: float, last_seconds: float) -> float:
    """Length of the union of the intervals inside first..last."""
    covered, reached = 0.0, first_seconds
    for start, end in sorted(intervals):
        end = min(end, last_seconds)
        covered += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return covered


def _both_classes(labels: BoolArray) -> bool:
    return bool(labels.any() and not labels.all())


def _scores_and_labels(scores: FloatArray, labels: BoolArray, name: str) -> tuple[FloatArray, BoolArray]:
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"{name}: scores and labels are (N,) both, got {scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{name}: scores must be finite")
    return scores, labels


def _same_length(**lists: Sequence[Any]) -> None:
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"one entry per video is needed in each, got {lengths}")
