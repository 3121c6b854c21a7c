"""A camera in a process of its own: what its decoder does, a crash included, ends there."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

import cv2

from oddwatch.errors import OddwatchError, VideoError
from oddwatch.processes import ended_how, start_python
from oddwatch.video.camera import CameraClip, CameraFrame, CameraItem, CameraOptions, CameraState, Clocks
from oddwatch.video.live import LiveReader
from oddwatch.video.recording import write_clip
from oddwatch.video.shared import FrameRing

_log = logging.getLogger(__name__)
_CHILD = "from oddwatch.video.process import main; main()"
_SLOTS = 6
_WIDEST = 2
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 3.0
_STOP_SECONDS = 2.0
_START_SECONDS = 20.0
"""A busy machine may take long to start a process."""


@dataclass(frozen=True)
class _ClipRequest:
    request: int
    path: str
    from_seconds: float
    to_seconds: float


@dataclass(frozen=True)
class CameraCounts:
    """Since the start. frames: handed over. dropped: lost because the reader was slow. decoded: by the decoder, before
    `fps` thins them out. damaged: pieces it refused. connections: that brought a picture. restarts: of the process.
    kept_bytes: of evidence, now.
    """

    frames: int = 0
    dropped: int = 0
    decoded: int = 0
    damaged: int = 0
    connections: int = 0
    restarts: int = 0
    kept_bytes: int = 0


class CameraProcess:
    """One camera, read in a child process. Use it in a `with` block, from one thread:

        with CameraProcess(CameraOptions("rtsp://camera/1")) as camera:
            while True:
                for item in camera.read(timeout=1.0):
                    ...

    A child that dies, or gives no sign of life, is replaced within seconds; `read` says so. The address reaches it
    through a pipe, never as an argument. It ends when this process does, however that ends.
    """

    def __init__(self, options: CameraOptions, *, clocks: Clocks | None = None) -> None:
        self.options = options
        self._clocks = clocks or Clocks()
        width, height = options.size_px or (_WIDEST * options.height_px, options.height_px)
        self._memory = FrameRing.anonymous()
        self._ring = FrameRing(self._memory.fileno(), slots=_SLOTS, most_pixels=width * height)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Connection | None = None
        self._bell: Connection | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._start_at: float | None = None
        self._over = False
        self._request = 0
        self._open_requests: dict[int, str] = {}
        self._hung_up = False
        self._before = CameraCounts()
        self._frames = 0
        self._latest = -math.inf

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the child, None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def counts(self) -> CameraCounts:
        """See `CameraCounts`."""
        ring, before = self._ring, self._before
        return CameraCounts(
            frames=self._frames,
            dropped=ring.dropped,
            decoded=before.decoded + ring["decoded"],
            damaged=before.damaged + ring["damaged"],
            connections=before.connections + ring["connections"],
            restarts=before.restarts,
            kept_bytes=ring["kept_bytes"],
        )

    def read(self, *, timeout: float) -> list[CameraItem]:
        """What has happened since the last call, in order as far as that matters; waits up to `timeout` seconds for
        something. Empty when nothing did. Raises VideoError, UsageError for a replay that cannot be.
        """
        if self._process is None:
            self._start_when_due(timeout)
        if (process := self._process) is None:
            return []
        assert self._control is not None
        assert self._bell is not None
        items: list[CameraItem] = []
        if not self._ring["written"] > self._ring["read"]:
            wait([self._control, self._bell], timeout)
        with suppress(BlockingIOError, OSError):
            os.read(self._bell.fileno(), 4096)
        items += self._messages()
        while (frame := self._ring.read()) is not None:
            items.append(frame)
            self._frames += 1
            self._latest = frame.frame.time_seconds
            self._pause = _FIRST_PAUSE_SECONDS
            self.options = replace(self.options, size_px=frame.frame.image.shape[1::-1])
        if not self._over and self._process is not None:
            items += self._look_after(process)
        return sorted(items, key=_order)

    def clip(self, path: str | os.PathLike[str], *, from_seconds: float, to_seconds: float) -> int:
        """Ask for an mp4 of what was shown between two times of the monotonic clock that are over; the answer is a
        `CameraClip` with the number that this returns. Masks are burned in. A child that dies takes what it kept along.
        """
        self._request += 1
        self._open_requests[self._request] = os.fspath(path)
        try:
            if self._control is None:
                raise OSError
            self._control.send(_ClipRequest(self._request, os.fspath(path), from_seconds, to_seconds))
        except OSError:
            pass  # it has just died: `read` answers when it notices
        return self._request

    def close(self) -> None:
        """End the child, by force if it does not end itself. Leaves no process behind."""
        self._over = True
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError, AttributeError):
                self._control.send(None)  # type: ignore[union-attr]
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (self._control, self._bell):
            if pipe is not None:
                pipe.close()
        self._control = self._bell = None
        self._memory.close()

    def _start(self) -> None:
        self._control, far = multiprocessing.Pipe()
        self._bell, far_bell = multiprocessing.Pipe(duplex=False)
        os.set_blocking(self._bell.fileno(), False)
        self._ring.clear()
        self._ring.beat = self._clocks.monotonic() + _START_SECONDS
        passed = (far.fileno(), far_bell.fileno(), self._memory.fileno())
        try:
            self._process = start_python(_CHILD, passed)
        finally:
            far.close()
            far_bell.close()
        self._start_at, self._hung_up = None, False
        with suppress(OSError):  # dead already: `read` notices
            self._control.send((self.options, self._ring.slots, self._ring.most_pixels))

    def _start_when_due(self, timeout: float) -> None:
        if self._over or self._start_at is None:
            return
        left = self._start_at - self._clocks.monotonic()
        if left > 0:
            threading.Event().wait(min(left, timeout))
        if self._start_at <= self._clocks.monotonic():
            self._start()

    def _messages(self) -> list[CameraItem]:
        items: list[CameraItem] = []
        try:
            while self._control is not None and self._control.poll():
                item = self._control.recv()
                if isinstance(item, OddwatchError):
                    self.close()
                    raise item
                if isinstance(item, CameraClip):
                    self._open_requests.pop(item.request, None)
                if isinstance(item, CameraState) and item.kind == "ended":
                    self._over = True
                items.append(item)
        except (EOFError, OSError):
            self._hung_up = True
        return items

    def _look_after(self, process: subprocess.Popen[bytes]) -> list[CameraItem]:
        """Notice that the child has died or hangs, and put off its successor for a moment."""
        options, now = self.options, self._clocks.monotonic()
        patience = options.open_seconds + options.stall_seconds + options.retry_most_seconds
        if self._hung_up:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
        if process.poll() is None:
            if not self._hung_up and now - self._ring.beat <= patience:
                return []
            process.kill()
            why = f"its decoder gave no sign of life for {patience:.0f} s and was stopped"
        else:
            why = f"its decoder ended ({ended_how(process.returncode)})"
        process.wait()
        items = self._messages()
        self._before = replace(self.counts, restarts=self._before.restarts + 1)
        assert self._control is not None
        assert self._bell is not None
        self._control.close()
        self._bell.close()
        self._process = self._control = self._bell = None
        _log.warning("%s: %s, starting it again in %.1f s", options.name, why, self._pause)
        self._start_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        lost = [CameraClip(request, path, problem=why) for request, path in self._open_requests.items()]
        self._open_requests.clear()
        return [*items, CameraState("restarted", max(now, self._latest), self._clocks.wall(), why), *lost]


def _order(item: CameraItem) -> tuple[float, int]:
    """States and pictures came by different ways. At one moment: what a picture begins, the picture, what ends it."""
    if isinstance(item, CameraFrame):
        return item.frame.time_seconds, 1
    if isinstance(item, CameraClip):
        return math.inf, 0
    return item.seconds, 0 if item.kind in ("connected", "changed") else 2


# the child


def main() -> None:
    """Of the child: descriptors as arguments, everything else through the first of them."""
    control, bell = Connection(int(sys.argv[1])), Connection(int(sys.argv[2]), readable=False)
    memory = int(sys.argv[3])
    try:
        options, slots, most_pixels = control.recv()
    except (EOFError, OSError):
        return
    ring = FrameRing(memory, slots=slots, most_pixels=most_pixels)
    os.close(memory)
    _run(control, bell, ring, options)


def _run(control: Connection, bell: Connection, ring: FrameRing, options: CameraOptions) -> None:
    cv2.setNumThreads(1)
    os.set_blocking(bell.fileno(), False)
    clocks = Clocks()
    sending = threading.Lock()

    def tell(item: object) -> None:
        with sending, suppress(OSError):
            control.send(item)

    def look() -> None:
        ring.beat = clocks.monotonic()
        ring["decoded"], ring["damaged"] = reader.decoded, reader.damaged
        ring["connections"], ring["kept_bytes"] = reader.connections, reader.ring.bytes

    reader = LiveReader(options, clocks=clocks, alive=look)
    listener = threading.Thread(target=_listen, args=(control, reader, tell), name="oddwatch-control", daemon=True)
    listener.start()
    waits = not options.is_live and options.replay == "fast"

    def waiting() -> bool:
        ring.beat = clocks.monotonic()
        return listener.is_alive()

    try:
        for item in reader.items():
            look()
            if isinstance(item, CameraFrame):
                ring.write(item, wait_while=waiting if waits else None)
                with suppress(OSError):  # full: it has been rung often enough
                    os.write(bell.fileno(), b"\1")
            else:
                tell(item)
        listener.join()  # clips are still asked for until the parent says that it is over
    except OddwatchError as error:
        tell(error)
    except BaseException as error:
        # Without its text, in which FFmpeg puts addresses with their passwords.
        _log.error("%s: %s\n%s", options.name, type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
        os._exit(1)


def _listen(control: Connection, reader: LiveReader, tell: Callable[[object], None]) -> None:
    """Answer requests until the parent says stop, or is gone."""
    try:
        while (asked := control.recv()) is not None:
            tell(_clip(asked, reader))
        reader.stop()
    except (EOFError, OSError):
        os._exit(0)


def _clip(asked: _ClipRequest, reader: LiveReader) -> CameraClip:
    kept = reader.ring.between(asked.from_seconds, asked.to_seconds)
    try:
        recoded = write_clip(kept, asked.path, masks=reader.options.masks)
    except VideoError as error:
        return CameraClip(asked.request, asked.path, problem=error.reason)
    return CameraClip(asked.request, asked.path, kept[0].wall_seconds, kept[-1].wall_seconds, recoded)
