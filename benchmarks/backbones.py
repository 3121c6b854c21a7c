"""How fast are the pretrained backbones in each runtime and precision, how near, and how far from what the machine can?

    python benchmarks/backbones.py [NAME...] [--rounds 5]

Random weights: speed does not depend on them, and the relative error only a little. One clip at a time. All variants of
all backbones and the ceilings take turns in one run; compare figures of one run. clips/s is the median of the rounds.
GFLOP/s and ceiling are those of the best round, because other work on the machine disturbs both: the ceiling is the
rate of a matrix product of 2048 x 2048, warmed up, the best of all in the run. GFLOP count what the library's own
forward multiplies, also for a variant that needs fewer.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from oddwatch.backbones import BACKBONES, backbone_class, build_backbone
from oddwatch.backbones.compute import Pixels, processor
from oddwatch.backbones.cost import cost
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.slowfast_network import pack_pathways
from oddwatch.backbones.tuning import fixed_clip, pairs, relative_error
from oddwatch.torch_compat import import_torchvision

LONG = {"timesformer-hr", "timesformer-l"}
"""Minutes per clip: only when named."""
EAGER = "eager float32"
_SIDE = 2048


@dataclass(frozen=True)
class Row:
    """One backbone computed in one way. seconds: per clip, a figure for each round."""

    backbone: str
    parameters: int
    gflop: float
    name: str
    precision: str
    error: float
    seconds: list[float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [n for n in BACKBONES if issubclass(backbone_class(n), PretrainedBackbone) and n not in LONG]
    parser.add_argument("names", nargs="*", metavar="NAME", default=usual)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    products: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    rows = []
    for name in arguments.names:
        rows += measured(name, arguments.rounds, products)
        best = ", ".join(f"{row.name} {min(row.seconds):.3f} s" for row in rows if row.backbone == name)
        print(f"{name}: {best}", file=sys.stderr, flush=True)
    show(rows, {precision: 2 * _SIDE**3 / 1e9 / min(seconds) for precision, seconds in products.items()})


def measured(name: str, rounds: int, products: dict[str, list[float]]) -> list[Row]:
    """All ways of computing a backbone, in turn with the matrix products, whose seconds are appended."""
    built = build_backbone(name, weights="random")
    assert isinstance(built, PretrainedBackbone)
    clip = fixed_clip(built)
    takes = cost(type(built))
    gflop, parameters = takes.gflop, takes.total
    ways: list[Callable[[Pixels], object]] = [eager(built)]
    found = [Row(name, parameters, gflop, EAGER, "float32", 0.0, [])]
    for pair in pairs():
        way = built.computed(runtime=pair.runtime, precision=pair.precision)
        ways.append(way.embed)
        found.append(Row(name, parameters, gflop, str(pair), pair.precision, relative_error(way, built), []))
    ways[0](clip)
    for precision in products:
        product(getattr(torch, precision))
    for _ in range(rounds):
        for way_, row in zip(ways, found, strict=True):
            began = time.perf_counter()
            way_(clip)
            row.seconds.append(time.perf_counter() - began)
        for precision, times in products.items():
            times += [product(getattr(torch, precision)) for _ in range(3)]
    return found


def eager(backbone: PretrainedBackbone) -> Callable[[Pixels], object]:
    """What the article's code does: the library's network in float32, channels first in memory as well as in shape.

    Of SlowFast and Slow that is pytorchvideo's module with the same weights. oddwatch's own float32 in torch leaves the
    channels last in memory, where convolutions are quicker.
    """
    features: Callable[[torch.Tensor], object] = partial(backbone.features, backbone.network)
    if backbone.record.name in ("slowfast-r50", "slow-r50"):
        import_torchvision()
        from pytorchvideo.models import hub

        network = getattr(hub, backbone.record.name.replace("-", "_"))(pretrained=False).eval()
        network.load_state_dict(backbone.network.state_dict())
        fast = backbone.record.name == "slowfast-r50"

        def published(x: torch.Tensor) -> object:
            x = x.permute(0, 4, 1, 2, 3)
            return network(pack_pathways(x) if fast else x)

        features = published

    def run(clips: Pixels) -> object:
        x = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).contiguous().permute(0, 2, 3, 4, 1)
        with torch.no_grad():
            return features(x)

    return run


def show(rows: list[Row], ceilings: dict[str, float]) -> None:
    """The table of docs/backbones.md."""
    rounds = len(rows[0].seconds)
    print(f"{processor()}, {torch.get_num_threads()} threads, {rounds} rounds in turn, one clip at a time")
    print("Ceilings: " + ", ".join(f"{rate:.0f} GFLOP/s in {precision}" for precision, rate in ceilings.items()) + "\n")
    print("| backbone | parameters | GFLOP | computed by | clips/s | times eager | error | GFLOP/s | of ceiling |")
    print("|---|---|---|---|---|---|---|---|---|")
    usual = 1.0
    for row in rows:
        median = float(np.median(row.seconds))
        usual = median if row.name == EAGER else usual
        what = "| |" if row.name != EAGER else f"{row.backbone} | {row.parameters / 1e6:.1f} M | {row.gflop:.1f}"
        rate = row.gflop / min(row.seconds)
        print(
            f"| {what} | {row.name} | {1 / median:.2f} | {usual / median:.2f} | {row.error:.2g} | {rate:.0f} "
            f"| {rate / ceilings[row.precision]:.0%} |"
        )


def product(dtype: torch.dtype) -> float:
    """Seconds of one large matrix product."""
    a = torch.ones((_SIDE, _SIDE), dtype=dtype)
    began = time.perf_counter()
    torch.mm(a, a)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
