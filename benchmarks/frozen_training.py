"""What does training on kept embeddings save, against a loop that decodes and embeds every clip in every epoch?

    python benchmarks/frozen_training.py MANIFEST [--backbone r2plus1d-18] [--clips 140] [--epochs 30] [--published]
                                         [--option NAME=VALUE...]

Ours: `oddwatch.finetune.train` with an empty cache, from nothing to its checkpoints, TensorBoard and all. Theirs: the
loop that the published method describes, written here from its description: every epoch decodes each clip, embeds it
with the frozen backbone in evaluation mode, and takes a step of Adam on the autoencoder; then the validation clips.
Same clips, weights (random: speed does not depend on them), batches, order and dropout draws, float32, no augmentation;
so the losses must agree, and their difference is printed. --loop-epochs N: time only the first N epochs of the loop and
take the others to be as long (the losses are compared on those). --published: put the backbone in training mode, as the
published code does, and say how far that moves the statistics of its BatchNorm. --option: of OUR backbone, such as
runtime=openvino, to compare the fastest with the loop as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.backbones import build_backbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.datasets.manifest import ManifestClip, read_manifest, write_manifest
from oddwatch.finetune import Autoencoder, Recipe, train
from oddwatch.torch_compat import import_torchvision
from oddwatch.video import sample_clip

VALIDATION = 5
"""One clip validates for so many that teach."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--backbone", default="r2plus1d-18")
    parser.add_argument("--clips", type=int, default=140, help="training clips; a fifth as many validate")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--loop-epochs", type=int, default=None)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    a = parser.parse_args()
    hidden = (384, 256, 128) if a.backbone == "r2plus1d-18" else (512, 256, 128)
    recipe = Recipe(a.backbone, {"weights": "random"}, epochs=a.epochs, autoencoder=Autoencoder(hidden))
    measure(a.manifest, recipe, a.clips, dict(map(_option, a.option)), a.loop_epochs or a.epochs, a.published)


def measure(
    manifest: Path, recipe: Recipe, count: int, options: dict[str, Any], loop_epochs: int, published: bool
) -> float:
    """Print the figures; the largest relative difference of the losses."""
    import_torchvision()
    import lightning.pytorch  # noqa: F401 - seconds that neither side is charged with
    import torch.utils.tensorboard  # noqa: F401

    clips = _some(read_manifest(manifest), count)
    sizes = {split: sum(clip.split == split for clip in clips) for split in ("train", "validation")}
    built = build_backbone(recipe.backbone, **recipe.options, window_seconds=None)
    assert isinstance(built, PretrainedBackbone)
    _pixels(clips[:1], built)
    built.embed(_pixels(clips[:1], built))  # the first batch loads libraries
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_manifest(home / "manifest.csv", clips)
        ours = replace(recipe, options={**recipe.options, **options})
        ends: list[float] = []

        def note(what: str, done: float, total: float | None) -> None:
            if what == "training":
                ends.append(time.perf_counter())

        began = time.perf_counter()
        done = train(ours, home / "manifest.csv", home / "run", cache=home / "cache", progress=note)
        mine = time.perf_counter() - began
        epoch = float(np.median(np.diff(ends)))  # from one to the next, with the checkpoints in between
    losses, seconds, drift = _loop(recipe, built, clips, loop_epochs, published)
    theirs, each = float(np.sum(seconds)), float(np.median(seconds))
    if loop_epochs < recipe.epochs:
        theirs += each * (recipe.epochs - loop_epochs)
    kept = [[float(row[name]) for name in ("train_loss", "validation_loss")] for row in done.metrics[:loop_epochs]]
    difference = float((np.abs(np.array(losses) - kept) / np.abs(losses)).max())
    print(
        f"{recipe.backbone} (untrained backbone), {sizes['train']} clips and {sizes['validation']} to validate, "
        f"{recipe.epochs} epochs, {os.cpu_count()} cores; ours with {json.dumps(options)}, the loop in "
        f"{'training' if published else 'evaluation'} mode\n"
    )
    print("| | seconds in all | one more epoch |")
    print("|---|---|---|")
    print(f"| kept embeddings, cold cache | {mine:.2f} | {epoch:.4f} |")
    measured = "" if loop_epochs == recipe.epochs else f" ({loop_epochs} epochs measured)"
    print(f"| decode and embed every epoch{measured} | {theirs:.2f} | {each:.3f} |")
    print(f"| ratio | {theirs / mine:.1f} | {each / epoch:.0f} |")
    print(f"\nLargest relative difference of a loss (training, validation) in any epoch: {difference:.2g}.")
    if published:
        print(
            f"Running means of BatchNorm moved by {drift:.3f} running standard deviations (root mean square "
            f"over channels) in {loop_epochs} epochs."
        )
    return difference


