"""Times of a live stream: its own timestamps for the spacing, the arrival of its pictures for the rest."""

from __future__ import annotations

_LATE_SECONDS = 10.0
"""Pictures may wait so long on their way (a segment of HLS, a congested line) and still keep their spacing."""
_JUMP_SECONDS = 2.0
"""A timestamp that is so much further ahead of the one before than the picture is, or so far back, is of a clock that
was set; of steps back already a shorter one."""
_BACK_SECONDS = 0.5
_EARLY_RATE, _LATE_RATE = 0.05, 0.01
_LEAST_SECONDS = 1e-3


class ArrivalClock:
    """Timestamps of one camera -> seconds on the monotonic clock, strictly ascending.

    A picture is shown at its timestamp plus an offset, so that what is seen moves as fast as it did, however pictures
    arrive: at the start of a connection many servers send those of the last seconds at once, congested lines deliver in
    bursts. The offset begins with the first picture, shown when it arrives. From then on it follows the arrival: by 5%
    of the time where pictures come early (those at the start are shown up to a few seconds ahead at first), by 1% where
    they come late, which covers any clock of a camera that runs slow. Where timestamps jump, it begins anew; so
    nonsense in a stream cannot move its time for long.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
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
        elif here < self._offset:
            self._offset -= min(self._offset - here, _EARLY_RATE * max(step, 0.0))
        else:
            self._offset += min(here - self._offset, _LATE_RATE * max(waited, 0.0))
        return self._offset
