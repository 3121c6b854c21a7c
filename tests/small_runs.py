"""A manifest of small clips, and recipes that learn from it in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from video_files import write_video

from oddwatch.datasets.manifest import ManifestClip, write_manifest
from oddwatch.finetune import Autoencoder, Data, Recipe

FROZEN = Recipe("mean_backbone:MeanPicture", epochs=4, autoencoder=Autoencoder((8, 4)), data=Data(batch_size=4))


def write_clips(folder: Path, train: int = 6, validation: int = 3) -> Path:
    """Clips of noise of two classes, and their manifest."""
    clips = []
    for number in range(train + validation):
        rng = np.random.default_rng(number)
        images = [rng.integers(0, 256, (24, 32, 3)).astype(np.uint8) for _ in range(6)]
        path = folder / f"{number}.mp4"
        write_video(path, images, fps=10)
        split = "train" if number < train else "validation"
        clips.append(ManifestClip("ab"[number % 2], split, str(path), str(path), 6, 0.6, 10.0, 32, 24, "h264"))
    write_manifest(folder / "manifest.csv", clips)
    return folder / "manifest.csv"
