"""Times of a live stream: its own timestamps for the spacing, the arrival of its pictures for the rest."""

from __future__ import annotations

from collections import deque

_LATE_SECONDS = 10.0
"""Pictures may wait so long on their way (a segment of HLS, a congested line) and still keep their spacing."""
_JUMP_SECONDS = 2.0
"""A timestamp that is so much further ahead of the one before than the picture is, or so far back, is of a clock that
was set; of steps back already a shorter one."""
_BACK_SECONDS = 0.5
_RATE = 0.05
_BURST_SECONDS = 15.0
"""Longer than between the segments of a stream: so long all pictures have to come late before it is the clock."""
_LEAST_SECONDS = 1e-3


class ArrivalClock:
    """Timestamps of one camera -> seconds on the monotonic clock, strictly ascending.

    A picture is shown at its timestamp plus an offset, so that what is seen moves as fast as it did, however pictures
    arrive: at the start of a connection many servers send those of the last seconds at once, congested lines deliver in
    bursts. The offset begins with the first picture, shown when it arrives. From then on it follows the arrival by up
    to 5% of the time: of each picture that comes early (those at the start are shown up to a few seconds ahead at
    first), and of the earliest of the last 15 s where all come late: the clock of the camera runs slow, or its
    timestamps assume more pictures a second than it takes. Where timestamps jump, it begins anew; so nonsense in a
    stream cannot move its time for long.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._earliest: deque[tuple[float, float]] = deque()  # (arrived, offset) that no later one undercuts
        self._last: float | None = None
        self._pts = self._arrived = 0.0

    def restart(self) -> None:
        """The next timestamp is of another connection."""
        self._offset = None

    def tick(self, pts_seconds: float | None, arrived_seconds: float) -> float:
        """Of the next picture in the order of showing. pts_seconds: its timestamp, None where there is none."""
        seconds = arrived_seconds
        if pts_seconds is not None:
            seconds = pts_seconds + self._follow(pts_seconds, arrived_seconds)
        if self._last is not None and seconds <= self._last:
            seconds = self._last + _LEAST_SECONDS
        self._last = seconds
        return seconds

    def shown_at(self, pts_seconds: float | None, arrived_seconds: float) -> float:
        """About when a picture that is not decoded yet will be shown; changes nothing."""
        if pts_seconds is None or self._offset is None:
            return arrived_seconds
        seconds = pts_seconds + self._offset
        return seconds if abs(arrived_seconds - seconds) < _LATE_SECONDS else arrived_seconds

    def _follow(self, pts_seconds: float, arrived_seconds: float) -> float:
        here = arrived_seconds - pts_seconds
        step, waited = pts_seconds - self._pts, arrived_seconds - self._arrived
        self._pts, self._arrived = pts_seconds, arrived_seconds
        if (
            self._offset is None
            or step < -_BACK_SECONDS
            or step > waited + _JUMP_SECONDS
            or abs(here - self._offset) > _LATE_SECONDS
        ):
            self._offset = here
            self._earliest.clear()
        while self._earliest and self._earliest[-1][1] >= here:
            self._earliest.pop()
        self._earliest.append((arrived_seconds, here))
        while arrived_seconds - self._earliest[0][0] > _BURST_SECONDS:
            self._earliest.popleft()
        if here < self._offset:
            self._offset -= min(self._offset - here, _RATE * max(step, 0.0))
        elif self._earliest[0][1] > self._offset:
            self._offset += min(self._earliest[0][1] - self._offset, _RATE * max(waited, 0.0))
        return self._offset
