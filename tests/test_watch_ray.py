"""`oddwatch watch --engine ray` on a real cluster with PostgreSQL, a machine of which is lost."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from camera_servers import RtspServer, have_rtsp_server
from command_line import Runner
from receivers import Postgres, free_port, receiver, until
from small_detectors import small_detector
from small_videos import write
from sqlalchemy import select
from watch_command import Watching, get, metric, site_file, watching

from oddwatch.cli.cameras import Told
from oddwatch.cli.spread import LOST, Orders, Post
from oddwatch.errors import LockedError
from oddwatch.monitor import Plan
from oddwatch.store import Store, tables
from oddwatch.video import CameraOptions

NAMES = ("door", "gate", "yard")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spread")
    write(folder / "usual.mp4", 30.0, seed=1)
    write(folder / "odd.mp4", 12.0, seed=3, odd="left")
    small_detector(folder).save(folder / "detector")
    return folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.up()
    yield server
    server.down()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that watches nothing, and two machines that do. One that is lost is noticed in 5 s instead of 15."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="oddwatch-ray-")  # pytest's have names that are too long for sockets
    monkeypatch.setenv("RAY_TMPDIR", folder)  # where others look for a cluster that runs
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    made: Any = Cluster()
    made.add_node(num_cpus=0, include_dashboard=False, object_store_memory=80_000_000)
    for _ in range(2):
        made.add_node(num_cpus=2, object_store_memory=80_000_000)
    yield made
    made.shutdown()
    shutil.rmtree(folder)


def places(watch: Watching) -> dict[str, int]:
    """Which process watches each camera."""
    found = re.findall(r"(\w+): on \S+, process (\d+)", watch.log)
    return {name: int(pid) for name, pid in found}


def logged_at(watch: Watching, message: str) -> float:
    """When a line was logged last."""
    lines = [json.loads(line) for line in watch.log.splitlines() if line.startswith("{")]
    return max(datetime.fromisoformat(line["at"]).timestamp() for line in lines if message in line["message"])


def stat(pid: int) -> tuple[int, str]:
    """(parent, state) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), fields[0]


