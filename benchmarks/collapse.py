"""What does each target of fine-tuning do to the embeddings? Draws their variance and the loss over the epochs.

    python benchmarks/collapse.py MANIFEST --out docs/images/collapse.png [--clips 32] [--epochs 14] [--from-epoch 3]
                                  [--learning-rate 1e-3]

The backbone is three convolutions of random weights that see 4 frames of 32 px; all of them learn from epoch
--from-epoch on, and nothing but the target differs between the three runs. It shows what a loss rewards, nothing about
anomalies.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from matplotlib.figure import Figure
from torch import nn

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.pretrained import PretrainedBackbone, over_time
from oddwatch.backbones.weights import WeightsRecord
from oddwatch.datasets.manifest import ManifestClip, read_manifest, write_manifest
from oddwatch.files import write_bytes
from oddwatch.finetune import Autoencoder, FineTune, Optimiser, Recipe, Tracker, Trained, train
from oddwatch.finetune.recipe import Target

VALIDATION = 5
"""One clip validates for so many that teach."""
COLORS = {"detached": "#0072B2", "anchor": "#009E73", "published": "#D55E00"}


class Small(PretrainedBackbone):
    """Convolutions with BatchNorm and ReLU, pooled."""

    classifier = ""
    input = ClipInput(4, 32, (0.45,) * 3, (0.225,) * 3)
    record = BackboneRecord("small", "three convolutions", 32, 32, weights=WeightsRecord("none", url="none"))

    def build(self) -> nn.Module:
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 24), (24, 32)):
            layers += [nn.Conv3d(before, after, 3, 2, 1, bias=False), nn.BatchNorm3d(after), nn.ReLU()]
        return nn.Sequential(*layers)

    def features(self, network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = 10 * network(x.permute(0, 4, 1, 2, 3))
        return x.mean((2, 3, 4)), over_time(x)


def main() -> None:
    """Train, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    parser.add_argument("--clips", type=int, default=32, help="training clips; a fifth as many validate")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--from-epoch", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    a = parser.parse_args()
    recipe = Recipe(
        "collapse:Small",
        {"weights": "random"},
        epochs=a.epochs,
        autoencoder=Autoencoder((16, 8)),
        optimiser=Optimiser(learning_rate=a.learning_rate, schedule="none"),
        tracker=Tracker("none"),
    )
    draw(trained(a.manifest, recipe, a.clips, a.from_epoch), a.from_epoch, a.out)


def trained(manifest: Path, recipe: Recipe, count: int, from_epoch: int) -> dict[str, Trained]:
    """A run of each target."""
    done = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_manifest(home / "manifest.csv", _some(read_manifest(manifest), count))
        for target in get_args(Target):
            tuned = replace(recipe, fine_tune=FineTune("all", from_epoch, target))
            done[target] = train(tuned, home / "manifest.csv", home / target, cache=home / "cache")
    return done


def draw(runs: dict[str, Trained], from_epoch: int, out: Path) -> None:
    """The table, and the figure as PNG."""
    print(f"{next(iter(runs.values())).backbone}; everything learns from epoch {from_epoch} on\n")
    print("| target | embedding variance, first epoch | last | left of it | validation loss, last |")
    print("|---|---|---|---|---|")
    for target, run in runs.items():
        variance = [float(row["embedding_variance"]) for row in run.metrics]
        loss = float(run.metrics[-1]["validation_loss"])
        left = variance[-1] / variance[0]
        print(f"| {target} | {variance[0]:.3g} | {variance[-1]:.3g} | {left:.3g} | {loss:.3g} |")
    figure = Figure(figsize=(8.0, 3.0), dpi=120, layout="constrained")
    titles = {"embedding_variance": "variance of the embeddings", "validation_loss": "validation loss"}
    for place, (name, title) in enumerate(titles.items(), 1):
        axes = figure.add_subplot(1, 2, place)
        for target, run in runs.items():
            values = [float(row[name]) for row in run.metrics]
            axes.plot(values, color=COLORS[target], marker="o", markersize=3, label=target)
        axes.axvline(from_epoch, color="#9aa5b1", linewidth=1, linestyle=":")
        axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch (dotted: the backbone begins to learn)", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e6eaee", linewidth=0.7)
    axes.legend(fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(out, buffer.getvalue())


def _some(clips: list[ManifestClip], count: int) -> list[ManifestClip]:
    """Of each split as many as are wanted, spread over it."""
    chosen = []
    for split, wanted in (("train", count), ("validation", max(count // VALIDATION, 2))):
        there = [clip for clip in clips if clip.split == split]
        chosen += there[:: max(len(there) // wanted, 1)][:wanted]
    return chosen


if __name__ == "__main__":
    main()
