"""The last seconds of a stream as it came, and clips from it."""

from __future__ import annotations

import io
import os
import secrets
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np

from oddwatch.errors import VideoError
from oddwatch.types import Image
from oddwatch.video.camera import Polygon
from oddwatch.video.decoded import Turn, reason, rgb
from oddwatch.video.writer import VideoWriter

_TIME_BASE = Fraction(1, 90_000)
_PLAYED_AS_IS = frozenset({"h264", "hevc", "av1"})
"""Codecs of which an mp4 plays in browsers and phones (HEVC in most); others are encoded anew."""
_BREAK_SECONDS = 10.0
_MASK = (0, 0, 0)


def paint(image: Image, masks: Sequence[Polygon]) -> None:
    """Paint polygons (fractions of the picture) black, in place."""
    height, width = image.shape[:2]
    for mask in masks:
        corners = np.rint(np.asarray(mask) * (width, height)).astype(np.int32)
        cv2.fillPoly(image, [corners], _MASK)


class Make:
    """What a stream says of itself at the start of a connection, kept after the connection is gone."""

    def __init__(self, stream: av.VideoStream, *, timed: bool) -> None:
        """timed: whether its timestamps mean anything."""
        context = stream.codec_context
        self.codec = context.codec.canonical_name
        self.decoder = context.codec.name
        self.extradata = context.extradata
        self.size_px = (context.width, context.height)
        self.time_base = stream.time_base or Fraction(1)
        self.timed = timed
        self.turn = Turn()
        self._holder = av.open(io.BytesIO(), "w", format="mp4") if self.codec in _PLAYED_AS_IS else None
        self.template = self._holder.add_stream_from_template(stream) if self._holder else None

    @property
    def key(self) -> tuple[str, bytes | None, tuple[int, int]]:
        """Streams of which this is equal can be joined."""
        return self.codec, self.extradata, self.size_px


@dataclass(frozen=True)
class Kept:
    """An encoded picture. pts, dts: in units of the make's time base. seconds, wall_seconds: when it is shown."""

    data: bytes
    pts: int | None
    dts: int | None
    is_key: bool
    seconds: float
    wall_seconds: float
    make: Make


class PacketRing:
    """The last `seconds` of one stream, at most `most_bytes`, always from a key frame on. Safe between threads."""

    def __init__(self, *, seconds: float, most_bytes: int) -> None:
        self._seconds, self._most_bytes = seconds, most_bytes
        self._kept: deque[Kept] = deque()
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def push(self, kept: Kept) -> None:
        """Append; what is too old or too much is dropped, up to the next key frame."""
        with self._lock:
            if not self._kept and not kept.is_key:
                return
            self._kept.append(kept)
            self.bytes += len(kept.data)
            while self._kept and (
                self.bytes > self._most_bytes or kept.seconds - self._kept[0].seconds > self._seconds
            ):
                self._drop()
                while self._kept and not self._kept[0].is_key:
                    self._drop()

    def _drop(self) -> None:
        self.bytes -= len(self._kept.popleft().data)

    def between(self, from_seconds: float, to_seconds: float) -> list[Kept]:
        """What is shown between two times, from the key frame before on; of one make, the one of which most is there.

        Empty when nothing of it is kept any more.
        """
        with self._lock:
            kept = list(self._kept)
        first = 0
        for place, one in enumerate(kept):
            if one.seconds > from_seconds and place:
                break
            if one.is_key:
                first = place
        inside = [one for one in kept[first:] if one.seconds <= to_seconds]
        if not inside or inside[-1].seconds < from_seconds:
            return []
        counts: dict[object, int] = {}
        for one in inside:
            counts[one.make.key] = counts.get(one.make.key, 0) + 1
        most = max(counts, key=lambda key: counts[key])
        return _from_key([one for one in inside if one.make.key == most])


def _from_key(kept: list[Kept]) -> list[Kept]:
    first = next((place for place, one in enumerate(kept) if one.is_key), len(kept))
    return kept[first:]


