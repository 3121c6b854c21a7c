"""Video files and addresses, decoded by FFmpeg through PyAV."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property, partial
from itertools import chain
from typing import TypeAlias, cast

import av
from av.container import InputContainer
from av.stream import Discard, Disposition

from oddwatch.errors import VideoError
from oddwatch.types import FloatArray, Frame, Image, VideoInfo
from oddwatch.video.clock import Clock
from oddwatch.video.decoded import Turn, reason, rgb
from oddwatch.video.names import display_name, is_url
from oddwatch.video.packets import PacketIndex, Run
from oddwatch.video.source import Picture, VideoSource, fit

_log = logging.getLogger(__name__)

_Packet: TypeAlias = "av.Packet[av.VideoStream]"

_RECORD_AGAIN = "it is damaged or was cut off: record or copy it again"
_URL_TIMEOUT_SECONDS = 10.0
_MOST_FPS = 1000
_UNKNOWN_FPS = 25
_MISSING_SECONDS = 1.0
"""How much of the promised duration may be missing before a file counts as cut off."""


class FileSource(VideoSource):
    """A file, or an address that FFmpeg can open. Decodes with all cores; memory does not grow with the length."""

    def __init__(self, path: str) -> None:
        """Open and decode the first frame. Raises VideoError."""
        super().__init__()
        self._path = path
        self._name = display_name(path)
        self._container = open_container(path, self._name)
        try:
            self._stream = video_stream(self._container, self._name)
            self._stream.thread_type = "AUTO"
            self._time_base = self._stream.time_base or Fraction(1)
            self._decoding = self._decode(self._packets())
            first = next(self._decoding, None)
            if first is None:
                refused = self.skipped or self.truncated
                problem = "no frame of it could be decoded" if refused else "it holds no frame"
                raise VideoError(self._name, problem, _RECORD_AGAIN)
        except BaseException:
            self._container.close()
            raise
        self._first = first
        self._turn = Turn.of(first)
        width, height = (first.height, first.width) if self._turn.swaps else (first.width, first.height)
        fps = _fps(self._stream)
        self._frame_seconds = float(1 / (fps or _UNKNOWN_FPS))
        self.info = VideoInfo(
            name=self._name,
            width_px=width,
            height_px=height,
            fps=None if fps is None else float(fps),
            duration_seconds=_seconds(self._container.duration, Fraction(1, av.time_base))
            or _seconds(self._stream.duration, self._time_base),
            codec=self._stream.codec_context.codec.canonical_name,
        )

    def pictures(self) -> Iterator[Picture]:
        """All pictures. Raises VideoError when a connection breaks."""
        clock = Clock(self._time_base, frame_seconds=self._frame_seconds)
        for index, frame in enumerate(chain([self._first], self._decoding)):
            yield Picture(index, clock.tick(frame.pts), partial(self._image, frame))
        if self.skipped:
            _log.warning("%s: damaged packets left out: %d", self._name, self.skipped)
        if self.truncated:
            _log.warning("%s: it ends before its time, the file was cut off", self._name)

    def timeline(self) -> FloatArray:
        """(N,) times from the packets, which are read but not decoded."""
        return self._index.times_seconds

    def read_at(self, indices: Sequence[int]) -> dict[int, Frame] | None:
        """Frames by seeking to the keyframes before them; every frame on the way is checked against the timeline."""
        index = self._index
        runs = index.runs(indices) if len(index.pts) and self._first.pts == index.pts[0] else None
        found: dict[int, Frame] = {}
        for run in runs or ():
            frames = self._read_run(index, run)
            if frames is None:
                return None
            found |= frames
        return found or None

    @cached_property
    def _index(self) -> PacketIndex:
        with open_container(self._path, self._name) as container:
            stream = video_stream(container, self._name)
            return PacketIndex.read(
                _until_damage(container.demux(stream)),
                codec=self.info.codec,
                time_base=self._time_base,
                frame_seconds=self._frame_seconds,
            )

    def _read_run(self, index: PacketIndex, run: Run) -> dict[int, Frame] | None:
        packets = self._packets_from(int(index.pts[run.start]), int(index.dts[run.start]))
        wanted = set(run.wanted)
        found: dict[int, Frame] = {}
        following = run.start
        for frame in self._decode(packets):
            if frame.pts is None or frame.pts > index.pts[following]:
                return None
            if frame.pts < index.pts[following]:
                continue
            if following in wanted:
                found[following] = Frame(self._image(frame), float(index.times_seconds[following]), following)
                if len(found) == len(wanted):
                    return found
            following += 1
        return None

    def _packets_from(self, pts: int, dts: int) -> Iterator[_Packet]:
        """Packets from the keyframe with this pts or from one before. Nothing when the container cannot go there.

        Some containers seek by pts and some by dts, which is the earlier one.
        """
        self.at_start = False
        for offset in (pts, dts):
            try:
                self._container.seek(offset, stream=self._stream)
                packets = self._container.demux(self._stream)
                first = next(packets)
            except (av.FFmpegError, StopIteration):
                continue
            if (first.is_keyframe and (first.pts or 0) <= pts) or (first.dts is not None and first.dts <= dts):
                return chain([first], packets)
        return iter(())

    def _packets(self) -> Iterator[_Packet]:
        """Packets to the end; the last one is empty and flushes the decoder. Sets `truncated`."""
        first_pts = end_pts = None
        is_cut = False
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    end = packet.pts + (packet.duration or 0)
                    first_pts = packet.pts if first_pts is None else min(first_pts, packet.pts)
                    end_pts = end if end_pts is None else max(end_pts, end)
                if packet.size:
                    is_cut = packet.is_corrupt
                yield packet
        except av.FFmpegError as error:
            yield _flush_packet(self._stream)
            if is_url(self._path):
                raise VideoError(self._name, f"the connection broke: {reason(error)}") from None
            is_cut = True
        promised = _promised_seconds(self._container, self._stream)
        if promised is not None and first_pts is not None and end_pts is not None:
            is_cut |= promised - float((end_pts - first_pts) * self._time_base) > _MISSING_SECONDS
        self.truncated |= is_cut

    def _decode(self, packets: Iterator[_Packet]) -> Iterator[av.VideoFrame]:
        """Frames in the order in which they are shown. What the decoder refuses is counted and left out."""
        expected = 0
        last_pts: int | None = None
        half = False
        for packet in packets:
            expected += packet.size > 0 and not packet.is_discard
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.skipped += 1
                expected -= packet.size > 0
                half = packet.is_corrupt
                continue
            half = half and packet.size == 0
            for frame in frames:
                expected -= 1
                last_pts = max((p for p in (frame.pts, last_pts) if p is not None), default=None)
                yield frame
        if half and self.truncated:  # the end of a file that was cut off is no other damage
            self.skipped -= 1
        if expected > 0 and last_pts is not None and not is_url(self._path):
            yield from self._after(last_pts)

    def _after(self, pts: int) -> Iterator[av.VideoFrame]:
        """The frames shown after `pts`, decoded in one thread.

        When a damaged packet is among the last ones, PyAV cannot get the good frames behind it out of a decoder with
        several threads. Recordings that were cut off end in such a packet.
        """
        with open_container(self._path, self._name) as container:
            stream = video_stream(container, self._name)
            stream.thread_type = "NONE"
            try:
                container.seek(pts, stream=stream)
            except av.FFmpegError:
                return
            for packet in _until_damage(container.demux(stream)):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                yield from (frame for frame in frames if frame.pts is not None and frame.pts > pts)

    def _image(self, frame: av.VideoFrame) -> Image:
        return fit(self._turn.apply(rgb(frame)), self.info.width_px, self.info.height_px)

    def _release(self) -> None:
        self._container.close()


def open_container(path: str, name: str) -> InputContainer:
    """Open for reading. Raises VideoError with the reason."""
    if is_url(path):
        options = {"rtsp_transport": "tcp"} if path.lower().startswith("rtsp") else {}
        try:
            return av.open(path, "r", options=options, timeout=_URL_TIMEOUT_SECONDS, metadata_errors="replace")
        except av.FFmpegError as error:
            remedy = "check the address, user name and password, and that the camera or server is on"
            raise VideoError(name, f"cannot be opened: {reason(error)}", remedy) from None
    start = _start_of(path, name)
    try:
        # The prefix keeps FFmpeg from taking the part of a file name before a colon for a protocol.
        return av.open(f"file:{path}", "r", metadata_errors="replace")
    except av.FFmpegError:
        if start[4:] == b"ftyp":
            raise VideoError(name, "an mp4 whose index (moov) is missing or damaged", _RECORD_AGAIN) from None
        raise VideoError(name, "not a video file, or damaged at its start", "check that it plays elsewhere") from None


def _start_of(path: str, name: str) -> bytes:
    """The first 8 bytes of a regular file. Raises VideoError when there are none to be had."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            start = file.read(8)
    except FileNotFoundError:
        raise VideoError(name, "no such file or folder", "check the path") from None
    except PermissionError:
        raise VideoError(name, "permission denied", "give yourself the right to read it") from None
    except OSError as error:
        raise VideoError(name, f"cannot be read: {error.strerror}") from None
    if not start:
        raise VideoError(name, "the file is empty", "record or copy it again")
    return start


