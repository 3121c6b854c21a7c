"""How much of the true speed the flow finds, of the picture as it is and of what differs from a clean plate.

    python benchmarks/plate.py [--first-seed 0] [--seeds 11]

Each seed is a rendered place under one condition, in turn, with a cyclist, a runner and somebody who walks the wrong
way; the plate is known from usual video before. Every second frame in which one of them is wholly in view counts once:
the largest velocity to the side of windows (of what moves in them) in the columns around the middle of the true box, by
that of the true box over 0.6 s. Printed is the median of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones.motion.flow import LEVELS, Flow
from oddwatch.backbones.motion.light import RecentLight
from oddwatch.backbones.motion.plate import KNOWN_SECONDS, Plate
from oddwatch.backbones.motion.windows import CHANNELS, measure
from oddwatch.scenes import CONDITIONS, Scene, plan_events
from oddwatch.types import FloatArray, Image, TruthEvent

Map = NDArray[np.float32]

KINDS = ("cyclist", "runner", "against_flow")
SECONDS = 150.0
_WINDOW_PX, _MOVING_PX, _LITTLE = 28, 0.2, 0.1
_SPAN_SECONDS = 0.3


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=len(CONDITIONS))
    parser.add_argument("--levels", nargs="+", choices=sorted(LEVELS), default=sorted(LEVELS), metavar="LEVEL")
    a = parser.parse_args()
    print(f"| condition | level | {' | '.join(f'{kind}, plain | plate' for kind in KINDS)} |")
    print("|---" * (2 + 2 * len(KINDS)) + "|")
    for seed in range(a.first_seed, a.first_seed + a.seeds):
        condition = list(CONDITIONS)[seed % len(CONDITIONS)]
        for level, found in found_speeds(seed, condition, a.levels).items():
            cells = " | ".join(f"{found[kind][0]:.2f} | {found[kind][1]:.2f}" for kind in KINDS)
            print(f"| {condition} | {level} | {cells} |", flush=True)


def found_speeds(seed: int, condition: str, levels: list[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """level -> kind -> the share of the true speed that is found without and with a plate."""
    plan = plan_events(KINDS, seconds=SECONDS, seed=seed)
    scene = Scene(seconds=SECONDS, seed=2000 + seed, place_seed=seed, events=plan, conditions=CONDITIONS[condition])
    before_it = Scene(seconds=KNOWN_SECONDS + 1, seed=1000 + seed, place_seed=seed, conditions=CONDITIONS[condition])
    flows, plate, light = {level: Flow(level) for level in levels}, Plate(), RecentLight()
    for frame in before_it:
        plate.seen(_gray(frame.image), frame.time_seconds - before_it.seconds)
    wanted = {index: (event.kind, box, speed) for event in scene.truth for index, box, speed in _in_view(event, scene)}
    shares: dict[tuple[str, str, bool], list[float]] = {}
    before: Image | None = None
    for frame in scene:
        now = _gray(frame.image)
        known = plate.seen(now, frame.time_seconds)
        if before is not None:
            changed = light.changed(now, before, frame.time_seconds)
            if frame.index in wanted:
                kind, box, speed = wanted[frame.index]
                for level, flow in flows.items():
                    for plated in (False, True):
                        velocity = flow(now, before, changed, known if plated else None).velocity
                        one = _sideways(velocity, now, box, speed) / speed
                        shares.setdefault((level, kind, plated), []).append(one)
        before = now
    median = {key: float(np.median(values)) for key, values in shares.items()}
    return {
        level: {kind: (median[level, kind, False], median[level, kind, True]) for kind in KINDS} for level in levels
    }


def _gray(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _in_view(event: TruthEvent, scene: Scene) -> Iterator[tuple[int, FloatArray, float]]:
    """Frames, the box (left, top, right, bottom, as shares), and px per frame to the right."""
    times = np.array([box.time_seconds for box in event.boxes])
    boxes = np.array([box.box for box in event.boxes])
    middles = (boxes[:, 0] + boxes[:, 2]) / 2 * scene.size_px[0]
    for i in np.flatnonzero((boxes[:, 0] > 0.05) & (boxes[:, 2] < 0.95))[::2]:
        first, last = (int(np.abs(times - (times[i] + s)).argmin()) for s in (-_SPAN_SECONDS, _SPAN_SECONDS))
        if times[last] - times[first] > _SPAN_SECONDS:
            speed = (middles[last] - middles[first]) / (times[last] - times[first]) / scene.fps
            yield round(times[i] * scene.fps), boxes[i], float(speed)


def _sideways(velocity: Map, now: Image, box: FloatArray, towards: float) -> float:
    """Of what moves in the windows in the middle of the box, the largest in the direction of the truth."""
    means = measure(velocity, now, window_px=_WINDOW_PX, moving_px=_MOVING_PX).means
    height, width = means.shape[1:]
    column = int(np.clip((box[0] + box[2]) / 2 * width, 0, width - 1))
    rows = slice(int(box[1] * height), int(np.ceil(box[3] * height)))
    inside = means[:, rows, max(column - 1, 0) : column + 2]
    own = inside[CHANNELS.index("right")] / (inside[CHANNELS.index("moving")] + _LITTLE)
    return float((own * np.sign(towards)).max(initial=0.0) * np.sign(towards))


if __name__ == "__main__":
    main()
