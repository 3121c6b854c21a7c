"""Cameras and replays: connect, read, and when it fails connect again. One camera, one thread, for months."""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer

from oddwatch.errors import UsageError, VideoError
from oddwatch.types import Frame, Image
from oddwatch.video.arrival import ArrivalClock
from oddwatch.video.camera import CameraFrame, CameraItem, CameraOptions, CameraState, Clocks, StateKind
from oddwatch.video.clock import Clock
from oddwatch.video.decoded import Turn, reason, rgb
from oddwatch.video.file import open_container, video_stream
from oddwatch.video.listing import list_videos
from oddwatch.video.names import is_numbered_image, is_url, visible_entries
from oddwatch.video.opening import open_video
from oddwatch.video.recording import Kept, Make, PacketRing, paint
from oddwatch.video.source import fit

_RTSP = "rtsp,rtsps,rtp,srtp,tcp,tls,udp,http,https"
_HTTP = "http,https,tcp,tls,crypto,httpproxy"
"""What an address may lead FFmpeg to. Never `file`: a playlist must not read this machine's disk."""
_UNTIMED = frozenset({"mpjpeg", "mjpeg", "jpeg_pipe"})
"""Formats without timestamps, for which FFmpeg makes some up."""
_PACED = frozenset({"hls"})
"""Live formats that arrive in pieces of several seconds: shown at the pace of their timestamps."""
_BEHIND_SECONDS = 3.0
_TOO_EARLY = 0.9
"""Of the spacing that `fps` asks for: a picture that comes a little early is still the next one."""
_SHAPE_SHARE = 0.02
_BETWEEN_FILES_SECONDS = 0.04
_MICROSECOND = Fraction(1, 1_000_000)
_ANALYSE_MICROSECONDS = 2_000_000


