"""The packets of a file, listed without decoding, and from where to decode when only some frames are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import FloatArray

_ONE_FRAME_PER_PACKET = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg"})
"""Others, VP8 for one, hide pictures in packets of their own, so that packets cannot be counted as frames."""

_MOST_REORDERED = 32
"""Frames that a codec may move a packet; beyond that the timestamps of the file jump."""

_SEEK_FRAMES = 24
"""What one seek costs, in decoded frames: the decoder's threads and its reorder buffer fill anew."""

_NO_TIME = np.iinfo(np.int64).min
_ENTRY = np.dtype([("pts", np.int64), ("dts", np.int64), ("is_key", np.bool_), ("is_damaged", np.bool_)])


@dataclass(frozen=True)
class Run:
    """Decode from `start`, a keyframe, and keep `wanted`: indices in order of time, ascending."""

    start: int
    wanted: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """One entry per packet, in the order in which frames are shown; times as `Clock` gives them.

    pts, dts: (N,) int64 in units of the time base. is_key: (N,) bool. times_seconds: (N,) float64, ascending.
    is_exact: whether every frame can be told by its pts; otherwise the times are only a guess.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    times_seconds: FloatArray
    is_exact: bool

    @staticmethod
    def read(
        packets: Iterable[av.Packet[av.VideoStream]], *, codec: str, time_base: Fraction, frame_seconds: float
    ) -> PacketIndex:
        """List the packets of one stream. frame_seconds: what a frame takes where there are no timestamps."""
        shown = (_entry(packet) for packet in packets if packet.size and not packet.is_discard)
        table = np.fromiter(shown, dtype=_ENTRY)
        has_times = bool((table["pts"] != _NO_TIME).all())
        order = np.argsort(table["pts"], kind="stable")
        moved = np.abs(order - np.arange(len(table)))
        table = table[order]
        pts = table["pts"]
        if has_times:
            times = (pts - pts[:1]) * time_base.numerator / time_base.denominator
        else:
            times = np.arange(len(pts)) * frame_seconds
        is_exact = bool(
            has_times
            and codec in _ONE_FRAME_PER_PACKET
            and table["is_key"][:1].any()
            and not table["is_damaged"].any()
            and (np.diff(pts) > 0).all()
            and (moved <= _MOST_REORDERED).all()
        )
        return PacketIndex(pts, table["dts"], table["is_key"], times, is_exact)

    def runs(self, wanted: Sequence[int]) -> list[Run] | None:
        """How to read these frames by seeking. None when decoding everything is about as cheap, or safer."""
        if not self.is_exact:
            return None
        keys = np.flatnonzero(self.is_key)
        indices = sorted(set(wanted))
        starts = keys[np.searchsorted(keys, indices, side="right") - 1].tolist()
        parts: list[tuple[int, list[int]]] = []
        for index, start in zip(indices, starts, strict=True):
            if not parts or start > parts[-1][1][-1] + _SEEK_FRAMES:
                parts.append((start, []))
            parts[-1][1].append(index)
        decoded = sum(part[-1] - start + _SEEK_FRAMES for start, part in parts)
        return [Run(start, tuple(part)) for start, part in parts] if decoded <= len(self.pts) / 2 else None


def _entry(packet: av.Packet[av.VideoStream]) -> tuple[int, int, bool, bool]:
    times = [time for time in (packet.pts, packet.dts) if time is not None] or [_NO_TIME]
    return times[0], times[-1], packet.is_keyframe, packet.is_corrupt
