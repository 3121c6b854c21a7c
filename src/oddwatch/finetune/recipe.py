"""What a training run is asked to do, in records. Ranges are checked here; a wrong value is a ValueError.

`oddwatch.config.train` reads the same fields from a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from oddwatch.files import holds_password

Schedule = Literal["step", "plateau", "cosine", "restarts", "none"]
Target = Literal["anchor", "detached", "published"]
TrackerName = Literal["tensorboard", "wandb", "mlflow", "none"]
Tensors = int | Literal["all", "never"]


@dataclass(frozen=True)
class Autoencoder:
    """hidden: sizes from the embedding to the latent. dropout: 0 to below 1. variational: see `AutoencoderScorer`."""

    hidden: tuple[int, ...] = (512, 256, 128)
    dropout: float = 0.3
    variational: bool = False

    def __post_init__(self) -> None:
        _require(len(self.hidden) > 0 and min(self.hidden) > 0, "autoencoder.hidden is one or more sizes from 1 up")
        _require(0 <= self.dropout < 1, "autoencoder.dropout is from 0 to below 1")


@dataclass(frozen=True)
class Data:
    """batch_size: clips per step. clips_per_class: what the training clips of each class are augmented to, about; 0:
    not at all; the clip as it is always stays. validation_clips_per_class: the same for validation, which is better
    left as it is. scale_px: lengths between which the short side of an augmented clip is scaled before a random square
    is cut out; None: it is resized to the square like any other. workers: threads that decode.
    """

    batch_size: int = 8
    clips_per_class: int = 0
    validation_clips_per_class: int = 0
    scale_px: tuple[int, int] | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        _require(self.batch_size >= 2, "data.batch_size is 2 or more: BatchNorm has no variance of a single clip")
        _require(min(self.clips_per_class, self.validation_clips_per_class) >= 0, "data: clips per class are 0 or more")
        _require(self.workers >= 1, "data.workers is 1 or more")


@dataclass(frozen=True)
class Optimiser:
    """Adam. schedule: of the learning rate, after each epoch: `step` multiplies it by gamma every step_size epochs,
    `plateau` when the validation loss has not fallen for patience epochs, `cosine` goes to 0 over all epochs,
    `restarts` over step_size epochs and begins again. clip_norm: largest norm of the gradient, None: any.
    accumulate: batches per step.
    """

    learning_rate: float = 1e-3
    schedule: Schedule = "step"
    step_size: int = 10
    gamma: float = 0.1
    patience: int = 5
    clip_norm: float | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, "optimiser.learning_rate is above 0")
        _require(min(self.step_size, self.accumulate) >= 1, "optimiser.step_size and accumulate are 1 or more")
        _require(0 < self.gamma < 1, "optimiser.gamma is between 0 and 1")
        _require(self.patience >= 0, "optimiser.patience is 0 or more")
        _require(self.clip_norm is None or self.clip_norm > 0, "optimiser.clip_norm is above 0")


@dataclass(frozen=True)
class FineTune:
    """tensors: how many of the backbone's last parameter tensors learn, `all` or `never`, from epoch from_epoch (the
    first is 0) on. target: what the autoencoder is to copy: the embedding, taken as given (`detached`); what the frozen
    backbone made of the clip, to which the embedding is held by its own squared distance too (`anchor`, after the
    fixed centre of Deep SVDD and the elastic regularisation of PANDA); or the embedding with its gradient
    (`published`), which rewards a backbone for making embeddings small.
    """

    tensors: Tensors = "never"
    from_epoch: int = 0
    target: Target = "anchor"

    def __post_init__(self) -> None:
        _require(isinstance(self.tensors, str) or self.tensors >= 1, "fine_tune.tensors is 1 or more, all or never")
        _require(self.from_epoch >= 0, "fine_tune.from_epoch is 0 or more")

    @property
    def ever(self) -> bool:
        """Whether the backbone learns at any time."""
        return self.tensors != "never"


@dataclass(frozen=True)
class Trainer:
    """patience: epochs without a lower validation loss until training stops, None: never. precision, accelerator,
    devices: as Lightning names them.
    """

    patience: int | None = None
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        _require(self.patience is None or self.patience >= 1, "trainer.patience is 1 or more")
        _require(self.devices >= 1, "trainer.devices is 1 or more")


@dataclass(frozen=True)
class Tracker:
    """Where metrics go besides `metrics.csv`. name: `tensorboard` (files in the run folder), `wandb` (in the run
    folder too, for `wandb sync`; online: sent as they come), `mlflow` or `none`. project: W&B's project, MLflow's
    experiment. uri: of MLflow's store, a folder, `sqlite:///FILE` or a server; None: MLFLOW_TRACKING_URI, or
    `sqlite:///mlflow.db` as MLflow itself does.
    """

    name: TrackerName = "tensorboard"
    project: str = "oddwatch"
    online: bool = False
    uri: str | None = None

    def __post_init__(self) -> None:
        _require(bool(self.project), "tracker.project is a name")
        _require(not self.online or self.name == "wandb", "tracker.online is for wandb: leave it out")
        _require(self.uri is None or self.name == "mlflow", "tracker.uri is for mlflow: leave it out")
        _require(
            not holds_password(self.uri or ""),
            "tracker.uri holds a user name or password: give them as MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD in the environment",
        )


@dataclass(frozen=True)
class Recipe:
    """All of a run. backbone, options: its name and what it is built with, `weights` among them."""

    backbone: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 30
    seed: int = 42
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    data: Data = field(default_factory=Data)
    optimiser: Optimiser = field(default_factory=Optimiser)
    fine_tune: FineTune = field(default_factory=FineTune)
    trainer: Trainer = field(default_factory=Trainer)
    tracker: Tracker = field(default_factory=Tracker)

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs is 1 or more")
        _require(self.seed >= 0, "seed is 0 or more")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
