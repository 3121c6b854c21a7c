"""Real servers for cameras on loopback: RTSP (GStreamer), MJPEG and HLS over HTTP, and a line that can be cut."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np

from oddwatch.types import Image
from oddwatch.video import CameraClip, CameraFrame, CameraItem, CameraOptions, CameraProcess, CameraState

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")


def have_rtsp_server() -> bool:
    """Whether the system's Python has GStreamer's RTSP server."""
    code = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    with suppress(OSError):
        return subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, check=False).returncode == 0
    return False


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RtspServer:
    """Mounts: name -> mp4 files of 10 frames a second, the first of which is played in a loop."""

    def __init__(self, mounts: Mapping[str, Sequence[Path]], *, login: str = "-") -> None:
        self._arguments = [login, *(f"{name}={','.join(map(str, files))}" for name, files in mounts.items())]
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    def url(self, name: str, *, port: int | None = None, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{port or self.port}/{name}"

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(SERVER), str(self.port), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    __enter__ = start

    def restart(self) -> None:
        self.start()

    def tell(self, *words: object) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(" ".join(map(str, words)) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    def kill(self) -> None:
        if (process := self._process) is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


class Line:
    """A TCP line to a port that can be held (nothing passes, nothing is closed) or disturbed (garbage in between)."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._held, self._closed = threading.Event(), threading.Event()
        self._garbage = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def hold(self) -> None:
        """From now on nothing passes, in the middle of whatever it was."""
        self._held.set()

    def release(self) -> None:
        """New connections work again; those that were held are dead, as after a cable was pulled."""
        self._held.clear()

    def disturb(self, times: int) -> None:
        """Overwrite the next so many pieces with garbage."""
        self._garbage = times

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [near, far]
                dead = threading.Event()
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other, dead), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, dead: threading.Event) -> None:
        rng = np.random.default_rng(0)
        from_server = one.getpeername()[1] == self._to
        with suppress(OSError):
            while data := one.recv(4096):
                if self._held.is_set() or dead.is_set():
                    with suppress(OSError):
                        other.send(data[: len(data) // 2]) if not dead.is_set() and from_server else None
                    dead.set()
                    continue
                if self._garbage > 0 and from_server:
                    self._garbage -= 1
                    data = rng.bytes(len(data))
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class HttpCameras(ThreadingHTTPServer):
    """`/mjpeg`: pictures 10 times a second. `/hls/live.m3u8`: a live playlist of the segments of a recording.
    `/jumps.ts`: the same segments one after the other, in an order in which their timestamps jump back and forth.
    """

    daemon_threads = True

    def __init__(self, images: Sequence[Image], segments: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.images, self.segments, self.started = images, segments, time.monotonic()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def playlist(self) -> str:
        names = sorted(path.name for path in self.segments.glob("*.ts"))
        newest = min(3 + int(time.monotonic() - self.started), len(names))
        first = max(newest - 4, 0)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for name in names[first:newest]:
            lines += ["#EXTINF:1.0,", name]
        return "\n".join(lines) + "\n"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A camera that hangs up is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    server: HttpCameras

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/mjpeg":
            self._mjpeg()
        elif self.path == "/jumps.ts":
            self._jumps()
        elif self.path == "/hls/live.m3u8":
            self._body(self.server.playlist().encode(), "application/vnd.apple.mpegurl")
        else:
            self._body((self.server.segments / Path(self.path).name).read_bytes(), "video/mp2t")

    def _body(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _mjpeg(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        count = 0
        while True:
            image = self.server.images[count % len(self.server.images)]
            data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data + b"\r\n")
            count += 1
            time.sleep(0.1)

    def _jumps(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        segments = sorted(self.server.segments.glob("*.ts"))
        for place in (3, 4, 5, 0, 1, 2, 18, 19, 20, 9, 10, 11, 0, 1, 2):
            data = segments[place].read_bytes()
            for part in range(10):  # as a camera would send it, and not all at once
                self.wfile.write(data[len(data) * part // 10 : len(data) * (part + 1) // 10])
                time.sleep(0.1)


def write_segments(folder: Path, images: Sequence[Image], *, fps: int = 10) -> Path:
    """Segments of a second of H.264."""
    folder.mkdir(parents=True)
    options = {"hls_time": "1", "hls_list_size": "0", "hls_segment_filename": str(folder / "s%03d.ts")}
    with av.open(str(folder / "all.m3u8"), "w", format="hls", options=options) as container:
        stream = container.add_stream("libx264", rate=fps, options={"g": str(fps), "preset": "veryfast", "bf": "0"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return folder


class Watched:
    """A camera in its process with all that it says."""

    def __init__(self, options: CameraOptions) -> None:
        self.camera = CameraProcess(options)
        self.items: list[CameraItem] = []
        self.arrived: list[float] = []

    def __enter__(self) -> Self:
        self.camera.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.camera.close()

    @property
    def frames(self) -> list[CameraFrame]:
        return [item for item in self.items if isinstance(item, CameraFrame)]

    def states(self, kind: str) -> list[CameraState]:
        return [item for item in self.items if isinstance(item, CameraState) and item.kind == kind]

    def clips(self) -> list[CameraClip]:
        return [item for item in self.items if isinstance(item, CameraClip)]

    def until(self, done: Callable[[], object], *, seconds: float = 30.0) -> float:
        """Read until something holds. Seconds that took; fails when it does not within `seconds`."""
        start = time.monotonic()
        while not done():
            if time.monotonic() - start > seconds:
                states = [item for item in self.items if isinstance(item, CameraState)]
                raise AssertionError(f"not within {seconds} s; {len(self.frames)} frames, {states}")
            self.items += self.camera.read(timeout=0.1)
        return time.monotonic() - start

    def more(self, frames: int, *, seconds: float = 30.0) -> float:
        """Read so many more frames."""
        wanted = len(self.frames) + frames
        return self.until(lambda: len(self.frames) >= wanted, seconds=seconds)

    def during(self, seconds: float) -> None:
        """Read for a while."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, seconds=seconds + 10)
