"""How many cameras this machine watches at once: real decoder processes, health, the motion backbone, events.

    python benchmarks/watch.py --cameras 4 8 --seconds 40

Renders a minute of people walking at 640x360 and 10 frames a second, learns from it, then replays it at the pace it was
filmed at as so many cameras at once. For each number of cameras: frames scored and dropped, from a picture to its score
(p50 and p99 over cameras and time), processor time of all processes as a share of the cores, memory of all processes
(proportional set size) and of that what one camera adds. Linux only.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from oddwatch.demo import render
from oddwatch.detector import Detector
from oddwatch.monitor import CameraStatistics, Plan, Sinks, Supervisor
from oddwatch.scenes import Scene
from oddwatch.video import CameraOptions

_FILMED_SECONDS = 60.0


def processes() -> list[int]:
    """This one and all that it started."""
    found = [os.getpid()]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds() -> float:
    """Of all processes so far."""
    total = 0
    for pid in processes():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def memory_mib() -> float:
    """Proportional set size of all processes: what they share counts once."""
    total = 0
    for pid in processes():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def watch(plans: list[Plan], sinks: Sinks, seconds: float) -> tuple[list[CameraStatistics], list[float], float, float]:
    """Statistics at the end, lags seen on the way, share of the cores that was used, memory in MiB."""
    lags: list[float] = []
    with Supervisor(plans, sinks) as supervisor:
        while any(one.scored < 10 for one in supervisor.statistics()):
            time.sleep(0.2)
        began, used = time.monotonic(), cpu_seconds()
        dropped = {one.camera: one.counts.dropped for one in supervisor.statistics()}
        while time.monotonic() - began < seconds:
            time.sleep(0.25)
            lags += [one.lag_seconds for one in supervisor.statistics() if one.lag_seconds is not None]
        share = (cpu_seconds() - used) / (time.monotonic() - began) / len(os.sched_getaffinity(0))
        found, memory = supervisor.statistics(), memory_mib()
    late = sum(one.counts.dropped - dropped[one.camera] for one in found)
    print(f"dropped after the start: {late}", flush=True)
    return found, lags, share, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--seconds", type=float, default=40.0, help=f"at most {_FILMED_SECONDS - 15:g}")
    parser.add_argument("--fps", type=float, default=10.0)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        usual, unseen = folder / "usual.mp4", folder / "unseen.mp4"
        for seed, path in enumerate((usual, unseen)):
            scene = Scene(seconds=_FILMED_SECONDS, seed=seed, place_seed=7, size_px=(640, 360), fps=10.0)
            render(path, scene)
        Detector(budget="1/hour").learn(usual).save(folder / "detector")
        ignore = Sinks(
            event=lambda _: None,
            finding=lambda _: None,
            gap=lambda _: None,
            readiness=lambda _: None,
            evidence_path=lambda camera, uid, kind: folder / f"{camera}-{uid}-{kind}",
        )
        print(f"{len(os.sched_getaffinity(0))} cores, 640x360, {asked.fps:g} frames/s", flush=True)
        alone = None
        for count in asked.cameras:
            plans = [
                Plan(f"c{i}", CameraOptions(str(unseen), fps=asked.fps), folder / "detector") for i in range(count)
            ]
            found, lags, share, memory = watch(plans, ignore, asked.seconds)
            frames, dropped = (sum(getattr(one.counts, name) for one in found) for name in ("frames", "dropped"))
            p50, p99 = np.quantile(lags, (0.5, 0.99))
            alone = alone or (count, memory)
            more = f", {(memory - alone[1]) / (count - alone[0]):.0f} MiB a camera" if count > alone[0] else ""
            print(
                f"{count} cameras: {frames} frames scored, {dropped} dropped, lag p50 {p50 * 1000:.0f} ms, "
                f"p99 {p99 * 1000:.0f} ms, {100 * share:.0f}% of the cores, {memory:.0f} MiB{more}",
                flush=True,
            )


if __name__ == "__main__":
    main()