class LiveReader:
    """Reads one camera, or replays files. Iterate over `items`, in one thread; `stop` ends it from another.

    A camera never ends by itself: what goes wrong is told as a `CameraState` and tried again. A replay ends with
    `ended`; what is damaged in it is left out, and a file that cannot be read at all raises VideoError. ring: where
    encoded pictures are kept. alive: called at every decoded picture. seed: of the chance in the pauses.
    Counts since the start: `decoded`, `damaged` (pieces the decoder refused), `connections` (that brought a picture).
    """

    def __init__(
        self,
        options: CameraOptions,
        *,
        ring: PacketRing | None = None,
        clocks: Clocks | None = None,
        alive: Callable[[], None] = lambda: None,
        seed: int | None = None,
    ) -> None:
        self.options = options
        self.ring = ring or PacketRing(seconds=options.evidence_seconds, most_bytes=options.evidence_bytes)
        self.decoded = self.damaged = self.connections = 0
        self._clocks = clocks or Clocks()
        self._alive = alive
        self._chance = random.Random(seed)
        self._stopped = threading.Event()
        self._times = ArrivalClock()
        self._size_px = options.size_px
        self._shape: tuple[str, int, int] | None = None
        self._index = 0
        self._last_used: float | None = None
        self._failures = 0
        self._latest = -math.inf
        self._fast = not options.is_live and options.replay == "fast"
        self._start = self._clocks.monotonic(), self._clocks.wall()
        self._file_start = self._fast_seconds = self._start[0]
        self._file_clock: Clock | None = None

    def stop(self) -> None:
        """End `items` soon, also while it waits."""
        self._stopped.set()

    def items(self) -> Iterator[CameraItem]:
        """Frames and states, for ever or until a replay is over. Raises VideoError for a replay without any picture,
        UsageError for a folder of pictures without `replay_fps`.
        """
        if not self.options.is_live:
            yield from self._replay()
            return
        while not self._stopped.is_set():
            why = "the stream ended"
            try:
                yield from self._connection(self.options.url)
            except VideoError as error:
                why = error.reason
            if self._stopped.is_set():
                return
            yield self._state("lost", why)
            self._stopped.wait(self._pause_seconds())

    def _pause_seconds(self) -> float:
        most: float = min(self.options.retry_seconds * 2.0**self._failures, self.options.retry_most_seconds)
        self._failures = min(self._failures + 1, 16)
        return most * self._chance.uniform(0.5, 1.0)

    def _state(self, kind: StateKind, says: str = "") -> CameraState:
        # Not before the last picture, whose time may be a little ahead.
        return CameraState(kind, max(self._clocks.monotonic(), self._latest), self._clocks.wall(), says)

    # one connection

    def _connection(self, path: str) -> Iterator[CameraItem]:
        """From the first picture to whatever ends it. Raises VideoError."""
        options = self.options
        try:
            with _opened(options, path) as container:
                stream = video_stream(container, options.name)
                stream.thread_type, stream.codec_context.thread_count = "NONE", 1  # no picture waits for the next
                timed = container.format.name not in _UNTIMED
                self._times.restart()
                yield from self._read(container, stream, Make(stream, timed=timed))
        except av.FFmpegError as error:
            raise VideoError(options.name, reason(error)) from None

    def _read(self, container: InputContainer, stream: av.VideoStream, make: Make) -> Iterator[CameraItem]:
        pace = self._pace(container)
        stall = self.options.stall_seconds
        seen, first = self._clocks.monotonic(), True
        for packet in cast("Iterator[av.Packet[av.VideoStream]]", container.demux()):
            if self._stopped.is_set():
                return
            now = self._clocks.monotonic()
            if self.options.is_live and now - seen > stall:
                raise VideoError(self.options.name, f"no picture for {stall:g} s")
            if packet.stream.index != stream.index:
                continue
            if pace is not None and packet.size:
                pace.wait(_seconds(packet.dts if packet.dts is not None else packet.pts, make), self._stopped)
                now = self._clocks.monotonic()
            self._keep(packet, make, now)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                    continue
                if first:
                    first, make.turn = False, Turn.of(frame)
                    self._failures = 0
                    self.connections += 1
                yield from self._shown(frame, make, now)
                seen = self._clocks.monotonic()
        if first:
            raise VideoError(self.options.name, "it ended before the first picture")

    def _keep(self, packet: av.Packet[av.VideoStream], make: Make, now: float) -> None:
        if not (packet.size and self.options.evidence_bytes) or packet.is_corrupt:
            return
        pts = _seconds(packet.pts, make)
        # As fast as it is read, the picture before is all that is known of the time.
        shown = self._fast_seconds if self._fast else self._times.shown_at(pts, now)
        kept = Kept(bytes(packet), packet.pts, packet.dts, packet.is_keyframe, shown, self._wall(shown, now), make)
        self.ring.push(kept)

    def _shown(self, frame: av.VideoFrame, make: Make, now: float) -> Iterator[CameraItem]:
        self.decoded += 1
        self._alive()
        size = (frame.height, frame.width) if make.turn.swaps else (frame.width, frame.height)
        shown, wall = self._when(_seconds(frame.pts, make), now)
        if (make.codec, *size) != self._shape:
            yield self._new_shape((make.codec, *size), shown, wall)
        yield from self._given(lambda: make.turn.apply(rgb(frame)), shown, wall)

    def _when(self, pts_seconds: float | None, now: float) -> tuple[float, float]:
        """(seconds, wall_seconds) of the next picture."""
        if not self._fast:
            shown = self._times.tick(pts_seconds, now)
            return shown, self._wall(shown, now)
        if self._file_clock is None:
            self._file_clock = Clock(_MICROSECOND, frame_seconds=_BETWEEN_FILES_SECONDS)
        pts = None if pts_seconds is None else round(pts_seconds / _MICROSECOND)
        self._fast_seconds = self._file_start + self._file_clock.tick(pts)
        return self._fast_seconds, self._wall(self._fast_seconds, now)

    def _wall(self, shown: float, now: float) -> float:
        if self._fast:
            return self._start[1] + shown - self._start[0]
        return self._clocks.wall() - (now - shown)

    def _given(self, picture: Callable[[], Image], shown: float, wall: float) -> Iterator[CameraFrame]:
        self._latest = shown
        if self._too_soon(shown):
            return
        assert self._size_px is not None
        image = fit(picture(), *self._size_px)
        if self.options.masks:
            image = image.copy()
            paint(image, self.options.masks)
        yield CameraFrame(Frame(image, shown, self._index), wall)
        self._index += 1

    def _new_shape(self, shape: tuple[str, int, int], shown: float, wall: float) -> CameraState:
        before, self._shape = self._shape, shape
        codec, width, height = shape
        says = f"{codec} {width}x{height}"
        if self._size_px is None:
            share = min(1.0, self.options.height_px / height, 2 * self.options.height_px / width)
            self._size_px = max(round(width * share), 1), max(round(height * share), 1)
        wanted = self._size_px[0] / self._size_px[1]
        if abs(width / height / wanted - 1) > _SHAPE_SHARE:
            says += f", of another shape than {self._size_px[0]}x{self._size_px[1]}: pictures are stretched to that"
        return CameraState("connected" if before is None else "changed", shown, wall, says)

    def _too_soon(self, shown: float) -> bool:
        if self.options.fps is None:
            return False
        if self._last_used is not None and shown - self._last_used < _TOO_EARLY / self.options.fps:
            return True
        # Counting on from when it was due keeps the rate; after a pause it starts from here.
        due = shown if self._last_used is None else self._last_used + 1 / self.options.fps
        self._last_used = due if shown - due < 1 / self.options.fps else shown
        return False

    # replays

    def _pace(self, container: InputContainer) -> _Pace | None:
        if self.options.is_live:
            return _Pace(self._clocks) if container.format.name.split(",")[0] in _PACED else None
        return _Pace(self._clocks) if self.options.replay == "real-time" else None

    def _replay(self) -> Iterator[CameraItem]:
        """Files one after the other, as if they were one recording."""
        path = self.options.url
        pictures = os.path.isdir(path) and any(map(is_numbered_image, visible_entries(Path(path))))
        if pictures and self.options.replay_fps is None:
            raise UsageError(f"{path}: a folder of pictures does not say how fast it was filmed: give replay_fps")
        listing = [path]
        if not pictures:
            found = list_videos([path])
            if not found.videos and found.failures:
                raise VideoError(path, found.failures[0].reason)
            listing = list(found.videos)
        for one in listing:
            try:
                yield from self._pictures(one) if pictures else self._connection(one)
            except VideoError as error:
                if self._index == 0 and one == listing[-1]:
                    raise
                yield self._state("lost", f"{one}: {error.reason}")
            if self._stopped.is_set():
                return
            self._begin_file()
        yield self._state("ended")

    def _begin_file(self) -> None:
        self._file_start = self._fast_seconds + _BETWEEN_FILES_SECONDS
        self._file_clock = None

    def _pictures(self, path: str) -> Iterator[CameraItem]:
        """A folder of numbered pictures."""
        pace = _Pace(self._clocks) if self.options.replay == "real-time" else None
        self._times.restart()
        with open_video(path, fps=self.options.replay_fps) as source:
            shape = (source.info.codec, source.info.width_px, source.info.height_px)
            for frame in source:
                if self._stopped.is_set():
                    return
                if pace is not None:
                    pace.wait(frame.time_seconds, self._stopped)
                shown, wall = self._when(frame.time_seconds, self._clocks.monotonic())
                if shape != self._shape:
                    yield self._new_shape(shape, shown, wall)
                yield from self._given(partial(_same, frame.image), shown, wall)


