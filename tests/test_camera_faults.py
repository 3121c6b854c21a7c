"""Cameras through faults, with real servers, processes and lines. All faults happen side by side, because each takes
seconds of waiting; each test looks at what became of one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from camera_servers import HttpCameras, Line, RtspServer, Watched, have_rtsp_server, write_segments
from small_videos import images, write

from oddwatch.video import CameraOptions, Gaps, Unobserved, open_video

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(not have_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi"),
]
BACK_SECONDS = 10.0
PASSWORD = "p@ss:w/or%d"
QUOTED = "p%40ss%3Aw%2For%25d"


def options(url: str, **others: object) -> CameraOptions:
    """Less patient than the default, so that the tests are quick."""
    return CameraOptions(url, **{"open_seconds": 4.0, "stall_seconds": 2.0, "retry_most_seconds": 2.0, **others})  # type: ignore[arg-type]


@dataclass
class Outcome:
    """back_seconds: from the end of the fault to the next picture. gaps: as they were found."""

    watched: Watched
    back_seconds: float
    gaps: list[Unobserved]


def through(watched: Watched, fault: Callable[[], None], *, seconds: float, end: Callable[[], None]) -> Outcome:
    """Watch, break something, watch for so long, mend it, watch until pictures come and three seconds more."""
    watched.more(15)
    fault()
    watched.during(seconds)
    end()
    back = watched.more(1)
    watched.more(10)
    first = watched.frames[0]
    gaps = Gaps(started_wall=first.wall_seconds, started_seconds=first.frame.time_seconds, least_seconds=1.5)
    return Outcome(watched, back, [gap for gap in map(gaps.push, watched.items) if gap is not None])


def killed_server(folder: Path) -> Outcome:
    server = RtspServer({"one": [folder / "small.mp4"]}).start()
    try:
        with Watched(options(server.url("one"))) as watched:
            return through(watched, server.kill, seconds=3.0, end=server.restart)
    finally:
        server.kill()


def cut_line(folder: Path) -> Outcome:
    with (
        RtspServer({"one": [folder / "small.mp4"]}) as server,
        Line(server.port) as line,
        Watched(options(server.url("one", port=line.port))) as watched,
    ):
        return through(watched, line.hold, seconds=4.0, end=line.release)


def garbage(folder: Path) -> Outcome:
    with (
        RtspServer({"one": [folder / "small.mp4"]}) as server,
        Line(server.port) as line,
        Watched(options(server.url("one", port=line.port))) as watched,
    ):
        return through(watched, lambda: line.disturb(5), seconds=2.0, end=lambda: line.disturb(0))


def stalled(folder: Path) -> Outcome:
    with RtspServer({"one": [folder / "small.mp4"]}) as server, Watched(options(server.url("one"))) as watched:
        return through(watched, lambda: server.tell("one", "stall"), seconds=4.0, end=lambda: server.tell("one", "go"))


def another_size(folder: Path) -> Outcome:
    mounts = {"one": [folder / "small.mp4", folder / "large.mp4"]}
    with RtspServer(mounts) as server, Watched(options(server.url("one"))) as watched:
        return through(
            watched, lambda: server.tell("one", "play", 1), seconds=2.0, end=lambda: server.tell("one", "play", 0)
        )


def killed_decoder(folder: Path, number: signal.Signals) -> Outcome:
    with RtspServer({"one": [folder / "small.mp4"]}) as server, Watched(options(server.url("one"))) as watched:
        pids: list[int] = []

        def kill() -> None:
            assert watched.camera.pid is not None
            pids.append(watched.camera.pid)
            os.kill(watched.camera.pid, number)

        found = through(watched, kill, seconds=0.0, end=lambda: None)
        assert not Path(f"/proc/{pids[0]}").exists()  # neither running nor a zombie
        return found


def hanging_decoder(folder: Path) -> Outcome:
    with RtspServer({"one": [folder / "small.mp4"]}) as server, Watched(options(server.url("one"))) as watched:

        def stop() -> None:
            assert watched.camera.pid is not None
            os.kill(watched.camera.pid, signal.SIGSTOP)

        return through(watched, stop, seconds=0.5, end=lambda: None)


def secret(folder: Path) -> Outcome:
    """Over UDP, with a password that is hard to tell from the rest of an address; then a wrong one."""
    with RtspServer({"one": [folder / "small.mp4"]}, login=f"me:{PASSWORD}") as server:
        with Watched(options(server.url("one", login="me:wrong-word@"))) as refused:
            refused.until(lambda: refused.states("lost"))
            assert "401" in refused.states("lost")[0].says
            assert "wrong-word" not in repr(refused.items) + repr(refused.camera.options)
        with Watched(options(server.url("one", login=f"me:{QUOTED}@"), transport="udp")) as watched:
            watched.more(5)
            arguments = b"".join(
                path.read_bytes() for path in Path("/proc").glob(f"{watched.camera.pid}/cmdline") if path.exists()
            )
            assert b"oddwatch.video" in arguments
            assert QUOTED.encode() not in arguments
            return through(watched, lambda: None, seconds=0.0, end=lambda: None)


def http(folder: Path, path: str) -> Outcome:
    pictures = list(images(24.0, seed=5))
    server = HttpCameras(pictures, write_segments(folder / f"segments-{path.partition('/')[0]}", pictures))
    try:
        with Watched(options(server.url(path))) as watched:
            found = through(watched, lambda: None, seconds=8.0 if path == "jumps.ts" else 3.0, end=lambda: None)
            last = watched.frames[-1].frame.time_seconds
            watched.camera.clip(folder / f"{path[:3]}.mp4", from_seconds=last - 2, to_seconds=last - 0.5)
            watched.until(watched.clips)
            return found
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    folder = tmp_path_factory.mktemp("cameras")
    write(folder / "small.mp4", 6.0, seed=1)
    write(folder / "large.mp4", 6.0, seed=2, size_px=(320, 240))
    shared = set(os.listdir("/dev/shm"))
    with ThreadPoolExecutor(12) as pool:
        jobs: dict[str, Callable[[], Outcome]] = {
            "killed server": lambda: killed_server(folder),
            "cut line": lambda: cut_line(folder),
            "garbage": lambda: garbage(folder),
            "stalled": lambda: stalled(folder),
            "another size": lambda: another_size(folder),
            "jumping times": lambda: http(folder, "jumps.ts"),
            "segv": lambda: killed_decoder(folder, signal.SIGSEGV),
            "kill": lambda: killed_decoder(folder, signal.SIGKILL),
            "hang": lambda: hanging_decoder(folder),
            "secret": lambda: secret(folder),
            "mjpeg": lambda: http(folder, "mjpeg"),
            "hls": lambda: http(folder, "hls/live.m3u8"),
        }
        yield {name: pool.submit(job) for name, job in jobs.items()}
    assert set(os.listdir("/dev/shm")) <= shared  # nothing is left there


FAULTS = ["killed server", "cut line", "garbage", "stalled", "another size", "segv", "kill"]


@pytest.mark.parametrize("fault", FAULTS)
def test_pictures_are_back_within_ten_seconds(outcomes: dict[str, Future[Outcome]], fault: str) -> None:
    assert outcomes[fault].result().back_seconds < BACK_SECONDS


@pytest.mark.parametrize("fault", [*FAULTS, "secret", "jumping times", "mjpeg", "hls"])
def test_times_ascend_and_do_not_jump(outcomes: dict[str, Future[Outcome]], fault: str) -> None:
    frames = outcomes[fault].result().watched.frames
    seconds = np.array([item.frame.time_seconds for item in frames])
    wall = np.array([item.wall_seconds for item in frames])
    assert (np.diff(seconds) > 0).all()
    assert np.ptp(wall - seconds) < 0.5  # nobody set the clock of this machine
    assert abs(wall[-1] - time.time()) < 120


@pytest.mark.parametrize(("fault", "least"), [("killed server", 2.5), ("cut line", 3.5), ("stalled", 3.5)])
def test_what_was_not_seen_is_known(outcomes: dict[str, Future[Outcome]], fault: str, least: float) -> None:
    outcome = outcomes[fault].result()
    assert len(outcome.gaps) == 1
    gap = outcome.gaps[0]
    assert least < gap.seconds < least + 0.5 + outcome.back_seconds + 1.0
    assert gap.to_wall - gap.from_wall == pytest.approx(gap.seconds, abs=0.5)
    lost = outcome.watched.states("lost")
    assert gap.says == lost[0].says


@pytest.mark.parametrize("fault", ["another size", "jumping times", "secret", "mjpeg"])
def test_what_can_be_seen_through_is(outcomes: dict[str, Future[Outcome]], fault: str) -> None:
    outcome = outcomes[fault].result()
    assert outcome.gaps == []
    assert outcome.watched.states("lost") == []
    assert outcome.watched.states("restarted") == []


def test_pictures_keep_their_size(outcomes: dict[str, Future[Outcome]]) -> None:
    watched = outcomes["another size"].result().watched
    assert {item.frame.image.shape for item in watched.frames} == {(120, 160, 3)}
    changes = [state.says for state in watched.states("changed")]
    assert changes[:1] == ["h264 320x240"]


@pytest.mark.parametrize(("fault", "says"), [("segv", "SIGSEGV"), ("kill", "SIGKILL")])
def test_a_decoder_that_dies_is_replaced(outcomes: dict[str, Future[Outcome]], fault: str, says: str) -> None:
    watched = outcomes[fault].result().watched
    assert [says in state.says for state in watched.states("restarted")] == [True]
    assert watched.camera.counts.restarts == 1
    assert watched.camera.counts.frames == len(watched.frames)


def test_a_decoder_that_hangs_is_replaced(outcomes: dict[str, Future[Outcome]]) -> None:
    outcome = outcomes["hang"].result()
    assert ["no sign of life for 8 s" in state.says for state in outcome.watched.states("restarted")] == [True]
    assert outcome.back_seconds < 8 + BACK_SECONDS


@pytest.mark.parametrize("kind", ["mjpeg", "hls"])
def test_streams_over_http(outcomes: dict[str, Future[Outcome]], kind: str) -> None:
    watched = outcomes[kind].result().watched
    assert watched.camera.counts.dropped == 0
    seconds = np.array([item.frame.time_seconds for item in watched.frames])[12:]  # after what comes at once
    assert np.median(np.diff(seconds)) == pytest.approx(0.1, abs=0.03)
    (clip,) = watched.clips()
    assert clip.problem == ""
    assert clip.recoded == (kind == "mjpeg")
    with open_video(clip.path) as video:
        count = len(list(video))
    assert 12 <= count <= 60
