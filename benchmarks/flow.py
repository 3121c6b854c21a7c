"""What the flow of the `motion` backbone is worth and what it costs; what learning hours of video takes.

    python benchmarks/flow.py FRAMES [--fps 10] [--figure cost.png]
    python benchmarks/flow.py --learn [--rendered-minutes 10]

FRAMES: a folder of numbered frames, or of folders of them, in which only the usual happens (Ped2's training).
Everything runs on one core with one thread; times are those of the processor, so that a busy machine counts for little.

Warp error: a frame warped by its flow to the next one differs from that by so many grey levels, in the mean over the
pixels that changed (by more than 10 levels, after a mean over 3 x 3 px). --learn renders one stretch of usual video and
REPEATS its embeddings for 10 minutes, 1 hour and 10 hours at 10 frames/s: that is as much to hold as ten different
hours, though not as much to know. Memory is the peak of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.backbones import build_backbone
from oddwatch.backbones.motion.flow import LEVELS, Flow
from oddwatch.demo import render
from oddwatch.detector import Detector
from oddwatch.embed import EmbeddingCache, EmbeddingStore, cached_video
from oddwatch.evaluate.stages import STAGES, Speed, speed_of
from oddwatch.scenes import Scene
from oddwatch.types import Embeddings, Frame, Image
from oddwatch.video import open_video
from oddwatch.video.names import is_numbered_image, visible_entries

SIZE_PX = (360, 240)
HOURS = (1 / 6, 1.0, 10.0)
_PAIRS = 100
_FRAMES = 300
_CHANGED = 10
_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
Map = NDArray[np.float32]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", nargs="?", type=Path, help="folder of frames, or of folders of them")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--figure", type=Path, help="where to draw cost against moving area")
    parser.add_argument("--learn", action="store_true", help="memory and time to learn up to ten hours")
    parser.add_argument("--rendered-minutes", type=float, default=10.0)
    parser.add_argument("--learn-only", nargs=3, metavar=("CACHE", "TIMES", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    one_core()
    if arguments.learn_only:
        cache, times, out = arguments.learn_only
        print(json.dumps(learn_kept(Path(cache), int(times), Path(out))))
        return
    if arguments.frames is not None:
        folders = folders_of(arguments.frames)
        print_warp(folders, arguments.fps)
        print_speed(folders, arguments.fps)
    if arguments.frames is not None or arguments.figure is not None:
        print_area(arguments.figure)
    if arguments.learn:
        print_learning(arguments.rendered_minutes)


def one_core() -> None:
    """One thread on one core, where that can be asked for."""
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def folders_of(root: Path) -> list[Path]:
    """The folder itself when it holds frames, else those inside that do."""
    if any(map(is_numbered_image, visible_entries(root))):
        return [root]
    inside = [f for f in visible_entries(root) if f.is_dir() and any(map(is_numbered_image, visible_entries(f)))]
    if not inside:
        raise SystemExit(f"{root} holds no numbered frames, nor do the folders in it")
    return inside


def frames_of(folders: Sequence[Path], fps: float, most: int) -> list[list[Frame]]:
    """Evenly many frames from the start of each folder, at most so many in all."""
    each = max(most // len(folders), 2)
    videos = []
    for folder in folders:
        with open_video(str(folder), fps=fps) as source:
            videos.append([frame for frame, _ in zip(source, range(each), strict=False)])
    return videos


# flow


def print_warp(folders: Sequence[Path], fps: float) -> None:
    """Warp error and time of presets and of the levels here."""
    pairs = pairs_of(frames_of(folders, fps, max(_PAIRS, 8 * len(folders))))
    height, width = pairs[0][0].shape
    print(f"{len(pairs)} pairs of frames of {width}x{height}\n")
    print("| flow | warp error, grey levels | ms per frame |\n|---|---|---|")
    for name, flow in methods().items():
        error, milliseconds = warp(flow, pairs)
        print(f"| {name} | {error:.1f} | {milliseconds:.2f} |")


def pairs_of(videos: Sequence[Sequence[Frame]]) -> list[tuple[Image, Image]]:
    """Grey neighbours, (now, before), evenly chosen: about 100 of them. Sides are cut to multiples of 8."""
    grey = [[_grey(f.image) for f in video] for video in videos]
    found = [(now, before) for video in grey for before, now in pairwise(video)]
    return found[:: max(len(found) // _PAIRS, 1)]


def _grey(image: Image) -> Image:
    height, width = (side // 8 * 8 for side in image.shape[:2])
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:height, :width])


def methods() -> dict[str, Callable[[Image, Image], Map]]:
    """(now, before) -> (H, W, 2) px that what is seen now has moved since before."""
    presets = {
        "OpenCV ULTRAFAST": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
        "OpenCV FAST": cv2.DISOPTICAL_FLOW_PRESET_FAST,
        "OpenCV MEDIUM": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    }
    found = {name: _dis(cv2.DISOpticalFlow.create(preset)) for name, preset in presets.items()}
    for refined in (True, False):
        dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(0)
        dis.setPatchStride(LEVELS["fine"].stride_px)
        dis.setGradientDescentIterations(LEVELS["fine"].descents)
        if not refined:
            dis.setVariationalRefinementIterations(0)
        found[f"full resolution, {'refined' if refined else 'not refined'}"] = _dis(dis)
    return found | {f"`{level}`, half size, only where something changes": _here(level) for level in LEVELS}


def _dis(dis: Any) -> Callable[[Image, Image], Map]:
    return lambda now, before: np.asarray(-dis.calc(now, before, None), np.float32)


def _here(level: str) -> Callable[[Image, Image], Map]:
    flow = Flow(level)

    def full(now: Image, before: Image) -> Map:
        return np.asarray(cv2.resize(flow(now, before).velocity, now.shape[::-1]), np.float32)

    return full


def warp(flow: Callable[[Image, Image], Map], pairs: Sequence[tuple[Image, Image]]) -> tuple[float, float]:
    """Mean error on changed pixels, in grey levels, and milliseconds per pair."""
    height, width = pairs[0][0].shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    spent, errors = 0.0, []
    for now, before in pairs:
        began = time.process_time()
        velocity = flow(now, before)
        spent += time.process_time() - began
        warped = cv2.remap(before, x - velocity[..., 0], y - velocity[..., 1], cv2.INTER_LINEAR)
        changed = cv2.blur(cv2.absdiff(now, before), (3, 3)) > _CHANGED
        errors.append(cv2.absdiff(now, warped)[changed])
    return float(np.concatenate(errors).mean()), 1000 * spent / len(pairs)


# speed


def print_speed(folders: Sequence[Path], fps: float) -> None:
    """Frames per second of one core, with the scorer, on these frames and on one that stands still."""
    videos = frames_of(folders, fps, _FRAMES)
    print("\n| quality | scene | frames/s of one core | flow on | " + " | ".join(STAGES) + " | ms per frame |")
    print("|---|---|---|---|" + "---|" * (len(STAGES) + 1))
    for quality in LEVELS:
        found = {}
        for name, seen in (("moving", videos), ("static", [still(videos[0][0], _FRAMES)])):
            found[name] = speed = speed_with_scorer(videos, seen, quality)
            shares = " | ".join(f"{share:.0%}" for share in speed.shares.values())
            whole = 1000 / speed.frames_per_second
            rate = f"{speed.frames_per_second:.0f}"
            print(f"| {quality} | {name} | {rate} | {speed.measured:.0%} | {shares} | {whole:.2f} |")
        ratio = found["static"].frames_per_second / found["moving"].frames_per_second
        print(f"| {quality} | static / moving | {ratio:.1f} |" + " |" * (len(STAGES) + 2))


def speed_with_scorer(usual: Sequence[Sequence[Frame]], seen: Sequence[Sequence[Frame]], quality: str) -> Speed:
    """Of `seen` with the attributes learned from `usual`."""
    options = {"quality": quality}
    detector = Detector(backbone_options=options)
    with EmbeddingStore() as store:
        for i, video in enumerate(usual):
            stream = detector.backbone.stream()
            if (embeddings := stream.push(video)) is not None:
                store.add_scene(f"{i}", embeddings, sha256=None)
        detector.fit(store.freeze(), calibrate=False)
    return speed_of(seen, options, lambda e: detector.score_embeddings(e, "", maps=False))


def still(frame: Frame, frames: int) -> list[Frame]:
    """The same picture again and again, with the noise of a camera (2 grey levels)."""
    rng = np.random.default_rng(0)
    spoiled = [np.clip(frame.image + rng.normal(0, 2, frame.image.shape[:2])[..., None], 0, 255) for _ in range(8)]
    return [
        replace(frame, image=spoiled[i % len(spoiled)].astype(np.uint8), index=i, time_seconds=i / 10)
        for i in range(frames)
    ]


# moving area


def print_area(figure: Path | None) -> None:
    """Cost against the share of the picture that moves."""
    found = {level: [area_cost(level, share) for share in _SHARES] for level in LEVELS}
    print("\n| moving share | " + " | ".join(f"{level}, ms per frame" for level in LEVELS) + " |")
    print("|---|" + "---|" * len(LEVELS))
    for i, share in enumerate(_SHARES):
        print(f"| {share:.0%} | " + " | ".join(f"{found[level][i]:.2f}" for level in LEVELS) + " |")
    for level, costs in found.items():
        print(f"{level}: cost grows with the power {growth(_SHARES, costs):.2f} of the moving area (1 is linear).")
    if figure is not None:
        _draw(found, figure)


def area_cost(level: str, share: float, *, pairs: int = 20) -> float:
    """Milliseconds of processor time for a frame of the backbone in which a textured square of this share moves."""
    frames = moving_square(share, pairs + 1)
    stream = build_backbone("motion", quality=level).stream()
    stream.push(frames[:1])
    began = time.process_time()
    stream.push(frames[1:])
    return 1000 * (time.process_time() - began) / pairs


def moving_square(share: float, frames: int, *, size_px: tuple[int, int] = SIZE_PX) -> list[Frame]:
    """A textured rectangle of this share of the picture, of its shape, goes 2 px per frame before a textured wall."""
    width, height = size_px
    rng = np.random.default_rng(0)
    wall, thing = (
        cv2.normalize(
            cv2.GaussianBlur(rng.normal(size=(height, 2 * width)).astype(np.float32), (0, 0), 2),
            np.zeros(0),
            20,
            235,
            cv2.NORM_MINMAX,
        ).astype(np.uint8)
        for _ in range(2)
    )
    side = np.sqrt(share)
    w, h = round(width * side), round(height * side)
    left, top = (width - w) // 2, (height - h) // 2
    found = []
    for i in range(frames):
        image = wall[:, :width].copy()
        image[top : top + h, left : left + w] = thing[:h, 2 * i : 2 * i + w]
        found.append(Frame(image=np.repeat(image[..., None], 3, axis=2), index=i, time_seconds=i / 10))
    return found


def growth(shares: Sequence[float], costs: Sequence[float]) -> float:
    """The power p in cost - cost(0) = c share^p that fits best, in logs."""
    more = np.maximum(np.array(costs[1:]) - costs[0], 1e-3)
    return float(np.polyfit(np.log(shares[1:]), np.log(more), 1)[0])


def _draw(found: dict[str, list[float]], figure: Path) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 3.5), layout="constrained")
    axes = drawing.subplots()
    for level, costs in found.items():
        axes.plot([100 * share for share in _SHARES], costs, marker="o", label=level)
    axes.set(xlabel="moving share of the picture, %", ylabel="ms per frame, one core", xlim=(0, None), ylim=(0, None))
    axes.legend()
    drawing.savefig(figure, dpi=110)


# learning


def print_learning(minutes: float) -> None:
    """Time and memory to learn, size of the folder and cost of scoring, for detectors that learned more and more."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = embedded(folder, minutes)
        print(f"\n{minutes:g} rendered minutes of {SIZE_PX[0]}x{SIZE_PX[1]}, repeated\n")
        print("| learned | moments | seconds | peak memory, MiB | folder, MiB | scoring, ms per moment |")
        print("|---|---|---|---|---|---|")
        for hours in HOURS:
            times = max(round(hours * 60 / minutes), 1)
            out = folder / f"detector-{times}"
            command = [sys.executable, __file__, "--learn-only", str(kept), str(times), str(out)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            spoken = f"{hours:g} h" if hours >= 1 else f"{60 * hours:g} min"
            print(
                f"| {spoken} | {found['moments']} | {found['seconds']:.0f} | {found['peak_mib']:.0f} | "
                f"{found['folder_mib']:.1f} | {found['score_ms']:.2f} |"
            )


def embedded(folder: Path, minutes: float) -> Path:
    """A cache with the embeddings of a rendered stretch of usual video."""
    video, kept = folder / "usual.mp4", folder / "kept"
    render(video, Scene(seed=1, size_px=SIZE_PX, seconds=60 * minutes))
    for _ in cached_video(str(video), build_backbone("motion"), EmbeddingCache(kept), grids=True):
        pass
    return kept


def learn_kept(kept: Path, times: int, out: Path) -> dict[str, float]:
    """What learning these embeddings so many times over took, in this process."""
    entry = EmbeddingCache(kept).entries()[0]
    began = time.perf_counter()
    detector = Detector(budget="1/hour").learn_kept([entry] * times)
    seconds = time.perf_counter() - began
    # Not ru_maxrss: a process inherits that of the one that started it.
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    detector.save(out)
    seen = next(embeddings for _, embeddings in entry.read())
    return {
        "moments": entry.clips * times,
        "seconds": seconds,
        "peak_mib": int(peak) / 1024,
        "folder_mib": sum(f.stat().st_size for f in out.iterdir()) / 2**20,
        "score_ms": _scoring_ms(Detector.load(out), seen[:500]),
    }


def _scoring_ms(detector: Detector, seen: Embeddings) -> float:
    spent = []
    for _ in range(5):
        began = time.process_time()
        detector.score_embeddings(seen, "", maps=False)
        spent.append(time.process_time() - began)
    return 1000 * float(np.median(spent)) / len(seen)


if __name__ == "__main__":
    main()
