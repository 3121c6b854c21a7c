"""What does each target of fine-tuning do to the embeddings? Draws their variance and the loss over the epochs.

    python benchmarks/collapse.py MANIFEST --out docs/images/collapse.png [--backbone r2plus1d-18] [--clips 24]
                                  [--epochs 12] [--from-epoch 2]

The backbone is small (4 frames of 32 px) and its weights are random, all of them learn from epoch --from-epoch on, at
the rate of the published configurations; nothing but the target differs between the three runs. It shows what a loss
rewards, nothing about anomalies.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

from matplotlib.figure import Figure

from oddwatch.datasets.manifest import ManifestClip, read_manifest, write_manifest
from oddwatch.files import write_bytes
from oddwatch.finetune import Autoencoder, FineTune, Optimiser, Recipe, Tracker, Trained, train
from oddwatch.finetune.recipe import Target

VALIDATION = 5
"""One clip validates for so many that teach."""
COLORS = {"detached": "#0072B2", "anchor": "#009E73", "published": "#D55E00"}
SMALL = {"weights": "random", "frames": 4, "size_px": 32}


def main() -> None:
    """Train, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    parser.add_argument("--backbone", default="r2plus1d-18")
    parser.add_argument("--clips", type=int, default=24, help="training clips; a fifth as many validate")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--from-epoch", type=int, default=2)
    a = parser.parse_args()
    recipe = Recipe(
        a.backbone,
        SMALL,
        epochs=a.epochs,
        autoencoder=Autoencoder((64, 32, 16)),
        optimiser=Optimiser(learning_rate=5e-4, schedule="none"),
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
        variance, loss = (
            [float(row[name]) for row in run.metrics] for name in ("embedding_variance", "validation_loss")
        )
        print(
            f"| {target} | {variance[0]:.3g} | {variance[-1]:.3g} | {variance[-1] / variance[0]:.3g} | {loss[-1]:.3g} |"
        )
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