def write_clip(kept: Sequence[Kept], path: str | os.PathLike[str], *, masks: Sequence[Polygon] = ()) -> bool:
    """Write an mp4 of encoded pictures: as they are, or, with masks and for codecs that browsers do not play, encoded
    anew. Returns whether it was encoded anew. The file appears complete or not at all. Raises VideoError.
    """
    target = Path(path)
    if not kept:
        raise VideoError(str(target), "nothing of that time is kept any more", "keep more seconds, or more bytes")
    make = kept[0].make
    recoded = bool(masks) or make.template is None
    if recoded:
        _encode(kept, target, masks)
    else:
        _remux(kept, target)
    return recoded


def _times(kept: Sequence[Kept]) -> Iterator[tuple[Kept, int, int]]:
    """(packet, pts, dts) in 1/90000 s from 0 on; dts strictly ascend whatever the stream says."""
    before: tuple[int, float] | None = None
    shift = 0
    for one in kept:
        scale = one.make.time_base / _TIME_BASE
        dts = one.dts if one.dts is not None else one.pts
        shown = round(one.seconds / _TIME_BASE)
        raw = round(dts * scale) if dts is not None and one.make.timed else shown
        ahead = round((one.pts - dts) * scale) if one.pts is not None and dts is not None and one.make.timed else 0
        if before is None:
            shift = -raw
        else:
            step = raw + shift - before[0]
            if not 0 < step * _TIME_BASE < _BREAK_SECONDS:
                took = min(max(one.seconds - before[1], 1e-3), _BREAK_SECONDS)
                shift = before[0] + round(took / _TIME_BASE) - raw
        before = (raw + shift, one.seconds)
        yield one, before[0] + max(ahead, 0), before[0]


def _remux(kept: Sequence[Kept], path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with av.open(f"file:{temporary}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
            template = kept[0].make.template
            assert template is not None
            stream = container.add_stream_from_template(template)
            stream.time_base = _TIME_BASE
            for one, pts, dts in _times(kept):
                packet = av.Packet(one.data)
                packet.stream, packet.time_base = stream, _TIME_BASE
                packet.pts, packet.dts, packet.is_keyframe = pts, dts, one.is_key
                container.mux(packet)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, ValueError, av.FFmpegError) as error:
        why = reason(error) if isinstance(error, av.FFmpegError) else getattr(error, "strerror", None) or str(error)
        raise VideoError(str(path), f"the clip cannot be written: {why}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _encode(kept: Sequence[Kept], path: Path, masks: Sequence[Polygon]) -> None:
    make = kept[0].make
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(make.decoder, "r"))
    decoder.thread_count = 1
    decoder.extradata = make.extradata
    last = -1
    # The size of the first picture holds for all: a decoder that joins late may see another in between.
    with VideoWriter(path, fps=25, size_px=_size_px(make)) as writer:
        for packet in _packets(kept):
            try:
                frames = decoder.decode(packet)
            except av.FFmpegError:
                continue
            for frame in frames:
                if frame.pts is None or frame.pts <= last:
                    continue
                last = frame.pts
                image = make.turn.apply(rgb(frame))
                paint(image, masks)
                writer.write(image, time_seconds=float(frame.pts * _TIME_BASE))
        if last < 0:
            raise VideoError(str(path), "no picture of the clip could be decoded")


def _size_px(make: Make) -> tuple[int, int] | None:
    width, height = make.size_px
    if not (width and height):
        return None
    return (height, width) if make.turn.swaps else (width, height)


def _packets(kept: Sequence[Kept]) -> Iterator[av.Packet[av.VideoStream] | None]:
    """For a decoder; the last one, None, flushes it."""
    for one, pts, dts in _times(kept):
        packet = cast("av.Packet[av.VideoStream]", av.Packet(one.data))
        packet.time_base, packet.pts, packet.dts = _TIME_BASE, pts, dts
        yield packet
    yield None
