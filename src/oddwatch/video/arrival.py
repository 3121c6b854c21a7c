"""Times of a live stream: its own timestamps for the spacing, the arrival of its pictures for the rest."""

from __future__ import annotations

_LATE_SECONDS = 10.0
"""Pictures may wait so long on their way (a segment of HLS, a congested line) and still keep their spacing."""
_BACK_SECONDS = 0.5
"""A smaller step back is a slip, a larger one a clock that was set."""
_DRIFT = 0.01
_LEAST_SECONDS = 1e-3


class ArrivalClock:
    """Timestamps of one camera -> seconds on the monotonic clock, strictly ascending, never in the future (but for a
    millisecond for each picture that arrives in the same moment as the one before).

    A picture is shown at its timestamp plus an offset. The offset is that of the picture that was least late, for its
    way cannot have been shorter than that; it follows a slower clock of the camera by up to 1%. Where timestamps jump,
    or a new connection counts anew, the offset is that of the first picture after it. So lines that deliver in bursts
    do not change the spacing, and nonsense in a stream cannot move its time by more than it really took.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._last: float | None = None
        self._arrived = 0.0

    def restart(self) -> None:
        """The next timestamp is of another connection."""
        self._offset = None

    def tick(self, pts_seconds: float | None, arrived_seconds: float) -> float:
        """Of the next picture in the order of showing. pts_seconds: its timestamp, None where there is none."""
        seconds = arrived_seconds
        if pts_seconds is not None:
            seconds = pts_seconds + self._follow(pts_seconds, arrived_seconds)
        self._arrived = arrived_seconds
        if self._last is not None and seconds <= self._last:
            if self._last - seconds > _BACK_SECONDS and pts_seconds is not None:
                self._offset = arrived_seconds - pts_seconds
                seconds = arrived_seconds
            seconds = max(seconds, self._last + _LEAST_SECONDS)
        self._last = seconds
        return seconds

    def shown_at(self, pts_seconds: float | None, arrived_seconds: float) -> float:
        """About when a picture that is not decoded yet will be shown; changes nothing."""
        if pts_seconds is None or self._offset is None or abs(arrived_seconds - pts_seconds - self._offset) > 10:
            return arrived_seconds
        return min(pts_seconds + self._offset, arrived_seconds)

    def _follow(self, pts_seconds: float, arrived_seconds: float) -> float:
        here = arrived_seconds - pts_seconds
        if self._offset is None or here < self._offset or here - self._offset > _LATE_SECONDS:
            self._offset = here
        else:
            self._offset += min(here - self._offset, _DRIFT * max(arrived_seconds - self._arrived, 0.0))
        return self._offset
