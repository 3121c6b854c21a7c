"""How many cameras this machine watches at once: a real RTSP server, decoder processes, health, scores, events.

    python benchmarks/watch.py --cameras 1 8 16 --quality fast auto fine --seconds 45

Renders a minute of people walking at 640x360 and 10 frames a second, and another in which a cyclist, a runner and a
cart come, too; learns from the first, and serves the other, again and again, as so many cameras (Debian's
gir1.2-gst-rtsp-server-1.0). A row for each number of cameras and quality of the flow:

    frames/s    that each camera gave
    dropped     frames of all cameras, because scoring was slow
    lag         from a picture to its score, p50 and p99
    alerts      how many events were told, and `alert`: from the picture that an event begins with to the moment in
                which it is handed over, p50 and p99; that it has to last before it is told is part of it
    core        processor time of all processes for each camera, as a share of one core
    MiB         memory of all processes (proportional set size: what they share counts once); `more`: what each camera
                has added to that of the first row
    others      share of all cores that everything else took, the RTSP server included: it changes all the rest

Beside it, on the same streams, the `motion` daemon, which only detects then: no pictures, no films. Linux only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from oddwatch.cli.recording import place
from oddwatch.demo import render
from oddwatch.detector import Detector
from oddwatch.monitor import CameraStatistics, EventRecord, Plan, Sinks, Supervisor
from oddwatch.report.overlay import draw_box, heatmap_overlay
from oddwatch.scenes import Scene, plan_events
from oddwatch.store.evidence import EvidenceFiles
from oddwatch.video import CameraOptions

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from camera_servers import RtspServer, have_rtsp_server
from process_tree import TICKS, cpu_seconds, memory_mib, processes

_FILMED_SECONDS = 60.0
_SIZE_PX = (640, 360)
_FPS = 10.0
_EVENTS = ("cyclist", "runner", "cart")
_LOOK_SECONDS = 0.25
_MOTION_START_SECONDS = 10.0
CORES = len(os.sched_getaffinity(0))
_COLUMNS = "quality cameras frames/s dropped lag alerts alert core MiB more others"
HEAD = f"| {_COLUMNS.replace(' ', ' | ')} |"


def busy_seconds() -> float:
    """Of all cores of the machine so far, by whatever it is."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
    return (sum(fields[:3]) + sum(fields[5:8])) / TICKS


@dataclass
class Measured:
    """core: share of one that all processes took. others: share of all cores that other programs took."""

    statistics: list[CameraStatistics]
    seconds: float
    frames: int
    dropped: int
    lags: list[float]
    core: float
    others: float
    mib: float


