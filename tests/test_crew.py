"""Cameras that are watched by processes of their own: the same as without, and what happens when one of them dies."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from camera_servers import RtspServer, have_rtsp_server
from process_tree import processes
from small_detectors import detector_videos, small_detector
from watched_cameras import Kept, until

from oddwatch.cli.recording import place
from oddwatch.detector import Detector
from oddwatch.errors import UsageError
from oddwatch.monitor import Learning, Plan, Sinks, Supervisor
from oddwatch.store.evidence import EvidenceFiles
from oddwatch.video import CameraOptions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = detector_videos(tmp_path_factory.mktemp("videos"))
    small_detector(folder).save(folder / "detector")
    return folder


def sinks(kept: Kept) -> Sinks:
    """Those that can be sent to another process."""
    return replace(kept.sinks(), evidence_path=partial(place, EvidenceFiles(kept.folder)), why=None)


def plan(videos: Path, name: str, video: str, **others: object) -> Plan:
    camera = CameraOptions(str(videos / video), replay="fast")
    known: dict[str, object] = {"camera": camera, "folder": videos / "detector", "pre_seconds": 1.0}
    return Plan(name, **{**known, "post_seconds": 1.0, **others})  # type: ignore[arg-type]


def workers() -> list[int]:
    return [
        pid
        for pid in processes(os.getpid())
        if "oddwatch.monitor.worker" in Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    ]


def test_three_cameras_in_two_processes_tell_what_one_process_tells(videos: Path, tmp_path: Path) -> None:
    plans = [plan(videos, "a", "left.mp4"), plan(videos, "b", "unseen.mp4"), plan(videos, "c", "fast.mp4")]
    told = []
    for count in (0, 2):
        kept = Kept(tmp_path / str(count))
        with Supervisor(plans, sinks(kept), processes=count) as supervisor:
            assert supervisor.wait(90)
            assert len(workers()) == count
            ended = supervisor.statistics()
        assert workers() == []
        assert [one.phase for one in ended] == ["stopped"] * 3
        assert all("clip" in one.files and Path(one.files["clip"]).is_file() for one in kept.closed())
        told.append((kept, ended))
    (here, ended_here), (there, ended_there) = told
    for name in "abc":
        expected = [(one.peak_score, one.box, one.why, set(one.files)) for one in here.closed(name)]
        assert [(one.peak_score, one.box, one.why, set(one.files)) for one in there.closed(name)] == expected
    assert [one.scored for one in ended_there] == [one.scored for one in ended_here]
    assert [one.score_quantiles for one in ended_there] == [one.score_quantiles for one in ended_here]


def test_a_camera_learns_in_a_process_of_its_own(videos: Path, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    learning = Learning(seconds=20.0, backbone_options={"window_px": 24}, budget="1/hour")
    camera = CameraOptions(str(videos / "usual.mp4"), replay="fast")
    learns = plan(videos, "door", "", camera=camera, folder=tmp_path / "own", learning=learning)
    with Supervisor([learns], sinks(kept), processes=1) as supervisor:
        until(lambda: any(one.armed for one in kept.readiness), seconds=90)
        assert supervisor.wait(60)
    assert Detector.load(tmp_path / "own").calibrated


@pytest.mark.allow_error_logs
def test_what_a_process_cannot_go_on_from_is_told_and_tried_again(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "oddwatch")
    broken = plan(videos, "broken", "no such.mp4")
    with Supervisor([broken, plan(videos, "door", "left.mp4")], sinks(Kept(tmp_path)), processes=1) as supervisor:
        until(lambda: supervisor.statistics()[0].failures >= 1, seconds=60)
        until(lambda: supervisor.statistics()[1].phase == "stopped", seconds=60)
        supervisor.remove("broken")
        assert supervisor.wait(10)
    assert "no such.mp4: no such file or folder" in caplog.text
    assert "door: armed" in caplog.text  # what it logs there is logged here


def test_sinks_that_cannot_be_sent_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can be sent"):
        Supervisor((), Kept(tmp_path).sinks(), processes=1)


@pytest.mark.service
@pytest.mark.allow_error_logs
@pytest.mark.skipif(not have_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGSTOP])
def test_a_process_that_crashes_or_hangs_is_begun_anew_and_its_event_is_closed(
    videos: Path, tmp_path: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oddwatch.monitor.crew._SILENT_SECONDS", 20.0)  # a busy machine needs some to begin
    kept = Kept(tmp_path)
    with RtspServer({"left": [videos / "left.mp4"]}) as server:
        plans = [plan(videos, name, "", camera=CameraOptions(server.url("left"))) for name in ("a", "b")]
        with Supervisor(plans[:1], sinks(kept), processes=2) as supervisor:
            until(lambda: len(workers()) == 1)
            (victim,) = workers()
            supervisor.add(plans[1], start=True)
            until(lambda: len(workers()) == 2)
            until(lambda: kept.opened("a"), seconds=60)
            first = kept.opened("a")[0]
            os.kill(victim, how)
            until(lambda: [one for one in kept.closed("a") if one.uid == first.uid], seconds=42)
            until(lambda: supervisor.statistics()[0].failures == 1)
            assert supervisor.statistics()[0].phase == "lost"
            until(lambda: supervisor.statistics()[0].phase == "armed", seconds=30)
            until(lambda: len(kept.opened("a")) > 1, seconds=60)
            assert supervisor.statistics()[1].failures == 0
            assert victim not in workers()
    closed = next(one for one in kept.closed("a") if one.uid == first.uid)
    assert "its process" in closed.problem
    assert any(one.camera == "a" and one.gap.says == "watching failed" for one in kept.gaps)
    assert workers() == []
