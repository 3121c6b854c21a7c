"""Scores over time -> events. A pure state machine: no clock, no files, nothing but the numbers it is given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from oddwatch.errors import UsageError
from oddwatch.types import EVENT_SECONDS, Event, FloatArray, Reason, ScoreTrack

_GAP_SECONDS = 1.0  # a shorter pause is no gap: windows of clips may lie apart


@dataclass(frozen=True)
class Grouping:
    """How scores become events.

    release: share of the threshold (0..1] below which a stretch of high scores ends: hysteresis. merge_seconds: two
    stretches with no more than this between them are one event. min_seconds: an event without a single stretch of at
    least this length is dropped. cooldown_seconds: nothing is reported for so long after the end of an event; what is
    still going on then is an event that starts then. settling_seconds: what scores high so soon after the video began,
    or went on after a gap of more than a second, is no event. Raises ValueError for values out of range.
    """

    release: float = 0.85
    min_seconds: float = EVENT_SECONDS
    merge_seconds: float = 2.0
    cooldown_seconds: float = 0.0
    settling_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.release <= 1:
            raise ValueError(f"release is a share of the threshold in (0, 1], got {self.release}")
        for name in ("min_seconds", "merge_seconds", "cooldown_seconds", "settling_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


class EventGrouper:
    """Feed it scores in order of time; it gives back each event when it is over.

    Raises UsageError unless the threshold is above 0.

    >>> grouper = EventGrouper(10.0, Grouping(min_seconds=0.2, merge_seconds=1.0))
    >>> ended = [grouper.push(t / 10, (t + 1) / 10, 12.0 if 20 <= t < 30 else 1.0) for t in range(60)]
    >>> [(e.start_seconds, e.end_seconds, e.peak_score) for e in ended if e]
    [(2.0, 3.0, 12.0)]
    """

    def __init__(self, threshold: float, grouping: Grouping | None = None) -> None:
        if not threshold > 0:
            raise UsageError(f"a threshold must be above 0, got {threshold}")
        self._threshold = threshold
        self._grouping = grouping or Grouping()
        self._event: Event | None = None
        self._above = False  # between crossing the threshold and falling below the release level
        self._raised = False  # the event in hand has lasted long enough to be reported
        self._stretch_start = 0.0
        self._last_end = -np.inf
        self._settling = _Settling(self._grouping.settling_seconds)

    @property
    def raised(self) -> bool:
        """Whether an event is being reported at this moment."""
        return self._raised

    @property
    def event(self) -> Event | None:
        """The event in hand as far as it is known, which may still turn out too short to be one; see `raised`."""
        return self._event

    def push(
        self,
        start_seconds: float,
        end_seconds: float,
        score: float,
        box: FloatArray | None = None,
        reason: Reason | None = None,
    ) -> Event | None:
        """One score. Returns the event that this one shows to be over, if any. box: (4,) as in `Event`."""
        ended = None
        event = self._event
        if event is not None and start_seconds - event.end_seconds > self._grouping.merge_seconds:
            ended = self._end()
        if not self._settling.push(start_seconds, end_seconds):
            self._above = False
            return ended
        if score < self._threshold * (self._grouping.release if self._above else 1.0):
            self._above = False
            return ended
        if not self._above:
            self._above, self._stretch_start = True, start_seconds
        place = None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        if self._event is None:
            if start_seconds - self._last_end < self._grouping.cooldown_seconds:
                self._above = False
                return ended
            self._event = Event(start_seconds, end_seconds, end_seconds, score, box=place, reason=reason)
        else:
            self._event = replace(self._event, end_seconds=end_seconds)
            if score > self._event.peak_score:
                self._event = replace(self._event, peak_score=score, peak_seconds=end_seconds, box=place, reason=reason)
        if end_seconds - self._stretch_start >= self._grouping.min_seconds - 1e-9:
            self._raised = True
        return ended

    def close(self) -> Event | None:
        """The stream is over: the event in hand, when it has lasted long enough. What comes then is another stream."""
        self._settling = _Settling(self._grouping.settling_seconds)
        return self._end()

    def _end(self) -> Event | None:
        event, raised = self._event, self._raised
        self._event, self._raised, self._above = None, False, False
        if event is None or not raised:
            return None
        self._last_end = event.end_seconds
        return event


class _Settling:
    """Of one stream of moments: whether enough time has passed since it began, or since its last gap."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = self._reached = -np.inf

    def push(self, start_seconds: float, end_seconds: float) -> bool:
        """One moment, in order of time."""
        if start_seconds - self._reached > _GAP_SECONDS:
            self._began = start_seconds
        self._reached = max(end_seconds, self._reached)
        return end_seconds - self._began >= self._seconds - 1e-6


def settled(start_seconds: FloatArray, end_seconds: FloatArray, seconds: float) -> NDArray[np.bool_]:
    """(N,) whether each moment of one video ends so long after it began, or went on after a gap."""
    if seconds <= 0:
        return np.ones(len(start_seconds), dtype=bool)
    settling = _Settling(seconds)
    times = zip(start_seconds.tolist(), end_seconds.tolist(), strict=True)
    return np.array([settling.push(start, end) for start, end in times], dtype=bool)


def group(track: ScoreTrack, threshold: float, grouping: Grouping | None = None) -> tuple[Event, ...]:
    """All events of a finished track, in order of time."""
    grouping = grouping or Grouping()
    # It is not given all moments, so whether they are late enough is found here.
    grouper = EventGrouper(threshold, replace(grouping, settling_seconds=0.0))
    events: list[Event | None] = []
    late_enough = settled(track.start_seconds, track.end_seconds, grouping.settling_seconds)
    scores = np.where(late_enough, track.scores, 0.0)
    low = scores < threshold * grouping.release
    # Scores that stay low change nothing but `above`, so one of each low run is enough: long quiet tracks cost little.
    keep = ~low
    keep[1:] |= low[1:] & ~low[:-1]
    for i in np.flatnonzero(keep):
        box = None if track.boxes is None else track.boxes[i]
        reason = None if track.reasons is None else track.reasons[i]
        score = float(scores[i])
        events.append(grouper.push(float(track.start_seconds[i]), float(track.end_seconds[i]), score, box, reason))
    events.append(grouper.close())
    return tuple(e for e in events if e is not None)


def sustained_levels(track: ScoreTrack, threshold: float, grouping: Grouping) -> list[float]:
    """For each event at `threshold` the highest threshold at which it would still have lasted `min_seconds`.

    That, not the peak, is what decides whether an alert is raised, and it is far less noisy.
    """
    events = group(track, threshold, grouping)
    if not events:
        return []
    step = float(np.median(track.end_seconds - track.start_seconds))
    count = max(int(np.ceil(grouping.min_seconds / max(step, 1e-3) - 1e-6)), 1)
    # A stretch begins at the threshold and then lasts at the release level. Where a gap closes events, it ends there.
    gaps = np.flatnonzero(track.start_seconds[1:] - track.end_seconds[:-1] > grouping.merge_seconds) + 1
    parts = np.split(track.scores, gaps)
    shortest = [scipy.ndimage.minimum_filter1d(part, count, mode="constant", origin=-(count // 2)) for part in parts]
    lasting = np.concatenate(shortest) / grouping.release
    levels = np.minimum(track.scores, lasting)
    # Where frames are uneven an event can be raised by fewer than `count` of them: at `threshold`, that much is known.
    return [
        max(
            float(levels[(track.start_seconds >= e.start_seconds) & (track.end_seconds <= e.end_seconds)].max()),
            threshold,
        )
        for e in events
    ]
