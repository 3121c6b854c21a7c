"""`autoencoder`: how badly a network that has learned to copy usual embeddings copies this one. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from oddwatch.errors import MissingExtraError
from oddwatch.scorers.base import Arrays, Scorer, checked
from oddwatch.types import FloatArray

if TYPE_CHECKING:
    from torch import nn


class AutoencoderScorer(Scorer):
    """Reconstruction error ||e - e'||^2 of a fully connected autoencoder (Randellini 2023).

    BatchNorm on the input; linear layers of `hidden` sizes with ReLU and dropout between; a mirrored decoder whose last
    layer is linear. Trained on the summed squared error with Adam and StepLR. Training and its order are seeded, and
    scoring is in evaluation mode. hidden: sizes from the input to the latent, two or three layers in the article
    (384, 256, 128 for embeddings of 512 values). variational: the latent is drawn from a normal distribution and the
    evidence lower bound is trained (Kingma and Welling 2014, see `oddwatch.scorers.variational`); scores are the errors
    of copies by the mean of the latent, so nothing is drawn for them. step_size, gamma: epochs between, and factor of,
    the learning rate's steps. max_rows: embeddings that a detector samples to teach it. Raises MissingExtraError
    without torch.

    One deviation: the network of the last epoch is kept; the article also keeps the one that is best on validation
    clips. Usual video is not split that way here: what is held out of it calibrates.
    """

    name = "autoencoder"
    summary = "reconstruction error of an autoencoder on embeddings: the published method; needs torch"
    paper = "Randellini, Video anomaly detection with pretrained space-time models, 2023"

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (512, 256, 128),
        dropout: float = 0.3,
        variational: bool = False,
        epochs: int = 30,
        batch_size: int = 8,
        learning_rate: float = 1e-3,
        step_size: int = 10,
        gamma: float = 0.1,
        seed: int = 42,
        max_rows: int = 5_000,
    ) -> None:
        if not hidden or min(hidden) < 1 or min(epochs, step_size) < 1 or min(batch_size, max_rows) < 2:
            raise ValueError("hidden, epochs, step_size are at least 1, batch_size, max_rows at least 2 (BatchNorm)")
        if not (0 <= dropout < 1 and learning_rate > 0 and gamma > 0):
            raise ValueError("dropout is in [0, 1), learning_rate and gamma are above 0")
        if find_spec("torch") is None:  # known before hours of video are embedded, and without the seconds of an import
            raise _missing()
        self.options: dict[str, Any] = {
            "hidden": list(hidden),
            "dropout": dropout,
            "variational": variational,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "step_size": step_size,
            "gamma": gamma,
            "seed": seed,
            "max_rows": max_rows,
        }
        self.max_rows = max_rows
        self._network: nn.Module | None = None
        self.losses: list[float] = []
        """Mean error per row in each epoch of the last `fit`."""

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        rows = checked(x, at_least=2)
        torch = _torch()
        from oddwatch.scorers.variational import objective

        o = self.options
        data = torch.from_numpy(np.ascontiguousarray(rows))
        with torch.random.fork_rng(devices=[]), _one_thread(torch):
            torch.default_generator.manual_seed(o["seed"])  # torch.manual_seed would reseed the accelerators too
            network = self._build(rows.shape[1])
            optimiser = torch.optim.Adam(network.parameters(), lr=o["learning_rate"], fused=True)
            schedule = torch.optim.lr_scheduler.StepLR(optimiser, o["step_size"], o["gamma"])
            network.train()
            self.losses = []
            for _ in range(o["epochs"]):
                total, seen = 0.0, 0
                for batch in torch.randperm(len(data)).split(o["batch_size"]):
                    if len(batch) < 2:
                        continue  # BatchNorm has no variance of a single row
                    e = data[batch]
                    errors = (network(e) - e).square().sum(1)
                    loss: Any = objective(network, errors, rows.shape[1])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    total, seen = total + errors.detach().sum().item(), seen + len(batch)
                schedule.step()
                self.losses.append(total / seen)
        self._network, self._columns = network.eval(), rows.shape[1]
        return self

    def score(self, x: FloatArray) -> FloatArray:
        if self._network is None:
            raise ValueError("score before fit")
        rows = checked(x, columns=self._columns)
        torch = _torch()
        with torch.inference_mode(), _one_thread(torch):
            e = torch.from_numpy(np.ascontiguousarray(rows))
            error: FloatArray = (self._network(e) - e).square().sum(1).double().numpy()
        return error

    @property
    def network(self) -> nn.Module:
        """Embeddings (N, D) -> their copies, in evaluation mode. Raises ValueError before `fit`."""
        if self._network is None:
            raise ValueError("network before fit")
        return self._network

    def latent(self, x: FloatArray) -> FloatArray:
        """(n, hidden[-1]) float32: what the encoder makes of rows (n, D)."""
        if self._network is None:
            raise ValueError("latent before fit")
        rows = checked(x, columns=self._columns)
        torch = _torch()
        with torch.inference_mode(), _one_thread(torch):
            layers: Any = self._network
            latents: FloatArray = layers[: len(layers) // 2 + 1](torch.from_numpy(np.ascontiguousarray(rows))).numpy()
        return latents

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._network is None:
            raise ValueError("state before fit")
        arrays = {name: value.numpy() for name, value in self._network.state_dict().items()}
        return arrays, {"columns": self._columns}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        torch = _torch()
        network = self._build(meta["columns"])
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        self._network, self._columns = network.eval(), meta["columns"]
        return self

    def _build(self, columns: int) -> nn.Sequential:
        return autoencoder_network(
            columns, **{name: self.options[name] for name in ("hidden", "dropout", "variational")}
        )


def autoencoder_network(
    columns: int, hidden: Sequence[int], dropout: float, variational: bool = False
) -> nn.Sequential:
    """The network with fresh weights: as many layers to the latent, after which nothing follows, as back from it."""
    from torch import nn

    from oddwatch.scorers.variational import Gaussian

    sizes = [columns, *hidden]
    layers: list[nn.Module] = [nn.BatchNorm1d(columns)]
    for path in (sizes, sizes[::-1]):
        for before, after in pairwise(path):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        layers = layers[:-2]  # nothing after the latent and after the output
        if variational and path is sizes:
            layers[-1] = Gaussian(sizes[-2], sizes[-1])
    return nn.Sequential(*layers)


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Steps this small gain nothing from more threads and lose much on a busy machine; and the bits stay the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise _missing() from error
    return torch


def _missing() -> MissingExtraError:
    return MissingExtraError("the autoencoder scorer", "torch", "torch")
