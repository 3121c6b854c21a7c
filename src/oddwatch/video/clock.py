"""Frame times from presentation timestamps, mended where a stream gets them wrong. Knows nothing of decoders."""

from __future__ import annotations

from fractions import Fraction

_SLIP_FRAMES = 8
"""A step back of more frames is a new beginning (a restarted camera, joined files), a smaller one a slip."""


class Clock:
    """Turns the timestamps of one stream, in the order in which frames are shown, into strictly ascending seconds.

    The first frame is at 0. A missing timestamp: one average frame after the last. A repeated timestamp or a slip
    back: half a frame after the last, so that good timestamps which follow stay as they are. A jump back: the stream
    goes on one average frame after the last.
    """

    def __init__(self, time_base: Fraction, *, frame_seconds: float) -> None:
        self._numerator, self._denominator = time_base.numerator, time_base.denominator
        self._frame_seconds = frame_seconds
        self._origin: int | None = None
        self._origin_seconds = 0.0
        self._last: float | None = None

    def tick(self, pts: int | None) -> float:
        """Seconds of the next frame; `pts` in units of the time base, None where the stream has none."""
        following = 0.0 if self._last is None else self._last + self._frame_seconds
        if pts is None:
            seconds = following
        else:
            if self._origin is None:
                self._origin, self._origin_seconds = pts, following
            seconds = self._origin_seconds + (pts - self._origin) * self._numerator / self._denominator
            if self._last is not None and seconds <= self._last:
                if self._last - seconds <= _SLIP_FRAMES * self._frame_seconds:
                    seconds = self._last + self._frame_seconds / 2
                else:
                    seconds = self._origin_seconds = following
                    self._origin = pts
        self._last = seconds
        return seconds