def _loop(
    recipe: Recipe, built: PretrainedBackbone, clips: list[ManifestClip], epochs: int, published: bool
) -> tuple[list[list[float]], list[float], float]:
    """Losses (training, validation) and seconds of each epoch, and the drift of BatchNorm's running means."""
    import torch

    from oddwatch.finetune.data import epoch_order
    from oddwatch.finetune.module import step_seed
    from oddwatch.scorers.autoencoder import autoencoder_network

    by_split: dict[str, list[ManifestClip]] = defaultdict(list)
    for clip in clips:
        by_split[clip.split].append(clip)
    torch.manual_seed(recipe.seed)
    network = autoencoder_network(built.record.vector_size, recipe.autoencoder.hidden, recipe.autoencoder.dropout)
    backbone = built.network.train(published)
    before = {name: value.clone() for name, value in backbone.state_dict().items() if "running_" in name}
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.optimiser.learning_rate)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, recipe.optimiser.step_size, recipe.optimiser.gamma)
    size = recipe.data.batch_size

    def embedded(some: list[ManifestClip]) -> torch.Tensor:
        with torch.no_grad():
            return built.features(backbone, torch.from_numpy(_pixels(some, built)))[0]

    losses, seconds = [], []
    for epoch in range(epochs):
        began = time.perf_counter()
        network.train()
        total = seen = 0.0
        order = epoch_order(len(by_split["train"]), seed=recipe.seed, epoch=epoch)
        for step, first in enumerate(range(0, len(order), size)):
            some = [by_split["train"][place] for place in order[first : first + size]]
            if len(some) < 2:
                continue  # BatchNorm has no variance of one clip
            e = embedded(some)
            torch.manual_seed(step_seed(recipe.seed, epoch, step))
            loss = (network(e) - e).square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total, seen = total + float(loss.detach()), seen + len(some)
        schedule.step()
        network.eval()
        errors = []
        with torch.no_grad():
            for first in range(0, len(by_split["validation"]), size):
                e = embedded(by_split["validation"][first : first + size])
                errors += (network(e) - e).square().sum(1).tolist()
        losses.append([total / seen, float(np.mean(errors))])
        seconds.append(time.perf_counter() - began)
    after = backbone.state_dict()
    moved = [
        (after[name] - value).square() / before[name.replace("running_mean", "running_var")]
        for name, value in before.items()
        if name.endswith("running_mean")
    ]
    return losses, seconds, float(torch.cat(moved).mean().sqrt()) if moved else 0.0


def _pixels(clips: list[ManifestClip], built: PretrainedBackbone) -> Any:
    found = [sample_clip(clip.path, frames=built.input.frames) for clip in clips]
    return np.stack([np.stack(built.whole(clip).items) for clip in found])


def _some(clips: list[ManifestClip], count: int) -> list[ManifestClip]:
    """Evenly from each split."""
    chosen = []
    for split, wanted in (("train", count), ("validation", max(count // VALIDATION, 1))):
        there = [clip for clip in clips if clip.split == split]
        places = np.unique(np.linspace(0, len(there) - 1, min(wanted, len(there))).astype(int))
        chosen += [there[place] for place in places]
    return chosen


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    main()
