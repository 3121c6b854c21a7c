"""How many unusual events of each kind are found in rendered scenes, under which conditions, how many false alarms?

    python benchmarks/scenes.py --first-seed 340 --out reported.jsonl [--jobs 2]       # the whole, 5.5 usual hours
    python benchmarks/scenes.py --seeds 1 --quiet-minutes 5 --learn-minutes 5          # the smallest useful run

Each seed is a place under one condition, in turn: learn it from usual video under that condition, watch an unseen video
with one event of every kind, and unseen usual video. All defaults but the budget; the threshold comes from the usual
video alone. Seeds below 200 and 319 to 339 (reported before) are for development; what is reported comes from 340 to
349, which chose no setting.

A finished seed is a line of --out. The same command leaves out what is there, also after Ctrl-C; with all seeds there
it only prints the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.config.train import parse_value
from oddwatch.demo import render
from oddwatch.detector import Detector
from oddwatch.errors import OddwatchError, UsageError
from oddwatch.metrics import poisson_interval
from oddwatch.scenes import CONDITIONS, KINDS, Scene, plan_events
from oddwatch.types import Event, ScoreTrack, TruthEvent

EVENTS_SECONDS = 540.0
RIGHT: dict[str, frozenset[str]] = {
    "cyclist": frozenset({"speed", "velocity", "size"}),
    "runner": frozenset({"speed", "velocity"}),
    "cart": frozenset({"speed", "velocity", "size"}),
    "against_flow": frozenset({"direction", "velocity"}),
    "on_grass": frozenset({"place", "ground"}),
    "fall": frozenset({"left", "dwell", "shape"}),
    "object_left": frozenset({"left"}),
    "loitering": frozenset({"dwell", "left"}),
    "object_taken": frozenset({"taken"}),
    "dispersal": frozenset({"speed", "velocity", "crowd"}),
    "crowd": frozenset({"crowd", "size"}),
}
"""Which attributes are the right reason for a kind."""


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("scenes.jsonl"))
    parser.add_argument("--seeds", type=int, default=len(CONDITIONS))
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, each in a process")
    parser.add_argument("--learn-minutes", type=float, default=10.0)
    parser.add_argument("--quiet-minutes", type=float, default=30.0, help="usual video watched, of each seed")
    parser.add_argument("--budget", default="1/hour")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), metavar="NAME")
    parser.add_argument("--scorer", default="auto")
    parser.add_argument("--on", default="auto")
    parser.add_argument("--option", action="append", type=_option, default=[], metavar="KEY=VALUE")
    a = vars(parser.parse_args())
    if options := dict(a.pop("option")):
        a["options"] = options
    out, jobs, seeds = a.pop("out"), a.pop("jobs"), range(a["first_seed"], a.pop("first_seed") + a.pop("seeds"))
    try:
        run(out, seeds, {**a, "kinds": list(a["kinds"])}, jobs)
    except OddwatchError as error:
        sys.exit(f"scenes: {error}")
    except KeyboardInterrupt:
        print("scenes: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)


def _option(text: str) -> tuple[str, Any]:
    """Of the backbone."""
    key, is_given, value = text.partition("=")
    if not is_given:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, parse_value(value)


def run(out: Path, seeds: Sequence[int], settings: dict[str, Any], jobs: int) -> None:
    """Measure the seeds that are not in the file yet. Raises UsageError for a file with other settings."""
    there = read(out, settings)
    missing = [seed for seed in seeds if seed not in there]
    if missing:
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
        try:
            for done in as_completed([pool.submit(measure, seed, settings) for seed in missing]):
                result = done.result()
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                there[result["seed"]] = result
                print(f"seed {result['seed']}: {result['cpu_minutes']:.1f} minutes of processor time", file=sys.stderr)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    print_tables([there[seed] for seed in seeds], settings)


def read(out: Path, settings: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """seed -> its line. A last line that was cut off is left out and measured again."""
    found = {}
    if out.exists():
        text = out.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            out.write_text(whole, encoding="utf-8")
        for line in whole.splitlines():
            result = json.loads(line)
            if result["settings"] != settings:
                raise UsageError(f"{out} was made with {result['settings']}: give those settings, or another --out")
            found[result["seed"]] = result
    return found


def measure(seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One seed: the line of the file."""
    began = time.process_time()
    condition = settings["conditions"][seed % len(settings["conditions"])]
    same: dict[str, Any] = {"place_seed": seed, "conditions": CONDITIONS[condition], "with_sign": True}
    plan = plan_events(settings["kinds"], seconds=EVENTS_SECONDS, seed=seed)
    detector = Detector(
        scorer=settings["scorer"],
        on=settings["on"],
        budget=settings["budget"],
        backbone_options=settings.get("options"),
    )
    with tempfile.TemporaryDirectory() as folder:
        usual, unseen, quiet = (Path(folder) / f"{name}.mp4" for name in ("usual", "unseen", "quiet"))
        render(usual, Scene(seed=1000 + seed, seconds=60 * settings["learn_minutes"], **same))
        detector.learn(str(usual))
        truth = render(unseen, Scene(seed=2000 + seed, seconds=EVENTS_SECONDS, events=plan, **same))
        track = detector.score(unseen, maps=True)
        render(quiet, Scene(seed=3000 + seed, seconds=60 * settings["quiet_minutes"], **same))
        still = detector.score(quiet)
    raised = detector.events(track)
    return {
        "seed": seed,
        "condition": condition,
        "settings": settings,
        "name": detector.name,
        "threshold": detector.threshold.value,
        "events": [_judged(track, raised, happened) for happened in truth],
        "false_with_events": [_told(e) for e in raised if not any(e.overlaps(t) for t in truth)],
        "false_quiet": [_told(e) for e in detector.events(still)],
        "quiet_hours": still.seconds / 3600,
        "cpu_minutes": (time.process_time() - began) / 60,
    }


