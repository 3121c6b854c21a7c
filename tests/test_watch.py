"""`oddwatch watch` from cameras of a real RTSP server to a real receiver of alerts."""

from __future__ import annotations

import base64
import json
import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_servers import RtspServer, have_rtsp_server
from command_line import Runner, finish, start
from receivers import free_port, receiver, until
from small_videos import write
from watch_command import SECRETS, get, metric, site_file, watching

from oddwatch.cli.cameras import LocalCameras
from oddwatch.cli.watching import Watch
from oddwatch.config.site import Site, read_site
from oddwatch.detector import Detector
from oddwatch.errors import OddwatchError
from oddwatch.monitor import CameraStatistics
from oddwatch.store import Store
from oddwatch.video import CameraCounts, open_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watch")
    write(folder / "usual.mp4", 30.0, seed=1)
    write(folder / "odd.mp4", 12.0, seed=3, odd="left")
    Detector(budget="1/hour", folds=3).learn(folder / "usual.mp4").save(folder / "detector")
    return folder


@pytest.mark.service
@pytest.mark.skipif(not have_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
def test_from_a_camera_to_one_alert(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One camera sees something odd, another one learns and arms itself."""
    mounts = {"door": [videos / "usual.mp4", videos / "odd.mp4"], "yard": [videos / "usual.mp4"]}
    with receiver() as hook, RtspServer(mounts, login="viewer:c@m/er:a%25") as server:
        login = "viewer:${CAMERA_PASSWORD}@"
        site = site_file(
            tmp_path,
            hook.url,
            {"name": "door", "url": server.url("door", login=login), "detector": str(videos / "detector")},
            {
                "name": "yard",
                "url": server.url("yard", login=login),
                "learn": {"seconds": 32, "scorer": "gaussian", "budget": "1/hour"},  # all of its film, once around
            },
        )
        with watching(site) as watch:
            until(lambda: "door: armed" in watch.log, 60)
            until(lambda: "yard: armed" in watch.log, 90)
            assert not hook.taken
            server.tell("door", "play", 1)
            until(lambda: hook.taken, 30)
            server.tell("door", "play", 0)
            until(lambda: "is over" in watch.log, 30)
            code, took = watch.end()
            log = watch.log
    assert (code, len(hook.taken)) == (0, 1), log
    assert took < 10
    alert = hook.taken[0].json
    assert (alert["site"], alert["camera"], alert["kind"]) == ("home", "door", "event")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(alert["thumbnail"]["base64"]), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (120, 160, 3)
    oddwatch = Runner(capsys)
    (event,) = json.loads(oddwatch("events", "list", site, "--json").out)["events"]
    assert (event["uid"], event["camera"], event["state"]) == (alert["event"]["uid"], "door", "closed")
    assert alert["event"]["why"]["says"] in alert["text"]
    assert event["why"]["says"]  # perhaps another one: its peak came later
    shown = json.loads(oddwatch("events", "show", site, event["id"], "--json").out)["files"]
    assert set(shown) == {"clip", "thumbnail", "heatmap", "usual-1", "usual-2", "usual-3"}
    assert [one["source"] for one in alert["event"]["similar"]] == [str(videos / "usual.mp4")] * 3
    assert [one["thumbnail"] for one in event["similar"]] == ["usual-1", "usual-2", "usual-3"]
    assert cv2.imread(shown["usual-1"]) is not None
    with open_video(shown["clip"]) as clip:
        assert len(list(clip)) > 20
    assert cv2.imread(shown["thumbnail"]) is not None
    assert oddwatch("store", "check", site, "--whole").code == 0
    cameras = {one["camera"]: one for one in json.loads(oddwatch("status", site, "--json").out)["cameras"]}
    assert cameras["yard"]["detector"]
    assert cameras["door"]["coverage_24h"] > 0
    for secret in ("c@m", "c%40m", SECRETS["HOOK_SECRET"]):
        assert secret not in log
    assert all(json.loads(line)["level"] for line in log.splitlines())


@pytest.mark.slow
def test_a_site_is_changed_while_it_is_watched(videos: Path, tmp_path: Path) -> None:
    """Also: what Prometheus, a load balancer and systemd see of it."""
    write(tmp_path / "long.mp4", 120.0, seed=1)
    port = free_port()

    def site(*names: str) -> Path:
        cameras = [{"name": one, "url": "long.mp4", "detector": str(videos / "detector")} for one in names]
        return site_file(tmp_path, "http://127.0.0.1:9/", *cameras, metrics={"port": port})

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        systemd = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1500000"}
        with watching(site("door", "yard"), **systemd) as watch:
            assert manager.recv(100) == b"READY=1"
            assert manager.recv(100) == b"WATCHDOG=1"
            until(lambda: (metric(port, "oddwatch_camera_frames_total", camera="door") or 0) > 5, 60)
            until(lambda: get(port, "/readyz")[0] == 200, 30)
            assert json.loads(get(port, "/readyz")[1])["cameras"] == {"door": "armed", "yard": "armed"}
            assert get(port, "/healthz") == (200, '{"healthy": true, "wrong": []}\n')
            assert get(port, "/other")[0] == 404
            assert metric(port, "oddwatch_store_up") == 1
            site("door", "gate")
            watch.process.send_signal(signal.SIGHUP)
            until(lambda: "read again" in watch.log, 30)
            until(lambda: metric(port, "oddwatch_camera_frames_total", camera="gate"), 60)
            before = metric(port, "oddwatch_camera_watched_seconds_total", camera="door")
            assert metric(port, "oddwatch_camera_frames_total", camera="yard") is None
            assert metric(port, "oddwatch_camera_connections_total", camera="door") == 1
            (tmp_path / "site.yaml").write_text("cameras: []\n")
            watch.process.send_signal(signal.SIGHUP)
            until(lambda: "all goes on as before" in watch.log, 30)
            until(lambda: (metric(port, "oddwatch_camera_watched_seconds_total", camera="door") or 0) > (before or 0))
            assert set(json.loads(get(port, "/readyz")[1])["cameras"]) == {"door", "gate"}
            code, took = watch.end(signal.SIGINT)
    assert (code, took < 10) == (130, True), watch.log
    with Store(tmp_path / "kept") as store:
        assert store.coverage.last("yard") is not None


@pytest.mark.slow
def test_a_change_that_fails_changes_nothing(videos: Path, tmp_path: Path) -> None:
    """Another process has the second of two new cameras."""

    def site(*names: str) -> Site:
        cameras = [{"name": one, "url": str(videos / "odd.mp4"), "detector": str(videos / "detector")} for one in names]
        return read_site(site_file(tmp_path, "http://127.0.0.1:9/", *cameras), environment=SECRETS)

    with Watch(site("door")) as watch, Store(tmp_path / "kept") as other:
        lock, _ = other.lock_camera("gate", at=datetime.now(UTC))
        with pytest.raises(OddwatchError, match="gate"):
            watch.reload(site("yard", "gate"))
        watch.follow_schedule()
        assert watch.cameras.names == {"door"}
        assert [one.name for one in watch.site.cameras] == ["door"]
        lock.release()
        watch.reload(site("yard", "gate"))
        assert watch.cameras.names == {"yard", "gate"}


@pytest.mark.slow
def test_a_camera_is_scored_by_one_thread(videos: Path, tmp_path: Path) -> None:
    door = {"name": "door", "url": str(videos / "odd.mp4"), "detector": str(videos / "detector")}
    site = read_site(site_file(tmp_path, "http://127.0.0.1:9/", door), environment=SECRETS)
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        with Watch(site):
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


@pytest.mark.slow
def test_what_is_seen_last_is_in_the_store(videos: Path, tmp_path: Path) -> None:
    """A process that scores says once a second what it has seen; when it ends, what it saw since then counts too."""
    door = {"name": "door", "url": str(videos / "usual.mp4"), "detector": str(videos / "detector")}
    site = read_site(site_file(tmp_path, "http://127.0.0.1:9/", door, processes=1), environment=SECRETS)
    with Watch(site) as watch:
        watch.check()

        def last() -> float:
            return watch.cameras.statistics()[0].last_frame_wall or 0.0

        until(last, 60)
        said = last()
        until(lambda: last() > said, 10)
        said = last()
        time.sleep(0.7)
    assert last() > said
    with Store(tmp_path / "kept", create=False) as store:
        assert store.coverage.last("door") == datetime.fromtimestamp(last(), UTC)


@pytest.mark.slow
def test_what_was_seen_before_a_camera_went_is_observed(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was not noted, and however often it is noted while nothing is seen."""
    door = {"name": "door", "url": str(videos / "usual.mp4"), "detector": str(videos / "detector")}
    site = read_site(site_file(tmp_path, "http://127.0.0.1:9/", door, processes=1), environment=SECRETS)
    with Watch(site) as watch:
        began = time.time() - 100.0
        assert isinstance(watch.cameras, LocalCameras)
        watch.cameras.recorder.cameras["door"].noted = datetime.fromtimestamp(began, UTC)
        counts = CameraCounts()
        gone = CameraStatistics("door", "blind", counts, last_frame_wall=began + 70, why_unseen="Connection refused")
        monkeypatch.setattr(watch.cameras, "statistics", lambda: [gone])
        for _ in range(3):
            watch.cameras.note()
        monkeypatch.undo()
    with Store(tmp_path / "kept", create=False) as store:
        (gap, *_) = store.coverage.gaps("door", datetime.fromtimestamp(began, UTC), datetime.now(UTC))
    assert gap.reason == "Connection refused"
    assert gap.start.timestamp() == pytest.approx(began + 70, abs=0.001)
    assert gap.end.timestamp() > began + 99


@pytest.mark.slow
def test_why_nothing_is_seen_is_told_while_it_lasts(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"rtsp://me:Hidden@127.0.0.1:{free_port()}/x"
    door = {"name": "door", "url": url, "detector": str(videos / "detector")}
    lost = {"name": "lost", "url": str(tmp_path / "none.mp4"), "detector": str(videos / "detector")}
    site = site_file(tmp_path, "http://127.0.0.1:9/", door, lost)
    oddwatch = Runner(capsys)
    with watching(site) as watch:
        until(lambda: "door: offline: no picture arrives: Connection refused" in watch.log, 60)

        def reasons() -> set[str]:
            gaps = json.loads(oddwatch("coverage", site, "--camera", "door", "--since", "1h", "--json").out)["gaps"]
            return {gap["reason"] for gap in gaps if gap["camera"] == "door"}

        until(lambda: "Connection refused" in reasons(), 30)
        log = watch.log
    assert log.count("door: lost: Connection refused") == 1  # and not with every attempt
    assert f"lost: {tmp_path / 'none.mp4'}: no such file or folder (check the path)" in log
    assert "Hidden" not in log


@pytest.mark.slow
def test_a_replay_too_short_to_learn_from_says_so(videos: Path, tmp_path: Path) -> None:
    learn = {"seconds": 600, "scorer": "gaussian", "budget": "1/hour"}
    door = {"name": "door", "url": str(videos / "odd.mp4"), "learn": learn, "replay": "fast"}
    ran = finish(start("watch", site_file(tmp_path, "http://127.0.0.1:9/", door), environment=SECRETS))
    assert ran.code == 0
    assert "door: over after 12 of 600 s to learn from: nothing was looked for" in ran.err


@pytest.mark.slow
def test_a_site_that_cannot_be_watched_says_why(videos: Path, tmp_path: Path) -> None:
    door = {"name": "door", "url": str(videos / "usual.mp4")}
    site = site_file(tmp_path, "http://127.0.0.1:9/", {**door, "detector": str(tmp_path)})
    ran = finish(start("watch", site, environment=SECRETS))
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "holds no detector: make one with oddwatch learn" in ran.err
    site = site_file(tmp_path, "http://127.0.0.1:9/", {**door, "detector": str(videos / "detector")})
    with Store(tmp_path / "kept") as store, store.lock("camera:door", at=datetime.now(UTC)):
        ran = finish(start("watch", site, environment=SECRETS))
    assert ran.code == 1
    assert "camera:door is written by" in ran.err
    assert "Traceback" not in ran.err