class _Pace:
    """Waits until what has a timestamp is due, as if it came from a camera."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._offset: float | None = None

    def wait(self, pts_seconds: float | None, stopped: threading.Event) -> None:
        if pts_seconds is None:
            return
        now = self._clocks.monotonic()
        if self._offset is None or abs(pts_seconds + self._offset - now) > _BEHIND_SECONDS:
            self._offset = now - pts_seconds  # the start, a jump, or too far behind to catch up
        early = pts_seconds + self._offset - now
        if early > 0:
            stopped.wait(early)


def _opened(options: CameraOptions, path: str) -> InputContainer:
    """Connect, or open a file. Raises FFmpegError, VideoError."""
    timeout = (options.open_seconds, options.stall_seconds)
    if not options.is_live:
        return open_container(path, options.name)
    asked = {"fpsprobesize": "0", "analyzeduration": str(_ANALYSE_MICROSECONDS)}
    if not is_url(path):
        return av.open(path, "r", format="v4l2", options=asked, timeout=timeout, metadata_errors="replace")
    if path.lower().startswith("rtsp"):
        asked |= {"rtsp_transport": options.transport, "protocol_whitelist": _RTSP}
    else:
        asked |= {"protocol_whitelist": _HTTP}
    return av.open(path, "r", options=asked, timeout=timeout, metadata_errors="replace")


def _same(image: Image) -> Image:
    return image


def _seconds(ticks: int | None, make: Make) -> float | None:
    return None if ticks is None or not make.timed else float(ticks * make.time_base)