def _judged(track: ScoreTrack, raised: Iterable[Event], happened: TruthEvent) -> dict[str, Any]:
    """Whether an event was found; the strongest alarm of it is looked at for its reason and its place."""
    within = (track.end_seconds >= happened.start_seconds) & (track.end_seconds <= happened.end_seconds)
    result: dict[str, Any] = {
        "kind": happened.kind,
        "start_seconds": happened.start_seconds,
        "end_seconds": happened.end_seconds,
        "peak_score": float(track.scores[within].max(initial=0.0)),
        "found": False,
    }
    alarms = [e for e in raised if e.overlaps(happened)]
    if alarms:
        strongest = max(alarms, key=lambda e: e.peak_score)
        reason = None if strongest.reason is None else strongest.reason.attribute
        result |= {
            "found": True,
            "delay_seconds": max(0.0, min(e.start_seconds for e in alarms) - happened.start_seconds),
            "peak_in_box": peak_in_box(track, strongest, happened),
            "reason": reason,
            "reason_right": None if reason is None else reason in RIGHT[happened.kind],
        }
    return result


def peak_in_box(track: ScoreTrack, event: Event, happened: TruthEvent) -> bool:
    """Whether the middle of the highest cell at the event's peak lies in the true box of that moment."""
    assert track.maps is not None
    shown = track.maps[int(np.abs(track.end_seconds - event.peak_seconds).argmin())]
    row, column = np.unravel_index(int(shown.argmax()), shown.shape)
    x, y = (column + 0.5) / shown.shape[1], (row + 0.5) / shown.shape[0]
    left, top, right, bottom = min(happened.boxes, key=lambda b: abs(b.time_seconds - event.peak_seconds)).box
    return bool(left <= x <= right and top <= y <= bottom)


def _told(event: Event) -> dict[str, Any]:
    return {"start_seconds": event.start_seconds, "peak_score": event.peak_score, "box": event.box}


def print_tables(results: Sequence[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Found per kind and condition, reasons and places, and false alarms per condition."""
    kinds, conditions = settings["kinds"], list(dict.fromkeys(r["condition"] for r in results))
    events = [(r["condition"], e) for r in results for e in r["events"]]

    def share(of: Iterable[dict[str, Any]], key: str = "found") -> str:
        known = [e[key] for e in of if e.get(key) is not None]
        return f"{sum(known)}/{len(known)}" if known else "-"

    seeds = ", ".join(str(r["seed"]) for r in results)
    print(
        f"{settings['learn_minutes']:g} minutes to learn from, {results[0]['name']}, {settings['budget']}, "
        f"seeds {seeds}\n"
    )
    print("| kind | " + " | ".join(conditions) + " | found | reason right | peak in box |")
    print("|---" * (len(conditions) + 4) + "|")
    for kind in [*kinds, "all"]:
        of = [(c, e) for c, e in events if kind in (e["kind"], "all")]
        cells = [share(e for c, e in of if c == condition) for condition in conditions]
        every = [e for _, e in of]
        print(
            f"| {' | '.join([kind, *cells, share(every), share(every, 'reason_right'), share(every, 'peak_in_box')])} |"
        )
    print("\n| condition | usual hours | false alarms | 95% interval | allowed | in the videos with events |")
    print("|---" * 6 + "|")
    allowed = Detector(budget=settings["budget"]).budget
    for name in [*conditions, "all"]:
        rows = [r for r in results if name in (r["condition"], "all")]
        hours, count = sum(r["quiet_hours"] for r in rows), sum(len(r["false_quiet"]) for r in rows)
        low, high = poisson_interval(count)
        expected = "-" if allowed.per_hour is None else f"{allowed.per_hour * hours:.2f}"
        with_events = sum(len(r["false_with_events"]) for r in rows)
        print(f"| {name} | {hours:.2f} | {count} | {low:.2f} to {high:.2f} | {expected} | {with_events} |")
    print(f"\n{sum(r['cpu_minutes'] for r in results):.0f} minutes of processor time.")


if __name__ == "__main__":
    main()
