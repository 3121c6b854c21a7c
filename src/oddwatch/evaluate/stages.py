"""How fast the `motion` backbone and a scorer are, and where the time goes. Decoding is no part of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import cv2
import numpy as np

from oddwatch.backbones import build_backbone
from oddwatch.backbones.motion.background import Background
from oddwatch.backbones.motion.blobs import blob_sizes
from oddwatch.backbones.motion.carried import Carried
from oddwatch.backbones.motion.flow import Flow
from oddwatch.backbones.motion.light import RecentLight
from oddwatch.backbones.motion.plate import Plate
from oddwatch.backbones.motion.windows import CELL_PX, measure
from oddwatch.embed import BATCH_FRAMES
from oddwatch.types import Embeddings, Frame, Image

STAGES = ("gray", "light", "flow", "windows", "carried", "background", "scorer")
_T = TypeVar("_T")
_P = ParamSpec("_P")


@dataclass(frozen=True)
class Speed:
    """frames_per_second: of video per second of one core's time, decoding excluded. shares: of the time that each of
    `STAGES` takes alone, one after the other; they sum to 1. milliseconds: the same per frame. measured: mean share of
    the picture that flow was measured in.
    """

    frames: int
    frames_per_second: float
    shares: dict[str, float]
    milliseconds: dict[str, float]
    measured: float


def speed_of(
    videos: Sequence[Sequence[Frame]], options: dict[str, Any], score: Callable[[Embeddings], object]
) -> Speed:
    """Of decoded videos, each a stream of its own. options: of the `motion` backbone, not `auto`. score: what the
    scorer does with embeddings.

    Time is that of the processor, of all threads together, so that a busy machine counts for little.
    """
    began, frames = time.process_time(), 0
    found: list[Embeddings] = []
    for video in videos:
        found += _embedded(video, options)
        frames += len(video)
    for embeddings in found:
        score(embeddings)
    took = time.process_time() - began
    clock = _Clock()
    shares = [share for video in videos for share in _in_stages(video, options, clock)]
    for embeddings in found:
        clock("scorer", score, embeddings)
    spent = clock.spent
    total = max(sum(spent.values()), 1e-9)
    return Speed(
        frames,
        frames / max(took, 1e-9),
        {stage: seconds / total for stage, seconds in spent.items()},
        {stage: 1000 * seconds / max(frames, 1) for stage, seconds in spent.items()},
        float(np.mean(shares)) if shares else 0.0,
    )


class _Clock:
    def __init__(self) -> None:
        self.spent = dict.fromkeys(STAGES, 0.0)

    def __call__(self, stage: str, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        began = time.process_time()
        done = work(*args, **kwargs)
        self.spent[stage] += time.process_time() - began
        return done


def _embedded(frames: Sequence[Frame], options: dict[str, Any]) -> list[Embeddings]:
    stream = build_backbone("motion", **options).stream()
    pushed = [stream.push(frames[i : i + BATCH_FRAMES]) for i in range(0, len(frames), BATCH_FRAMES)]
    return [embeddings for embeddings in (*pushed, stream.close()) if embeddings is not None]


def _in_stages(frames: Sequence[Frame], options: dict[str, Any], clock: _Clock) -> list[float]:
    """What a stream does with each frame, a stage at a time; the share of the picture that each flow measured."""
    o = build_backbone("motion", **options).options()
    flow, carried, course = Flow(o["quality"]), Carried(o["carry"]), Carried(0.1)
    background, light = Background(max(round(o["window_px"] / CELL_PX), 1)), RecentLight()
    plate = Plate() if o["plate"] else None
    apart = 0.19 if o["quality"] == "fast" else 0.0  # as the stream has it
    shares: list[float] = []
    before: Image | None = None
    since = seconds_before = 0.0
    for frame in frames:
        now, seconds = clock("gray", _gray, frame.image, o["height_px"]), frame.time_seconds
        shown = None if plate is None else clock("flow", plate.seen, now, seconds)
        if before is not None and (not shares or seconds - since >= apart):
            elapsed = max(seconds - (since if shares else seconds_before), 1e-3)
            changed = clock("light", light.changed, now, before, seconds)
            found = clock("flow", flow, now, before, changed, shown)
            windows = clock(
                "windows", measure, found.velocity, found.image, window_px=o["window_px"], moving_px=o["moving_px"]
            )
            values = np.concatenate([windows.means, clock("windows", blob_sizes, windows.moving)])
            clock("background", background.update, now, windows.moving, elapsed)
            mean = clock("carried", carried.step, values, windows.velocity, elapsed)
            clock("carried", course.step, mean[:4], windows.velocity, elapsed)
            shares.append(found.measured)
            since = seconds
        before, seconds_before = now, seconds
    return shares


def _gray(image: Image, height_px: int) -> Image:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(height_px / gray.shape[0], 1.0)
    size = max(round(gray.shape[1] * scale / 8) * 8, 16), max(round(gray.shape[0] * scale / 8) * 8, 16)
    if size != gray.shape[::-1]:
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, dtype=np.uint8)
