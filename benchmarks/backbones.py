"""How fast are the pretrained backbones, how near is bfloat16, and how far are both from what the machine can do?

    python benchmarks/backbones.py [NAME...] [--rounds 3]

Random weights: speed does not depend on them, and the relative error of bfloat16 hardly. Every figure is the median of
rounds that take turns in one run; compare figures of one run. The ceiling is the rate of a large matrix product.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch

from oddwatch.backbones import BACKBONES, backbone_class, build_backbone
from oddwatch.backbones.cost import cost
from oddwatch.backbones.pretrained import PretrainedBackbone

LONG = {"timesformer-hr", "timesformer-l"}
"""Minutes per clip: only when named."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [n for n in BACKBONES if issubclass(backbone_class(n), PretrainedBackbone) and n not in LONG]
    parser.add_argument("names", nargs="*", metavar="NAME", default=usual)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, median of {arguments.rounds} rounds in turn\n")
    print(
        "| backbone | parameters | GFLOP per clip | float32 clips/s | GFLOP/s (ceiling) | bfloat16 clips/s "
        "| GFLOP/s (ceiling) | ratio | relative error |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.names:
        print(_row(name, arguments.rounds), flush=True)


def _row(name: str, rounds: int) -> str:
    exact, near = (_built(name, precision) for precision in ("float32", "bfloat16"))
    i = exact.input
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(1, i.frames, i.size_px, i.size_px, 3)).astype(np.float32)
    expected = exact.embed(clip)[0]
    found = near.embed(clip)[0]
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    takes = cost(type(exact))
    gflop = takes.gflop
    stages: dict[str, Callable[[], object]] = {
        "float32": lambda: exact.embed(clip),
        "float32 ceiling": lambda: _product(torch.float32),
        "bfloat16": lambda: near.embed(clip),
        "bfloat16 ceiling": lambda: _product(torch.bfloat16),
    }
    times: dict[str, list[float]] = {key: [] for key in stages}
    for _ in range(rounds):
        for key, stage in stages.items():
            began = time.perf_counter()
            stage()
            times[key].append(time.perf_counter() - began)
    t = {key: float(np.median(values)) for key, values in times.items()}
    ceiling = {key: 2 * _SIDE**3 / 1e9 / t[f"{key} ceiling"] for key in ("float32", "bfloat16")}
    rates = [f"{1 / t[key]:.2f} | {gflop / t[key]:.0f} ({ceiling[key]:.0f})" for key in ("float32", "bfloat16")]
    parameters = takes.total / 1e6
    return (
        f"| {name} | {parameters:.1f} M | {gflop:.1f} | {rates[0]} | {rates[1]} | {t['float32'] / t['bfloat16']:.2f} "
        f"| {100 * error:.2f}% |"
    )


_SIDE = 2048


def _product(dtype: torch.dtype) -> torch.Tensor:
    a = torch.ones((_SIDE, _SIDE), dtype=dtype)
    return a @ a


def _built(name: str, precision: str) -> PretrainedBackbone:
    made = build_backbone(name, weights="random", precision=precision)
    assert isinstance(made, PretrainedBackbone)
    assert made.network is not None
    return made


if __name__ == "__main__":
    main()
