"""Eight cameras through the command for hours: `make soak`. ODDWATCH_SOAK_SECONDS says how long, two hours without.

Scenes are rendered: each camera learns from one film, then another is shown to it again and again, to one of them a
film in which unusual things happen. So a false alarm comes back with every turn of the film: they are no independent
events, and the Poisson interval is narrower than it should be. What was measured is printed.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from camera_servers import RtspServer, have_rtsp_server
from command_line import Runner
from process_tree import cpu_seconds, entries, memory_mib, processes
from receivers import free_port, receiver, until
from watch_command import Watching, get, metric, site_file, watching

from oddwatch.demo import render
from oddwatch.metrics import poisson_interval
from oddwatch.scenes import Scene, plan_events

SECONDS = float(os.environ.get("ODDWATCH_SOAK_SECONDS", 7200))
CAMERAS = [f"c{number}" for number in range(8)]
ODD = CAMERAS[0]
PLACES = 4
"""Each film is shown to two cameras, or rendering would take longer than many a soak."""
BUDGET_PER_HOUR = 1.0
LEARN_SECONDS = float(np.clip(SECONDS / 24, 60, 300))
CUT_SECONDS = 1.5
"""Between the end of a film and its beginning nothing is shown: `motion` does not look across more than a second, and
up to two seconds are no gap of coverage. Else everybody leaps at once, which is unusual indeed.
"""
LOOK_SECONDS = 5.0
STOOD_SECONDS = 5.0
"""So much longer than asked for and a machine stood still, as virtual ones do while they are copied."""
WARM_UP = 0.25
"""Of the time; its last third is what the second half of the time is compared with."""


@dataclass(frozen=True)
class Look:
    """Of the command and all its processes, at one moment."""

    seconds: float
    wall: float
    mib: float
    descriptors: int
    threads: int
    processes: int


@pytest.mark.soak
@pytest.mark.skipif(not have_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
def test_nothing_grows_and_nothing_is_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with receiver() as hook, RtspServer(films(tmp_path)) as server:
        for name in CAMERAS:
            server.tell(name, "rest", CUT_SECONDS)
        learn = {"seconds": LEARN_SECONDS, "options": {"quality": "fast"}, "budget": f"{BUDGET_PER_HOUR:g}/hour"}
        cameras = [{"name": name, "url": server.url(name), "learn": learn} for name in CAMERAS]
        with watching(site_file(tmp_path, hook.url, *cameras, metrics={"port": port})) as watch:
            until(lambda: all(f"{name}: armed" in watch.log for name in CAMERAS), 5 * LEARN_SECONDS + 300)
            for name in CAMERAS:
                server.tell(name, "play", 1)
            time.sleep(LOOK_SECONDS)  # what came before is not of this film
            began, used, told = datetime.now(UTC), cpu_seconds(processes(watch.process.pid)), len(hook.taken)
            looks = [*looked(watch, SECONDS)]
            ended, used = datetime.now(UTC), cpu_seconds(processes(watch.process.pid)) - used
            assert json.loads(get(port, "/healthz")[1]) == {"healthy": True, "wrong": []}
            frames, dropped = (
                sum(metric(port, f"oddwatch_camera_{what}_total", camera=name) or 0 for name in CAMERAS)
                for what in ("frames", "dropped_frames")
            )
            code, _ = watch.end()
            log = watch.log
    seconds = (ended - began).total_seconds()
    oddwatch, site = Runner(capsys), tmp_path / "site.yaml"
    since, end = ("--since", began.isoformat(), "--json"), ended.isoformat()
    gaps = [one for one in json.loads(oddwatch("coverage", site, *since).out)["gaps"] if one["start"] < end]
    stops = stood_still(looks)
    gaps = [one for one in gaps if not any(during(one, stop) for stop in stops)]
    found = json.loads(oddwatch("events", "list", site, "--most", 10_000, *since).out)["events"]
    found = [one for one in found if one["start"] < end]
    dead = json.loads(oddwatch("alerts", "list", site, "--state", "dead", "--json").out)["alerts"]
    events = Counter(one["camera"] for one in found)
    false, hours = sum(events.values()) - events[ODD], (len(CAMERAS) - 1) * seconds / 3600
    low, high = (end / hours for end in poisson_interval(false))
    first, last = compared(looks)
    with capsys.disabled():
        print(f"\n{seconds:.0f} s, {len(CAMERAS)} cameras, learned from {LEARN_SECONDS:.0f} s each, {len(looks)} looks")
        for name in ("mib", "descriptors", "threads", "processes"):
            print(f"{name}: {getattr(first, name):g} when it was warm, {getattr(last, name):g} in the second half")
        print(
            f"{false} false alarms in {hours:.2f} camera hours: {false / hours:.2f} an hour (Poisson interval of 95%: "
        )
        print(
            f"  {low:.2f} to {high:.2f}), asked for {BUDGET_PER_HOUR:g}; by camera: {dict(events)}, {ODD} is shown some"
        )
        print(f"this machine stood still {len(stops)} times, for {sum(b - a for a, b in stops):.0f} s in all")
        print(f"unobserved otherwise: {gaps or 'nothing'}; {frames:.0f} frames since the start, {dropped:.0f} dropped")
        print(f"{100 * used / seconds / len(CAMERAS):.1f}% of a core each; {len(hook.taken) - told} alerts taken")
    assert code == 0, log
    assert last.mib < 1.05 * first.mib
    assert last.descriptors <= first.descriptors + 2  # a clip that is just being written
    assert last.threads <= first.threads + 2
    assert last.processes == first.processes == 1 + len(os.sched_getaffinity(0)) + len(CAMERAS)  # those that score, too
    assert gaps == []
    assert low <= BUDGET_PER_HOUR
    assert events[ODD] > 0
    assert dead == []
    assert oddwatch("store", "check", site).code == 0


def films(folder: Path) -> dict[str, list[Path]]:
    """camera -> what it learns from, and what it is shown then."""
    shown = folder / "films"
    shown.mkdir()
    for place in range(PLACES):
        for seed, name in enumerate(("usual", "unseen")):
            scene = Scene(seconds=LEARN_SECONDS, seed=10 * place + seed, place_seed=place, fps=10.0)
            render(shown / f"{name}-{place}.mp4", scene)
    happens = plan_events(("cyclist", "cart"), seconds=LEARN_SECONDS)
    render(shown / "odd.mp4", Scene(seconds=LEARN_SECONDS, seed=5, place_seed=0, fps=10.0, events=happens))
    found = {}
    for number, name in enumerate(CAMERAS):
        place = number % PLACES
        second = "odd.mp4" if name == ODD else f"unseen-{place}.mp4"
        found[name] = [shown / f"usual-{place}.mp4", shown / second]
    return found


def looked(watch: Watching, seconds: float) -> list[Look]:
    """Every few seconds, until the time is over. Fails when the command ends before."""
    looks: list[Look] = []
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        assert watch.process.poll() is None, watch.log
        pids = processes(watch.process.pid)
        counts = (entries(pids, "fd"), entries(pids, "task"), len(pids))
        looks.append(Look(passed, time.time(), memory_mib(pids), *counts))
        time.sleep(LOOK_SECONDS)
    return looks


def stood_still(looks: list[Look]) -> list[tuple[float, float]]:
    """(from, to) wall time between two looks that should have been a few seconds apart: not even this test ran."""
    pairs = pairwise([look.wall for look in looks])
    return [(one, other) for one, other in pairs if other - one > LOOK_SECONDS + STOOD_SECONDS]


def during(gap: dict[str, str], stop: tuple[float, float]) -> bool:
    """Whether a gap of coverage lies in it, but for the time of a few pictures."""
    start, end = (datetime.fromisoformat(gap[name]).timestamp() for name in ("start", "end"))
    return stop[0] - LOOK_SECONDS < start and end < stop[1] + LOOK_SECONDS


def compared(looks: list[Look]) -> tuple[Look, Look]:
    """Medians of the end of the warm-up, and of the second half."""
    span = looks[-1].seconds

    def median(first: float, last: float) -> Look:
        rows = [(o.mib, o.descriptors, o.threads, o.processes) for o in looks if first <= o.seconds / span <= last]
        mib, *counts = np.median(rows, axis=0).tolist()
        return Look(first * span, 0.0, mib, *map(round, counts))

    return median(WARM_UP * 2 / 3, WARM_UP), median(0.5, 1.0)
