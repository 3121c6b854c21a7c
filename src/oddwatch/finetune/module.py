"""What learns: an autoencoder of embeddings, and from some epoch on the last tensors of its backbone. On Lightning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oddwatch.finetune.recipe import Recipe
from oddwatch.scorers.autoencoder import autoencoder_network
from oddwatch.scorers.variational import objective
from oddwatch.torch_compat import import_torchvision

import_torchvision()  # before Lightning imports it without the remedy
from lightning.pytorch import LightningModule  # noqa: E402

Features = Callable[[nn.Module, Tensor], tuple[Tensor, Any]]


class Learner(LightningModule):
    """Reconstruction of embeddings, summed squared error (Randellini 2023); of a variational autoencoder the evidence
    lower bound, but the losses that are logged are these errors too, and in validation nothing is drawn.

    columns: values of an embedding. network, features: the backbone's own, a copy that may change, where it ever
    learns; learned: names of its parameters that do.

    All of the backbone stays in evaluation mode, also what learns: the autoencoder first learned from embeddings of
    that mode, and detectors will use it. So the running statistics of BatchNorm never move; from batches of 2 to 8
    clips they would be noise.
    """

    def __init__(
        self,
        recipe: Recipe,
        columns: int,
        *,
        network: nn.Module | None = None,
        features: Features | None = None,
        learned: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.recipe = recipe
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.seed)
            self.autoencoder = autoencoder_network(columns, **asdict(recipe.autoencoder))
        self.backbone, self._features = None if network is None else network.eval(), features
        self.learned = learned
        self.strict_loading = False  # a checkpoint leaves out what never learns: that is in the backbone's weights
        self._schedule: Any = None
        self._schedule_state: dict[str, Any] | None = None
        self._taught: list[Tensor] = []
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        if recipe.trainer.devices > 1:  # gradients are only shared between devices for what learns from the beginning
            self._set_learning(True)

    @property
    def live(self) -> bool:
        """Whether the backbone learns in this epoch, so that clips and not their kept embeddings are needed."""
        fine_tune = self.recipe.fine_tune
        return fine_tune.ever and self.current_epoch >= fine_tune.from_epoch

    def configure_optimizers(self) -> Any:
        o = self.recipe.optimiser
        backbone = dict(self.backbone.named_parameters()) if self.backbone else {}
        parameters = [*self.autoencoder.parameters(), *(backbone[name] for name in self.learned)]
        fused = self.recipe.trainer.precision == "32-true" or None
        optimiser = torch.optim.Adam(parameters, lr=o.learning_rate, fused=fused)
        self._schedule = schedule(optimiser, self.recipe)
        return optimiser

    def on_train_start(self) -> None:
        if self._schedule is not None and self._schedule_state is not None:
            self._schedule.load_state_dict(self._schedule_state)

    def on_train_epoch_start(self) -> None:
        if self.recipe.trainer.devices == 1:
            self._set_learning(self.live)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        # Dropout depends on nothing that was drawn before: a run that goes on is the run that was never stopped.
        seed = step_seed(self.recipe.seed, self.current_epoch, index)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes milliseconds where there is no GPU
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)
        e = self._embed(batch)
        errors = self._errors(self.autoencoder(e), e, batch)
        loss = objective(self.autoencoder, errors, e.shape[1])
        self._taught.append(errors.detach())
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        e, middle = self._embed(batch), len(self.autoencoder) // 2 + 1
        latent = self.autoencoder[:middle](e)
        errors = self._errors(self.autoencoder[middle:](latent), e, batch)
        self._seen.append((e.float(), latent.float(), errors))

    def on_validation_epoch_end(self) -> None:
        embeddings, latents, errors = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        # Both losses once an epoch: Lightning takes as long to note a loss as a small network to make a step.
        self.log("train_loss", torch.cat(self._taught).mean(), sync_dist=True)
        self.log("validation_loss", errors.mean(), sync_dist=True)
        self._taught, self._seen = [], []
        if len(embeddings) > 1:
            self.log("embedding_variance", embeddings.var(0).sum(), sync_dist=True)
            self.log("latent_usage", used(latents), sync_dist=True)

    def on_train_epoch_end(self) -> None:
        # Here, and not by Lightning, which moves `plateau` on only after the checkpoint of the epoch.
        if self.recipe.optimiser.schedule == "plateau":
            self._schedule.step(float(self.trainer.callback_metrics["validation_loss"]))
        elif self._schedule is not None:
            self._schedule.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {name: checkpoint["state_dict"][name] for name in self.kept()}
        if self._schedule is not None:
            checkpoint["schedule"] = self._schedule.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._schedule_state = checkpoint.get("schedule")

    def kept(self) -> list[str]:
        """Names in the state that training can change: the autoencoder, and what learns of the backbone."""
        learned = {f"backbone.{name}" for name in self.learned}
        return [name for name in self.state_dict() if name.startswith("autoencoder.") or name in learned]

    def _embed(self, batch: dict[str, Tensor]) -> Tensor:
        if "clip" not in batch:
            return batch["embedding"]
        assert self.backbone is not None
        assert self._features is not None
        return self._features(self.backbone, batch["clip"])[0]

    def _errors(self, copied: Tensor, e: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """(B,) summed squared errors by the target of the recipe."""
        target, kept = self.recipe.fine_tune.target, batch["embedding"]
        if target == "anchor":
            return (copied - kept).square().sum(1) + (e - kept).square().sum(1)
        return (copied - (e if target == "published" else e.detach())).square().sum(1)

    def _set_learning(self, learns: bool) -> None:
        if self.backbone is not None:
            for name, parameter in self.backbone.named_parameters():
                parameter.requires_grad_(learns and name in self.learned)


def step_seed(seed: int, epoch: int, step: int) -> int:
    """What the draws of dropout in one step depend on."""
    return int(np.random.SeedSequence((seed, epoch, step)).generate_state(1, np.uint64)[0])


def schedule(optimiser: torch.optim.Optimizer, recipe: Recipe) -> Any:
    """The scheduler that a recipe names, None for `none`."""
    o, of = recipe.optimiser, torch.optim.lr_scheduler
    if o.schedule == "step":
        return of.StepLR(optimiser, o.step_size, o.gamma)
    if o.schedule == "plateau":  # mode min: it is a loss
        return of.ReduceLROnPlateau(optimiser, mode="min", factor=o.gamma, patience=o.patience)
    if o.schedule == "cosine":
        return of.CosineAnnealingLR(optimiser, recipe.epochs)
    if o.schedule == "restarts":
        return of.CosineAnnealingWarmRestarts(optimiser, o.step_size)
    return None


def used(latents: Tensor) -> Tensor:
    """How many dimensions the latents (N, d) spread over: the participation ratio of the eigenvalues of their
    covariance, (sum l)^2 / sum l^2; 1 when all lie on a line, 0 when all are one point.
    """
    centred = latents - latents.mean(0)
    spread: Tensor = torch.linalg.svdvals(centred).square()
    return spread.sum().square() / spread.square().sum().clamp_min(torch.finfo(spread.dtype).tiny)
