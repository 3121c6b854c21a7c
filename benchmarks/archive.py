"""How much does an archive cost beside what its network costs, from the cache, and on a Ray cluster of this machine?

    python benchmarks/archive.py VIDEO... [--backbone r2plus1d-18] [--clips 200] [--rounds 3] [--ray]
                                          [--option NAME=VALUE...]

VIDEO: folders or files; a whole video is one clip. The model alone gets clips that were decoded and prepared before,
in full batches. End to end is `embed_archive`, with decoding and with every video kept on disk. Both take turns, and
figures are medians of the rounds of one run. Random weights: speed does not depend on them. --ray: also two processes
of a local cluster, whose start is measured apart. --option: of the backbone, such as precision=bfloat16.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.backbones import build_backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.embed import EmbeddingCache, Job, embed_archive
from oddwatch.types import Embeddings
from oddwatch.video import list_videos, sample_clip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    parser.add_argument("--backbone", default="r2plus1d-18")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    a = parser.parse_args()
    options = {"weights": "random", "window_seconds": None, **dict(map(_option, a.option))}
    measure(list(list_videos(a.videos).videos[: a.clips]), a.backbone, options, a.rounds, a.ray)


def measure(videos: list[str], name: str, options: dict[str, Any], rounds: int, ray: bool) -> None:
    """Print the figures of these videos."""
    made = build_backbone(name, **options)
    assert isinstance(made, ClipBackbone)
    clips = [made.whole(sample_clip(video, frames=made.input.frames)) for video in videos]
    made.embed_windows(clips[: made.batch], pad=True)  # the first batch loads libraries
    jobs = [Job(index, video) for index, video in enumerate(videos)]
    alone, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            alone.append(_timed(lambda: made.embed_windows(clips, pad=True)))
            cache = EmbeddingCache(Path(folder) / str(number))
            whole.append(_timed(lambda c=cache: embed_archive(jobs, made, c)))
        again = [_timed(lambda: embed_archive(jobs, made, cache)) for _ in range(rounds)]
        model, end_to_end, kept = (float(np.median(times)) for times in (alone, whole, again))
        print(f"{name}, {len(videos)} clips, {os.cpu_count()} cores, median of {rounds} rounds in turn")
        print(f"options: {json.dumps(made.options())}\n")
        print("| | seconds | clips/s | ratio |")
        print("|---|---|---|---|")
        print(f"| model alone, clips prepared before | {model:.2f} | {len(clips) / model:.2f} | 1 |")
        ratio = np.median(np.array(whole) / np.array(alone))
        print(f"| end to end | {end_to_end:.2f} | {len(clips) / end_to_end:.2f} | {ratio:.3f} of the model alone |")
        print(
            f"| again, from the cache | {kept:.3f} | {len(clips) / kept:.0f} | {end_to_end / kept:.0f} times faster |"
        )
        if ray:
            _ray(jobs, made, cache, EmbeddingCache(Path(folder) / "ray"), end_to_end)


def _ray(jobs: list[Job], made: ClipBackbone, here: EmbeddingCache, there: EmbeddingCache, local: float) -> None:
    import ray

    from oddwatch.scale import ray_map

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    began = time.perf_counter()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    start = time.perf_counter() - began
    took = _timed(lambda: embed_archive(jobs, made, there, map=ray_map(processes=2)))
    ray.shutdown()
    print(f"| Ray, 2 processes | {took:.2f} | {len(jobs) / took:.2f} | {took / local:.3f} of end to end here |")
    pairs = list(zip(here.entries(), there.entries(), strict=True))
    differences = [_difference(*(Embeddings.concatenate([e for _, e in x.read()]) for x in pair)) for pair in pairs]
    print(
        f"\nThe cluster's start, {start:.1f} s, is not in it. Of {len(pairs)} videos {differences.count(0.0)} have the "
        f"same bits; the largest difference, relative to the largest value: {max(differences):.1g}."
    )


def _difference(one: Embeddings, other: Embeddings) -> float:
    return float(np.abs(one.vector - other.vector).max() / np.abs(one.vector).max())


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    main()
