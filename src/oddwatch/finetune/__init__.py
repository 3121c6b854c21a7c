"""Learning from the clips of a manifest: an autoencoder, on a backbone that is frozen or whose last tensors learn."""

from __future__ import annotations

from oddwatch.finetune.recipe import Autoencoder, Data, FineTune, Optimiser, Recipe, Tracker, Trainer
from oddwatch.finetune.training import Progress, Trained, train

__all__ = [
    "Autoencoder",
    "Data",
    "FineTune",
    "Optimiser",
    "Progress",
    "Recipe",
    "Tracker",
    "Trained",
    "Trainer",
    "train",
]
