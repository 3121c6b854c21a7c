"""Monitors on a real RTSP server: what is unusual is told while it happens, what breaks is told and mended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from camera_servers import RtspServer, have_rtsp_server
from small_detectors import small_detector
from small_videos import ODD_SECONDS, write
from watched_cameras import Kept, until

from oddwatch.health import Patience
from oddwatch.monitor import Learning, Plan, Supervisor
from oddwatch.video import CameraOptions, open_video

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(not have_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi"),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    write(folder / "usual.mp4", 30.0, seed=1)
    write(folder / "odd.mp4", 12.0, seed=3, odd="left")
    small_detector(folder).save(folder / "detector")
    return folder


@pytest.mark.allow_error_logs
def test_a_day_in_the_life_of_four_cameras(videos: Path, tmp_path: Path) -> None:
    """Side by side, because most of it is waiting: one sees something odd, one learns first, one freezes, one has no
    server for a while and loses its decoder too.
    """
    kept = Kept(tmp_path)

    def plan(name: str, url: str, **others: object) -> Plan:
        camera = CameraOptions(url, stall_seconds=3.0, retry_most_seconds=2.0)
        known: dict[str, object] = {"folder": videos / "detector", "pre_seconds": 2.0, "post_seconds": 2.0}
        patience = Patience(offline=4.0, frozen=6.0)
        return Plan(name, camera, **{**known, "patience": patience, **others})  # type: ignore[arg-type]

    mounts = {
        "odd": [videos / "usual.mp4", videos / "odd.mp4"],
        "new": [videos / "usual.mp4"],
        "frozen": [videos / "usual.mp4"],
    }
    learning = Learning(seconds=12.0, scorer="gaussian", budget="1/hour")
    with RtspServer(mounts) as server, RtspServer({"lost": [videos / "usual.mp4"]}) as other:
        plans = [
            plan("odd", server.url("odd")),
            plan("new", server.url("new"), folder=tmp_path / "new", learning=learning),
            plan("frozen", server.url("frozen")),
            plan("lost", other.url("lost")),
        ]
        with Supervisor(plans, kept.sinks()) as supervisor:
            until(lambda: all(one.counts.frames > 20 for one in supervisor.statistics()))
            assert kept.events == []
            server.tell("odd", "play", 1)
            began = time.time()
            server.tell("frozen", "freeze")
            other.kill()
            until(lambda: kept.opened("odd"))
            told_after = time.time() - began - ODD_SECONDS[0]
            until(lambda: [one for one in kept.findings if (one.camera, one.finding.kind) == ("lost", "offline")])
            other.start()
            back = until(lambda: any(not one.finding.raised for one in kept.findings if one.camera == "lost"))
            server.tell("odd", "play", 0)
            until(lambda: [one for one in kept.findings if (one.camera, one.finding.kind) == ("frozen", "frozen")])
            server.tell("frozen", "go")
            until(lambda: kept.closed("odd"))
            until(lambda: [one for one in kept.readiness if one.armed])
            until(lambda: any(not one.finding.raised for one in kept.findings if one.camera == "frozen"))
            ended = {one.camera: one for one in supervisor.statistics()}
    assert told_after < 2.0
    assert back < 10.0
    event = kept.closed("odd")[0]
    assert event.problem == ""
    with open_video(event.files["clip"]) as clip:
        frames = list(clip)
    assert len(frames) > 35
    assert event.clip_from_wall is not None
    assert event.clip_from_wall <= event.start_wall - 1.5
    gaps = [one.gap for one in kept.gaps if one.camera == "lost" and one.gap.from_wall > began - 2]
    assert len(gaps) == 1
    assert gaps[0].seconds > 4
    (offline,) = [one.finding.says for one in kept.findings if one.camera == "lost" and one.finding.raised]
    assert offline.startswith("no picture arrives: ")
    assert {one.camera for one in kept.events} <= {"odd", "frozen"}
    assert ended["new"].phase == "armed"
    assert [one.counts.dropped for one in ended.values()] == [0, 0, 0, 0]
    lags = [one.lag_seconds for one in ended.values() if one.lag_seconds is not None]
    assert np.median(lags) < 1.0
    assert ended["lost"].observed_seconds < ended["lost"].watched_seconds - 4


@pytest.mark.allow_error_logs
def test_a_decoder_and_a_server_that_die_in_the_middle_of_an_event(videos: Path, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    with RtspServer({"odd": [videos / "odd.mp4"]}) as server:
        camera = CameraOptions(server.url("odd"), stall_seconds=3.0, retry_most_seconds=2.0)
        patience = Patience(offline=4.0)
        plan = Plan("door", camera, videos / "detector", pre_seconds=1.0, post_seconds=1.0, patience=patience)
        with Supervisor([plan], kept.sinks()) as supervisor:
            until(kept.opened)
            for task in Path("/proc/self/task").iterdir():
                for one in (task / "children").read_text().split():
                    if "oddwatch.video" in Path(f"/proc/{one}/cmdline").read_text():
                        os.kill(int(one), signal.SIGSEGV)
            until(kept.closed)
            until(lambda: supervisor.statistics()[0].counts.restarts == 1)
            frames = supervisor.statistics()[0].counts.frames
            until(lambda: supervisor.statistics()[0].counts.frames > frames + 5)
            until(lambda: len(kept.opened()) == 2)
            server.kill()
            until(lambda: len(kept.closed()) == 2)
            assert [one.finding.kind for one in kept.findings] == ["offline"]
    event = kept.closed()[0]
    assert set(event.files) >= {"thumbnail", "heatmap"}
    assert "SIGSEGV" in event.problem or "clip" in event.files
    second = kept.closed()[1]
    assert second.problem == ""
    assert "clip" in second.files
