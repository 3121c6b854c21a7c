"""`oddwatch watch` from cameras of a real RTSP server to a real receiver of alerts."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from camera_servers import RtspServer, have_rtsp_server
from command_line import Runner, start
from receivers import receiver, until
from small_videos import write

from oddwatch.detector import Detector
from oddwatch.video import open_video

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(not have_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi"),
]
SECRETS = {"CAMERA_PASSWORD": "c@m/er:a%25", "HOOK_SECRET": "signed-with-this"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watch")
    write(folder / "usual.mp4", 30.0, seed=1)
    write(folder / "odd.mp4", 12.0, seed=3, odd="left")
    Detector(budget="1/hour", folds=3).learn(folder / "usual.mp4").save(folder / "detector")
    return folder


class Watching:
    """A running `oddwatch watch`, and what it has logged."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """(exit code, seconds it took)."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(30), time.monotonic() - began


@contextmanager
def watching(site: Path) -> Iterator[Watching]:
    log = site.with_name("log")
    with log.open("w") as errors:
        process = start("watch", site, "--json-logs", stderr=errors.fileno(), environment=SECRETS)
        try:
            yield Watching(process, log)
        finally:
            process.kill()
            process.communicate()


def site_file(folder: Path, hook: str, *cameras: dict[str, Any], **more: Any) -> Path:
    """JSON is YAML."""
    sink = {"name": "hook", "kind": "webhook", "url": hook, "secret": "${HOOK_SECRET}", "private_addresses": True}
    storage = {"folder": "kept", "keep_free_gb": 0.0, "pre_roll_seconds": 2.0, "post_roll_seconds": 1.0}
    site = {"name": "home", "cameras": list(cameras), "alerts": {"sinks": [sink]}, "storage": storage, **more}
    path = folder / "site.yaml"
    path.write_text(json.dumps(site))
    return path


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
                "learn": {"seconds": 10, "scorer": "gaussian", "budget": "1/hour"},
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
    assert event["why"]["says"] in alert["text"]
    assert event["why"] == alert["event"]["why"]
    shown = json.loads(oddwatch("events", "show", site, event["id"], "--json").out)["files"]
    assert set(shown) == {"clip", "thumbnail", "heatmap"}
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
