"""How fast is the whole path, decode to score, and where does the time go?

    python benchmarks/pipeline.py [VIDEO] [--rounds 5] [--memory-hours 2]

Without a video it renders one (360x240, H.264, 10 frames/s). Every figure is the median of several rounds that take
turns in one run, because machines are shared and noisy: compare figures of one run with each other, not with another's.
--memory-hours also scores a video of that length and prints the peak memory of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from oddwatch.demo import render
from oddwatch.detector import Detector
from oddwatch.embed import BATCH_FRAMES
from oddwatch.scenes import Scene
from oddwatch.types import Embeddings, Frame
from oddwatch.video import open_video

SIZE_PX = (360, 240)
_WHOLE = "whole path, decode to score"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", help="any video; without one a scene is rendered")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--memory-hours", type=float, default=0.0)
    parser.add_argument("--score-only", nargs=2, metavar=("DETECTOR", "VIDEO"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.score_only:
        _score_and_print_memory(*arguments.score_only)
        return
    with tempfile.TemporaryDirectory() as folder:
        video = arguments.video
        if video is None:
            video = str(Path(folder) / "scene.mp4")
            render(Path(video), Scene(seed=1, size_px=SIZE_PX, seconds=arguments.frames / 10))
        _speed(video, arguments.frames, arguments.rounds)
        if arguments.memory_hours:
            _memory(Path(folder), arguments.memory_hours)


def _speed(video: str, most: int, rounds: int) -> None:
    frames = _decode(video, most)
    height, width = frames[0].image.shape[:2]
    detector = Detector().learn(video)
    embeddings = _embed(detector, frames)
    gray = [cv2.cvtColor(f.image, cv2.COLOR_RGB2GRAY) for f in frames]
    stages: dict[str, Callable[[], object]] = {
        "decode alone": lambda: _decode(video, most),
        "optical flow alone": lambda: _flow(gray),
        "backbone alone (flow, pooling, carrying)": lambda: _embed(detector, frames),
        "scoring alone": lambda: detector.score_embeddings(embeddings, "video", maps=False),
        _WHOLE: lambda: detector.score(video),
    }
    with open_video(video) as source:
        counts = dict.fromkeys(stages, len(frames)) | {_WHOLE: sum(1 for _ in source.pictures())}
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            began = time.perf_counter()
            stage()
            times[name].append(time.perf_counter() - began)
    each = {name: float(np.median(t)) / counts[name] for name, t in times.items()}
    decode, whole = each["decode alone"], each[_WHOLE]
    print(f"{len(frames)} frames of {width}x{height}, {os.cpu_count()} cores, median of {rounds} rounds in turn")
    print(f"(the whole path takes the whole video: {counts[_WHOLE]} frames)\n")
    print("| stage | frames/s | ms per frame | time / decode alone |")
    print("|---|---|---|---|")
    for name, seconds in each.items():
        print(f"| {name} | {1 / seconds:.0f} | {1000 * seconds:.2f} | {seconds / decode:.1f} |")
    backbone, scoring = each["backbone alone (flow, pooling, carrying)"], each["scoring alone"]
    alone = decode + backbone + scoring
    shares = {"decode": decode, "backbone": backbone, "scoring": scoring}
    print("\nShares of the work: " + ", ".join(f"{name} {100 * s / alone:.0f}%" for name, s in shares.items()) + ".")
    print(
        f"The stages one after the other take {alone / whole:.2f} times as long as the whole path, where they overlap."
    )


def _decode(video: str, most: int) -> list[Frame]:
    frames = []
    with open_video(video) as source:
        for frame in source:
            frames.append(frame)
            if len(frames) == most:
                break
    return frames


def _flow(gray: list[Any]) -> None:
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for before, now in itertools.pairwise(gray):
        dis.calc(now, before, None)


def _embed(detector: Detector, frames: list[Frame]) -> Embeddings:
    stream = detector.backbone.stream()
    batches = [frames[i : i + BATCH_FRAMES] for i in range(0, len(frames), BATCH_FRAMES)]
    return Embeddings.concatenate([e for batch in batches if (e := stream.push(batch)) is not None])


def _memory(folder: Path, hours: float) -> None:
    """A two-hour video at 10 frames/s is made of one rendered minute, remuxed again and again without re-encoding."""
    minute, long, saved = folder / "minute.mp4", folder / "long.mp4", folder / "detector"
    render(minute, Scene(seed=2, size_px=SIZE_PX, seconds=60))
    Detector().learn(str(minute)).save(saved)
    _repeat(minute, long, round(hours * 60))
    began = time.perf_counter()
    command = [sys.executable, __file__, "--score-only", str(saved), str(long)]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    print(f"({hours:g} hours of video took {(time.perf_counter() - began) / 60:.1f} minutes)")


def _repeat(short: Path, long: Path, times: int) -> None:
    import av

    with av.open(str(long), "w") as out, av.open(str(short)) as first:
        stream = out.add_stream_from_template(first.streams.video[0])
        offset = 0
        for _ in range(times):
            with av.open(str(short)) as source:
                end = 0
                for packet in source.demux(video=0):
                    if packet.pts is None or packet.dts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    out.mux(packet)
                offset += end


def _score_and_print_memory(detector: str, video: str) -> None:
    track = Detector.load(detector).score(video)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"Scored {track.seconds / 3600:.2f} hours, {len(track)} moments, peak memory {peak:.0f} MiB.")


if __name__ == "__main__":
    main()
