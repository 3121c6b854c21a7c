"""open_video on addresses: what is shown of them, HTTP, broken connections, cameras that do not answer."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from read_videos import numbers, read
from video_files import cut_off, numbered_images, read_number, write_video

from oddwatch.errors import VideoError
from oddwatch.video import display_name, open_video


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rtsp://camera/1", "rtsp://camera/1"),
        ("rtsp://user:word@camera:554/1?channel=2", "rtsp://camera:554/1?channel=2"),
        ("rtsp://user@camera/1", "rtsp://camera/1"),
        ("rtsp://user:w@r/d?#x@camera/1", "rtsp://camera/1"),
        ("http://camera/x.cgi?user=me&pwd=word&channel=1", "http://camera/x.cgi?user=***&pwd=***&channel=1"),
        ("http://camera/x?access_token=word#end", "http://camera/x?access_token=***#end"),
        ("rtsp://camera/user=admin_password=word_channel=1.sdp", "rtsp://camera/user=***"),
        ("C:/videos/user@home.mp4", "C:/videos/user@home.mp4"),
    ],
)
def test_display_names_hide_passwords(url: str, name: str) -> None:
    assert display_name(url) == name


def test_an_address_that_does_not_answer_names_no_password() -> None:
    with pytest.raises(VideoError) as caught:
        open_video("http://admin:letmein@127.0.0.1:9/live")
    assert str(caught.value).startswith("http://127.0.0.1:9/live: cannot be opened: Connection refused (check")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves one video: whole under /whole.mp4, with the connection cut in the middle under /half.mp4."""
    options = {"movflags": "+faststart"}
    data = write_video(tmp_path / "a.mp4", numbered_images(300, 320, 240), container_options=options).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in ("/whole.mp4", "/half.mp4"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if self.path == "/whole.mp4" else data[: len(data) // 2])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://me:secret@127.0.0.1:{one.server_port}"
        one.shutdown()
        thread.join()


def test_http(server: str) -> None:
    assert numbers(read(f"{server}/whole.mp4")) == list(range(300))
    with pytest.raises(VideoError, match=r"^http://127\.0\.0\.1:\d+/other\.mp4: cannot be opened: .*404 Not Found"):
        open_video(f"{server}/other.mp4")


def test_a_broken_connection_is_an_error_after_the_frames_before_it(server: str, tmp_path: Path) -> None:
    got: list[int] = []
    with open_video(f"{server}/half.mp4") as video, pytest.raises(VideoError) as caught:
        got.extend(read_number(frame.image) for frame in video)
    assert "/half.mp4: the connection broke: " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert got == numbers(read(cut_off(tmp_path / "a.mp4", keep=0.5)))
    assert got[:50] == list(range(50))


def test_a_camera_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddwatch.video.file._URL_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(
            VideoError, match=rf"^http://127\.0\.0\.1:{port}/live: cannot be opened: no answer in time \("
        ):
            open_video(f"http://127.0.0.1:{port}/live")