def video_stream(container: InputContainer, name: str) -> av.VideoStream:
    """The stream to show; the others are not read. Cover art of music and listings of text are no video."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams or container.format.name == "tty":
        problem = "it holds sound but no video" if container.streams.audio else "it holds no video"
        raise VideoError(name, problem, "check that it is the right file, and whole")
    best = container.streams.best("video")
    stream = next((s for s in streams if s is best), streams[0])
    if stream.codec_context is None:
        raise VideoError(name, "its codec is unknown to this build of FFmpeg", "convert it to H.264")
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    return stream


def _flush_packet(stream: av.VideoStream) -> _Packet:
    packet = cast("_Packet", av.Packet())
    packet.stream = stream
    return packet


def _until_damage(packets: Iterator[_Packet]) -> Iterator[_Packet]:
    """Packets up to the first that cannot be read, where a file is cut off."""
    try:
        yield from packets
    except av.FFmpegError:
        return


def _fps(stream: av.VideoStream) -> Fraction | None:
    rates = (stream.average_rate, stream.guessed_rate)
    return next((rate for rate in rates if rate and 0 < rate <= _MOST_FPS), None)


def _seconds(duration: int | None, time_base: Fraction) -> float | None:
    return float(duration * time_base) if duration and duration > 0 else None


def _promised_seconds(container: InputContainer, stream: av.VideoStream) -> float | None:
    """What the header says about the length of this stream; what FFmpeg estimates from the file size does not count."""
    if stream.duration is None and container.format.name.startswith("matroska") and len(container.streams) == 1:
        return _seconds(container.duration, Fraction(1, av.time_base))
    return _seconds(stream.duration, stream.time_base or Fraction(1))
