"""What a camera is asked for and what it gives: records only. Addresses never show with their passwords."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from oddwatch.errors import UsageError
from oddwatch.types import Frame
from oddwatch.video.names import display_name, is_url

LIVE_SCHEMES = ("rtsp", "rtsps", "http", "https")
"""Addresses that a camera may have; anything else that looks like one (`file://`, `concat:`...) is refused."""
_DEVICE = "/dev/video"
_LONGEST_RECOVERY_SECONDS = 10.0

StateKind = Literal["connected", "changed", "lost", "restarted", "ended"]
Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y) as fractions of the frame."""


@dataclass(frozen=True)
class Clocks:
    """Where the time comes from. wall: seconds since 1970, may jump. monotonic: never goes back, the same in all
    processes of a machine.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class CameraOptions:
    """One camera. Raises UsageError for what cannot work; its repr and its errors show no password.

    url: `rtsp://`, `rtsps://`, `http://` or `https://` (MJPEG or HLS), `/dev/videoN`, or a file or folder to replay.
    transport: of RTSP. fps: at most so many frames a second are handed on; all are decoded. height_px: higher pictures
    are scaled down to this. size_px: (width, height) to scale to, instead. masks: polygons painted black before
    anything sees the picture. open_seconds: to connect, until it is given up. stall_seconds: without a picture, until
    the connection is given up. retry_seconds: pause before the second attempt; it doubles from attempt to attempt up to
    retry_most_seconds, less up to half of it by chance, so that many cameras do not come at once. open_seconds and
    retry_most_seconds together stay below 10 s: so long a camera that is back may go unseen.
    evidence_seconds, evidence_bytes: how much of the encoded stream is kept for clips, whatever is less.
    replay: a file or folder at the pace it was filmed at, or as fast as it is read. replay_fps: frames per second of a
    folder of numbered pictures.
    """

    url: str = field(repr=False)
    transport: Literal["tcp", "udp"] = "tcp"
    fps: float | None = None
    height_px: int = 480
    size_px: tuple[int, int] | None = None
    masks: tuple[Polygon, ...] = ()
    open_seconds: float = 6.0
    stall_seconds: float = 5.0
    retry_seconds: float = 0.5
    retry_most_seconds: float = 3.0
    evidence_seconds: float = 60.0
    evidence_bytes: int = 48 << 20
    replay: Literal["real-time", "fast"] = "real-time"
    replay_fps: float | None = None

    def __post_init__(self) -> None:
        name = self.name
        if not self.url or "\0" in self.url:
            raise UsageError("a camera needs an address, a device, a file or a folder")
        scheme = self.url.partition("://")[0].lower()
        if is_url(self.url) and scheme not in LIVE_SCHEMES:
            allowed = ", ".join(f"{one}://" for one in LIVE_SCHEMES)
            raise UsageError(f"{name}: {scheme}:// is no address of a camera: give {allowed}, /dev/videoN or a path")
        if self.transport not in ("tcp", "udp"):
            raise UsageError(f"{name}: transport is tcp or udp, got {self.transport!r}")
        if self.replay not in ("real-time", "fast"):
            raise UsageError(f"{name}: replay is real-time or fast, got {self.replay!r}")
        seconds = ("open_seconds", "stall_seconds", "retry_seconds", "retry_most_seconds", "evidence_seconds")
        for key in seconds:
            value = getattr(self, key)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name}: {key} is above 0, got {value}")
        if not self.open_seconds + self.retry_most_seconds < _LONGEST_RECOVERY_SECONDS:
            raise UsageError(
                f"{name}: open_seconds + retry_most_seconds must be below 10, got {self.open_seconds:g} + "
                f"{self.retry_most_seconds:g}: a camera that is back would go unseen for longer"
            )
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise UsageError(f"{name}: fps is above 0, got {self.fps}")
        if not 16 <= self.height_px <= 4320:
            raise UsageError(f"{name}: height_px is 16 to 4320, got {self.height_px}")
        if self.size_px is not None and not all(16 <= side <= 8192 for side in self.size_px):
            raise UsageError(f"{name}: size_px is width, height from 16 to 8192, got {self.size_px}")
        if self.evidence_bytes < 0:
            raise UsageError(f"{name}: evidence_bytes is 0 or more, got {self.evidence_bytes}")
        for mask in self.masks:
            if len(mask) < 3 or not all(0 <= value <= 1 for corner in mask for value in corner):
                raise UsageError(f"{name}: a mask is three or more corners x, y from 0 to 1, got {mask}")

    @property
    def name(self) -> str:
        """The address without user name, password and tokens."""
        return display_name(self.url)

    @property
    def is_live(self) -> bool:
        """Whether it goes on for ever: an address or a device, and not a file or folder."""
        return is_url(self.url) or self.url.startswith(_DEVICE)


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """A picture with its times. frame.time_seconds: on the monotonic clock, ascending, also across connections.
    wall_seconds: since 1970, when it was taken as far as that can be known.
    """

    frame: Frame
    wall_seconds: float


@dataclass(frozen=True)
class CameraState:
    """Something happened to the camera.

    kind: `connected` (says: codec and size), `changed` (size, codec or shape differ from before), `lost` (says why),
    `restarted` (its decoder died and was started anew), `ended` (a replay is over). Times: when, as of frames.
    """

    kind: StateKind
    seconds: float
    wall_seconds: float
    says: str = ""


@dataclass(frozen=True)
class CameraClip:
    """An answer to a request for a clip. from_wall, to_wall: what it really holds. problem: why there is none."""

    request: int
    path: str
    from_wall: float = 0.0
    to_wall: float = 0.0
    recoded: bool = False
    problem: str = ""


CameraItem = CameraFrame | CameraState | CameraClip


@dataclass(frozen=True)
class Unobserved:
    """A stretch of time without pictures: from the last one before to the first one after. says: why."""

    from_wall: float
    to_wall: float
    seconds: float
    says: str


class Gaps:
    """Finds what was not seen in what a camera gave.

    least_seconds: two pictures further apart on the monotonic clock have a gap between them, whatever the reason.
    """

    def __init__(self, *, started_wall: float, started_seconds: float, least_seconds: float = 2.0) -> None:
        self._least = least_seconds
        self._last = (started_wall, started_seconds)
        self._why = ""

    @property
    def last_seconds(self) -> float:
        """When something was seen last, on the monotonic clock."""
        return self._last[1]

    @property
    def why(self) -> str:
        """The last reason that was given for seeing nothing, empty when none was since the last picture."""
        return self._why

    def explain(self, why: str) -> None:
        """Why something may be missing before the next picture."""
        self._why = self._why or why

    def push(self, item: CameraItem) -> Unobserved | None:
        """The gap that this item ends, if any."""
        if isinstance(item, CameraState):
            if item.kind in ("lost", "restarted"):
                self.explain(item.says)
            return None
        if isinstance(item, CameraClip):
            return None
        return self._until(item.wall_seconds, item.frame.time_seconds)

    def close(self, wall_seconds: float, seconds: float) -> Unobserved | None:
        """It is no longer watched: the gap that was open then, if any."""
        return self._until(wall_seconds, seconds)

    def _until(self, wall: float, seconds: float) -> Unobserved | None:
        before, why = self._last, self._why or "no picture arrived"
        self._last, self._why = (wall, seconds), ""
        lasted = seconds - before[1]
        # The wall clock may have been set meanwhile: what is told is where it stood, the length is the monotonic one.
        return Unobserved(before[0], wall, lasted, why) if lasted > self._least else None