def family(pid: int) -> list[int]:
    """A process, and all that came of it."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if stat(int(path.name))[0] == pid:
                found += family(int(path.name))
        except OSError:
            continue
    return found


def most_cameras(watch: Watching) -> tuple[int, set[str]]:
    """(pid of its raylet, names of its cameras) of the machine that watches most."""
    raylets = {name: stat(pid)[0] for name, pid in places(watch).items()}
    ((raylet, _),) = Counter(raylets.values()).most_common(1)
    return raylet, {name for name, its in raylets.items() if its == raylet}


def arguments_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def is_alive(pid: int) -> bool:
    try:
        return stat(pid)[1] != "Z"
    except OSError:
        return False


def phases(port: int) -> dict[str, str]:
    found: dict[str, str] = json.loads(get(port, "/readyz")[1])["cameras"]
    return found


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.skipif(not have_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::ResourceWarning", "ignore::FutureWarning:ray")
def test_the_machine_of_two_cameras_is_lost(videos: Path, tmp_path: Path, postgres: Postgres, cluster: Any) -> None:
    """What it had committed is delivered, its cameras are watched by the other one, what was not seen is recorded."""
    database, port = postgres.database("spread"), free_port()
    mounts = {name: [videos / "usual.mp4", videos / "odd.mp4"] for name in NAMES}
    with receiver() as hook, RtspServer(mounts, login="viewer:c@m/er:a%25") as server:

        def site(*names: str) -> Path:
            cameras = [
                {
                    "name": name,
                    "url": server.url(name, login="viewer:${CAMERA_PASSWORD}@"),
                    "detector": str(videos / "detector"),
                }
                for name in names
            ]
            path = site_file(tmp_path, hook.url, *cameras, metrics={"port": port})
            made = json.loads(path.read_text())
            made["storage"]["database"] = database
            made["alerts"]["limit"] = {"alerts": 100}
            path.write_text(json.dumps(made))
            return path

        def alerts() -> list[str]:
            """Keys of what was delivered of events."""
            return [one.headers["Idempotency-Key"] for one in hook.taken if one.json["kind"] == "event"]

        with Store(tmp_path / "kept", database=database) as store:
            with watching(site(*NAMES), "--engine", "ray", RAY_ADDRESS=cluster.address) as watch:
                until(lambda: "watching, cameras" in watch.log, 120)
                until(lambda: get(port, "/readyz")[0] == 200, 60)
                assert phases(port) == dict.fromkeys(NAMES, "armed")
                until(lambda: all(store.coverage.last(name) for name in NAMES), 60)
                hook.down()
                for name in NAMES:
                    server.tell(name, "play", 1)
                until(lambda: all(f"{name}: event" in watch.log for name in NAMES), 60)
                raylet, moved = most_cameras(watch)
                assert len(moved) == 2
                arguments = "".join(map(arguments_of, [*family(raylet), *family(watch.process.pid)]))
                before = store.events.find()
                lost_at = time.time()
                for pid in family(raylet):
                    os.kill(pid, signal.SIGKILL)
                for name in NAMES:
                    server.tell(name, "play", 0)
                hook.up()
                until(lambda: {name for name, phase in phases(port).items() if phase == "lost"} == moved, 60)
                until(lambda: set(alerts()) >= {f"{event.uid}.hook" for event in before}, 30)
                until(lambda: get(port, "/readyz")[0] == 200, 90)
                back_at = time.time()
                noticed_at = logged_at(watch, "has been marked dead")
                print(f"noticed after {noticed_at - lost_at:.1f} s, all seen {back_at - noticed_at:.1f} s after that")
                assert back_at - noticed_at < 30  # 10 s on a machine that has nothing else to do
                known = len(hook.taken)
                for name in moved:
                    server.tell(name, "play", 1)
                until(lambda: {one.json["camera"] for one in hook.taken[known:]} >= moved, 60)
                for name in moved:
                    server.tell(name, "play", 0)
                stays = next(iter(set(NAMES) - moved))
                site(*moved)
                watch.process.send_signal(signal.SIGHUP)
                until(lambda: "read again" in watch.log, 60)
                assert set(phases(port)) == moved
                assert metric(port, "oddwatch_camera_failures_total", camera=min(moved)) == 1
                store.lock(f"camera:{stays}", at=datetime.now(UTC)).release()  # the others have theirs
                with pytest.raises(LockedError):
                    store.lock(f"camera:{min(moved)}", at=datetime.now(UTC))
                code, took = watch.end()
            assert (code, took < 20) == (0, True), watch.log
            until(lambda: not any(map(is_alive, places(watch).values())), 20)  # Ray ends them after the driver
            keys = alerts()
            assert sorted(keys) == sorted(f"{event.uid}.hook" for event in store.events.find())
            with store._database.engine.connect() as connection:
                rows = connection.execute(select(tables.locks.c.name, tables.locks.c.epoch))
                taken = {name: epoch for name, epoch in rows}
            assert {name: taken[f"camera:{name}"] for name in moved} == dict.fromkeys(moved, 2)
            for name in moved:
                gaps = store.coverage.gaps(name, moment(lost_at - 20), moment(back_at))
                (gap,) = [gap for gap in gaps if gap.reason == LOST]
                assert gap.start < moment(lost_at) < moment(noticed_at) < gap.end < moment(back_at)
                times = sorted((event.start, event.end) for event in store.events.find(cameras=[name]))
                assert all(one[1] <= other[0] for one, other in pairwise(times))
        logs = Path(cluster.head_node.get_logs_dir_path())
        said = watch.log + arguments + "".join(path.read_text(errors="replace") for path in logs.glob("*.*"))
        assert "c@m" not in said
        assert "c%40m" not in said
        assert ":none@" not in said


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "oddwatch")
    url = "rtsp://me:hidden@127.0.0.1:9/1"
    post = Post(Plan("door", CameraOptions(url), tmp_path), tmp_path, "postgresql://me:hidden@host/x", "shared-1", 0)
    orders = Orders(Told((), ()), on=True)
    until(lambda: "it has to be one that all machines see" in post.report(orders).problem)
    logging.getLogger("oddwatch").info("from %s", url)
    ended = post.close()
    assert str(tmp_path) in ended.problem
    assert [line.message for line in ended.lines] == ["from ***"]


@pytest.mark.parametrize(
    ("camera", "database", "says"),
    [
        ("rtsp://camera/1", "", "give storage.database a postgresql:// address"),
        ("/dev/video0", "postgresql://me:hidden@host/cameras", "door: a device is on one machine"),
    ],
)
def test_what_several_machines_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], camera: str, database: str, says: str
) -> None:
    storage = {"database": database} if database else {}
    site = tmp_path / "site.yaml"
    site.write_text(json.dumps({"cameras": [{"name": "door", "url": camera}], "storage": storage}))
    ran = Runner(capsys)("watch", site, "--engine", "ray")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert says in ran.err
    assert "hidden" not in ran.err
    assert not (tmp_path / "store").exists()