@dataclass
class Alerts:
    """From the picture that an event begins with to its first handing over, in seconds."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def event(self, record: EventRecord) -> None:
        self.seconds.setdefault(record.uid, time.time() - record.start_wall)

    def sinks(self) -> Sinks:
        return Sinks(
            event=self.event,
            finding=lambda found: print(f"{found.camera}: {found.finding.kind}", flush=True),
            gap=lambda _: None,
            readiness=lambda _: None,
            evidence_path=partial(place, EvidenceFiles(self.folder)),
            heat=heatmap_overlay,
            box=draw_box,
        )


def watch(plans: list[Plan], sinks: Sinks, seconds: float, server: RtspServer, scoring: int) -> Measured:
    """From when all cameras have begun to score."""
    lags: list[float] = []
    with Supervisor(plans, sinks, processes=scoring) as supervisor:
        while any(one.scored < 10 for one in supervisor.statistics()):
            time.sleep(_LOOK_SECONDS)
        pids = processes(os.getpid(), without=server.pid)
        before = supervisor.statistics()
        began, used, busy = time.monotonic(), cpu_seconds(pids), busy_seconds()
        while time.monotonic() - began < seconds:
            time.sleep(_LOOK_SECONDS)
            lags += [one.lag_seconds for one in supervisor.statistics() if one.lag_seconds is not None]
        passed, used, busy = time.monotonic() - began, cpu_seconds(pids) - used, busy_seconds() - busy
        found, mib = supervisor.statistics(), memory_mib(pids)
    frames, dropped = (
        sum(getattr(now.counts, name) - getattr(then.counts, name) for now, then in zip(found, before, strict=True))
        for name in ("frames", "dropped")
    )
    return Measured(found, passed, frames, dropped, lags, used / passed, (busy - used) / passed / CORES, mib)


def row(quality: str, cameras: int, measured: Measured, alerts: list[float], first: tuple[int, float]) -> str:
    """A line of the table. first: cameras and MiB of the first one."""
    lag, alert = (
        ", ".join(f"{1000 * value:.0f}" for value in np.quantile(values, (0.5, 0.99))) + " ms" if values else "-"
        for values in (measured.lags, alerts)
    )
    more = f"{(measured.mib - first[1]) / (cameras - first[0]):.0f}" if cameras > first[0] else "-"
    cells = (
        quality,
        cameras,
        f"{measured.frames / measured.seconds / cameras:.1f}",
        measured.dropped,
        lag,
        len(alerts),
        alert,
        f"{100 * measured.core / cameras:.1f}%",
        f"{measured.mib:.0f}",
        more,
        f"{100 * measured.others:.0f}%",
    )
    return f"| {' | '.join(map(str, cells))} |"


def motion_core(server: RtspServer, cameras: int, seconds: float, folder: Path) -> str:
    """What the `motion` daemon needs for as many cameras, in words."""
    program = shutil.which("motion")
    if program is None:
        return "motion: not measured, it is not installed (apt-get install motion)"
    common = "daemon off\nlog_level 4\nwebcontrol_port 0\nstream_port 0\npicture_output off\nmovie_output off\n"
    names = []
    for number in range(cameras):
        one = folder / f"motion-{number}.conf"
        size = f"width {_SIZE_PX[0]}\nheight {_SIZE_PX[1]}\nframerate {_FPS:g}\n"
        one.write_text(f"camera_id {number + 1}\nnetcam_url {server.url(f'c{number}')}\n{size}")
        names.append(f"camera {one}\n")
    (folder / "motion.conf").write_text(f"{common}target_dir {folder}\n{''.join(names)}")
    with started([program, "-n", "-c", str(folder / "motion.conf")]) as process:
        time.sleep(_MOTION_START_SECONDS)
        began, used, busy = time.monotonic(), cpu_seconds([process.pid]), busy_seconds()
        time.sleep(seconds)
        if process.poll() is not None:
            return f"motion: not measured, it ended with code {process.returncode}"
        passed, used = time.monotonic() - began, cpu_seconds([process.pid]) - used
        others = (busy_seconds() - busy - used) / passed / CORES
        mib = memory_mib([process.pid])
    share = 100 * used / passed / cameras
    each = f"{share:.1f}% of a core and {mib / cameras:.0f} MiB each"
    return f"motion, {cameras} cameras: {each}, others took {100 * others:.0f}%"


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def prepare(folder: Path, qualities: list[str]) -> Path:
    """Render, learn (detectors are folders named as the qualities); returns the video to be watched."""
    usual, unseen = folder / "usual.mp4", folder / "unseen.mp4"
    events = plan_events(_EVENTS, seconds=_FILMED_SECONDS, seed=1)
    for seed, path in enumerate((usual, unseen)):
        if not path.exists():
            happens = events if path == unseen else ()
            render(
                path,
                Scene(seconds=_FILMED_SECONDS, seed=seed, size_px=_SIZE_PX, fps=_FPS, place_seed=7, events=happens),
            )
    for quality in qualities:
        if not (folder / quality).exists():
            detector = Detector(budget="1/hour", backbone_options={"quality": quality})
            detector.learn(usual).save(folder / quality)
    return unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--quality", nargs="+", default=["fast"], help="of motion's flow: fine, fast, auto")
    parser.add_argument("--seconds", type=float, default=45.0, help="that each row is measured")
    parser.add_argument("--processes", type=int, default=CORES, help="that score; 0: threads of the main one")
    parser.add_argument("--keep", type=Path, help="a folder for the videos and detectors, which the next run uses")
    asked = parser.parse_args()
    if not have_rtsp_server():
        sys.exit("there is no RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi")
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        folder = asked.keep or temporary
        folder.mkdir(parents=True, exist_ok=True)
        unseen = prepare(folder, asked.quality)
        print(
            f"{CORES} cores, {_SIZE_PX[0]}x{_SIZE_PX[1]}, {_FPS:g} frames/s\n\n{HEAD}\n|{'---|' * HEAD[1:].count('|')}"
        )
        for quality in asked.quality:
            first: tuple[int, float] | None = None
            for count in asked.cameras:
                with RtspServer({f"c{i}": [unseen] for i in range(count)}) as server:
                    plans = [
                        Plan(f"c{i}", CameraOptions(server.url(f"c{i}"), fps=_FPS), folder / quality)
                        for i in range(count)
                    ]
                    alerts = Alerts(temporary)
                    measured = watch(plans, alerts.sinks(), asked.seconds, server, asked.processes)
                first = first or (count, measured.mib)
                print(row(quality, count, measured, list(alerts.seconds.values()), first), flush=True)
        most = max(asked.cameras)
        with RtspServer({f"c{i}": [unseen] for i in range(most)}) as server:
            print(f"\n{motion_core(server, most, asked.seconds, temporary)}")


if __name__ == "__main__":
    main()
