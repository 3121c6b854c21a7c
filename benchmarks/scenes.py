"""How many unusual events of each kind are found in rendered scenes, and how many false alarms come with them?

    python benchmarks/scenes.py [--seeds 5] [--learn-minutes 5] [--budgets 1/hour 6/hour]

For each seed: learn a place from usual video, watch an unseen video with all kinds of events, and five minutes of
unseen usual video. All defaults but the budgets; the threshold comes from the usual video alone. Prints the table
of docs/results.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from oddwatch.demo import Side, render
from oddwatch.detector import Detector
from oddwatch.scenes import KINDS, Scene, plan_events

EVENTS_SECONDS = 150.0
USUAL_SECONDS = 300.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--learn-minutes", type=float, default=5.0)
    parser.add_argument("--budgets", nargs="+", default=["1/hour", "6/hour"])
    parser.add_argument("--scorer", default="auto")
    parser.add_argument("--on", default="auto")
    arguments = parser.parse_args()
    name = Detector(scorer=arguments.scorer, on=arguments.on).name
    print(f"{arguments.learn_minutes:g} minutes to learn from, {name}\n")
    print("| seed | budget | " + " | ".join(KINDS) + " | found | false, with events | false, 5 usual minutes |")
    print("|---" * (len(KINDS) + 5) + "|", flush=True)
    totals = {budget: dict.fromkeys(KINDS, 0) for budget in arguments.budgets}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            results = _one(Path(folder), seed, arguments)
        for budget, (found, false, false_usual) in results.items():
            for kind in KINDS:
                totals[budget][kind] += found[kind]
            cells = " | ".join("yes" if found[kind] else "-" for kind in KINDS)
            print(f"| {seed} | {budget} | {cells} | {sum(found.values())}/7 | {false} | {false_usual} |", flush=True)
    for budget, total in totals.items():
        print(f"| all | {budget} | {' | '.join(f'{total[kind]}/{arguments.seeds}' for kind in KINDS)} | | | |")


def _one(folder: Path, seed: int, arguments: argparse.Namespace) -> dict[str, tuple[dict[str, bool], int, int]]:
    """budget -> which kinds were found, false alarms in the video with events, and in the usual one."""
    usual, unseen, quiet = folder / "usual.mp4", folder / "unseen.mp4", folder / "quiet.mp4"
    render(usual, Scene(place_seed=seed, seed=1000 + seed, seconds=60 * arguments.learn_minutes))
    plan = plan_events(KINDS, seconds=EVENTS_SECONDS, seed=seed)
    truth = render(unseen, Scene(place_seed=seed, seed=2000 + seed, seconds=EVENTS_SECONDS, events=plan))
    render(quiet, Scene(place_seed=seed, seed=3000 + seed, seconds=USUAL_SECONDS))
    detector = Detector(scorer=arguments.scorer, on=arguments.on).learn(str(usual))
    seen, still = detector.score(unseen), detector.score(quiet)
    results = {}
    for budget in arguments.budgets:
        threshold = detector.threshold_for(budget).value
        side = Side(detector.name, detector.events(seen, threshold=threshold), threshold, "")
        found = {t.kind: bool(side.matching(t)) for t in truth}
        false = len(side.false_alarms(truth)), len(detector.events(still, threshold=threshold))
        results[budget] = (found, *false)
    return results


if __name__ == "__main__":
    main()
