"""Lightning's trainer with the callbacks of a run folder: checkpoints at once or not at all, and a row per epoch."""

from __future__ import annotations

import io
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from oddwatch.errors import RunError
from oddwatch.files import link, local_copy, place, write_bytes
from oddwatch.finetune.folder import RunFolder
from oddwatch.finetune.module import Learner
from oddwatch.torch_compat import import_torchvision

import_torchvision()  # before Lightning imports it without the remedy
from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint  # noqa: E402
from lightning.pytorch.loggers import Logger  # noqa: E402
from lightning.pytorch.plugins.io import TorchCheckpointIO  # noqa: E402
from lightning.pytorch.utilities.exceptions import SIGTERMException  # noqa: E402

Progress = Callable[[str, float, float | None], None]


def fit(
    learner: Learner,
    train: Any,
    validation: Any,
    folder: RunFolder,
    label: str,
    *,
    logger: Logger | None,
    resume: bool,
    progress: Progress | None,
) -> tuple[int, float]:
    """Train to the end of the recipe. The best epoch and its validation loss. Raises RunError."""
    recipe = learner.recipe
    best = ModelCheckpoint(str(folder.best.parent), folder.best.stem, monitor="validation_loss", mode="min", **_ONE)
    last = ModelCheckpoint(str(folder.last.parent), folder.last.stem, **_ONE)
    callbacks: list[Callback] = [_Rows(folder, label, progress), best, last]
    if recipe.trainer.patience is not None:
        callbacks.append(EarlyStopping("validation_loss", mode="min", patience=recipe.trainer.patience))
    devices = recipe.trainer.devices
    trainer = Trainer(
        accelerator=recipe.trainer.accelerator,
        devices=devices,
        # Before the backbone learns, its parameters are not used.
        strategy="ddp_find_unused_parameters_true" if devices > 1 and recipe.fine_tune.ever else "auto",
        precision=recipe.trainer.precision,
        max_epochs=recipe.epochs,
        gradient_clip_val=recipe.optimiser.clip_norm,
        accumulate_grad_batches=recipe.optimiser.accumulate,
        callbacks=callbacks,
        logger=logger or False,
        plugins=[_CheckpointIO()],
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10**9,  # everything is logged by epoch
    )
    start = str(folder.last) if resume and folder.last.exists() else None
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(learner, train, validation, ckpt_path=start, weights_only=True)
    except SIGTERMException:  # of which Lightning makes exit code 0
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as error:
        # Lightning answers Ctrl-C with exit code 1, and has it ignored from then on.
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None
    if best.best_model_score is None:
        raise RunError(f"{folder.folder}: no epoch had a validation loss that is a number: lower the learning rate")
    return _epoch_of(folder.best), float(best.best_model_score)


_ONE: dict[str, Any] = {
    "save_top_k": 1,
    "enable_version_counter": False,
    "auto_insert_metric_name": False,
    "save_on_train_epoch_end": True,
}


class _CheckpointIO(TorchCheckpointIO):
    """A checkpoint is there as a whole or not at all, and is read without running code. The best and the last are
    written once where they are of the same step: the time of an epoch of a frozen backbone is that of the disk.
    """

    _step: tuple[int, int] | None = None
    _written: Path

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = place(path)
        try:
            step = checkpoint["epoch"], checkpoint["global_step"]
            if step != self._step or not link(self._written, target):
                buffer = io.BytesIO()
                torch.save(checkpoint, buffer)
                write_bytes(target, buffer.getvalue())
            self._step, self._written = step, target
        except OSError as error:
            raise RunError(
                f"{path} cannot be written: {error.strerror or error} (free some space, then --resume)"
            ) from error


class _Rows(Callback):
    """A row of `metrics.csv` for each finished epoch. First of the callbacks: a checkpoint's epoch has its row."""

    def __init__(self, folder: RunFolder, label: str, progress: Progress | None) -> None:
        self._folder, self._label, self._progress = folder, label, progress
        self._rows: list[dict[str, Any]] = []
        self._began = self._rate = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows = [dict(row) for row in self._folder.metrics() if int(row["epoch"]) < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.monotonic()
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]  # at the end of the epoch it is the next one's

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch,
            "backbone": self._label,
            "tensors_learning": len(pl_module.learned) if pl_module.live else 0,
            "learning_rate": f"{self._rate:.6g}",
            "seconds": f"{time.monotonic() - self._began:.3f}",
        }
        for name in ("train_loss", "validation_loss", "embedding_variance", "latent_usage"):
            row[name] = f"{metrics[name]:.6g}" if math.isfinite(metrics.get(name, math.nan)) else ""
        self._rows.append(row)
        if trainer.is_global_zero:
            self._folder.write_metrics(self._rows)
        if self._progress:
            self._progress("training", float(trainer.current_epoch + 1), float(pl_module.recipe.epochs))


def require_epochs(folder: RunFolder, epochs: int) -> None:
    """Raises RunError when more than `epochs` are finished: Lightning cannot resume those."""
    if folder.last.exists() and (done := _epoch_of(folder.last) + 1) > epochs:
        raise RunError(f"{folder.folder} has finished {done} epochs, more than {epochs}: give --epochs {done} or more")


def _epoch_of(checkpoint: Path) -> int:
    with local_copy(checkpoint) as file:
        return int(torch.load(file, map_location="cpu", weights_only=True)["epoch"])
