"""`convlstm`: how badly a network that has learned to copy usual clips of pixels copies this one. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from oddwatch.errors import MissingExtraError
from oddwatch.scorers.base import PIXELS, Arrays, Rows, Scorer, checked
from oddwatch.types import FloatArray

if TYPE_CHECKING:
    import torch

    from oddwatch.scorers.convlstm_network import SpatiotemporalAutoencoder

_CHUNK = 4
_CONSTANT = 1e-10  # variance of gray values that is only rounding


class ConvLSTMScorer(Scorer):
    """Mean squared error of a spatiotemporal autoencoder's copy of a clip (Chong and Tay 2017); `oddwatch.scorers.
    convlstm_network` has its layers.

    Rows are clips of gray values 0..1, as the backbone `pixels` gives them: (n, frames * S * S). S is 227 px in the
    paper; 115 takes a quarter of the time. Pixels are standardised by the mean picture and the one deviation of the
    usual clips, so an error of 1 is that of a network that has learned nothing but the mean picture. Trained on that
    error with Adam; training and its order are seeded.
    filters: see the network. precision: of training, `float32` or `bfloat16`; scores are computed in float32.
    max_rows: clips that a detector samples to teach it; one of 10 frames of 227 px is 2 MB of memory.

    What the paper does and this does not: an abnormality score is never scaled to the lowest and highest of its own
    video (`regularity`), because a camera has no end; no validation clips stop the training early, because what is held
    out calibrates; clips with other strides in time come from the backbone's window_seconds. Peepholes are left out, as
    in what is widely used of it. Raises MissingExtraError without torch.
    """

    name = "convlstm"
    summary = "reconstruction error of a ConvLSTM autoencoder on pixels: the classic baseline; slow; needs torch"
    paper = "Chong and Tay, Abnormal Event Detection in Videos using Spatiotemporal Autoencoder, ISNN 2017"
    columns: ClassVar[tuple[str, ...]] = PIXELS

    def __init__(
        self,
        *,
        frames: int = 10,
        filters: Sequence[int] = (128, 64, 64, 32, 64),
        epochs: int = 50,
        batch_size: int = 8,
        learning_rate: float = 1e-3,
        precision: str = "float32",
        seed: int = 42,
        max_rows: int = 2_000,
    ) -> None:
        if min(frames, epochs, batch_size) < 1 or max_rows < 2 or not learning_rate > 0:
            raise ValueError("frames, epochs, batch_size are at least 1, max_rows 2, learning_rate is above 0")
        if len(filters) != 5 or min(filters) < 1:
            raise ValueError(f"filters are five numbers from 1 up, got {list(filters)}")
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision is float32 or bfloat16, got {precision!r}")
        if find_spec("torch") is None:  # known before hours of video are embedded
            raise MissingExtraError("the convlstm scorer", "torch", "torch")
        self.options: dict[str, Any] = {
            "frames": frames,
            "filters": list(filters),
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "precision": precision,
            "seed": seed,
            "max_rows": max_rows,
        }
        self.max_rows = max_rows
        self._network: SpatiotemporalAutoencoder | None = None
        self._size_px = 0
        self.losses: list[float] = []
        """Mean error in each epoch of the last `fit`."""

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        import torch

        rows = checked(x, at_least=2)
        o, size = self.options, self._size(rows)
        self.losses = []
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(o["seed"])  # torch.manual_seed would reseed the accelerators too
            network = self._build(size)
            mean, deviation = _standard(rows.reshape(-1, size, size))
            network.mean.copy_(torch.from_numpy(mean))
            network.scale.fill_(deviation)
            optimiser = torch.optim.Adam(network.parameters(), lr=o["learning_rate"])
            steps, done = o["epochs"] * math.ceil(len(rows) / o["batch_size"]), 0
            for _ in range(o["epochs"]):
                total = 0.0
                order = torch.randperm(len(rows)).numpy()
                for first in range(0, len(rows), o["batch_size"]):
                    batch = rows[order[first : first + o["batch_size"]]]
                    with torch.autocast("cpu", torch.bfloat16, enabled=o["precision"] == "bfloat16"):
                        loss: Any = network.errors(self._clips(batch, size)).mean()
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    total, done = total + loss.item() * len(batch), done + 1
                    if self.told:
                        self.told(done / steps)
                self.losses.append(total / len(rows))
        self._network, self._size_px = network.eval(), size
        return self

    def score(self, x: FloatArray) -> FloatArray:
        if self._network is None:
            raise ValueError("score before fit")
        import torch

        size = self._size_px
        rows = checked(x, columns=self.options["frames"] * size**2)
        found = np.zeros(len(rows))
        with torch.inference_mode():
            for first in range(0, len(rows), _CHUNK):
                some = self._clips(rows[first : first + _CHUNK], size)
                found[first : first + _CHUNK] = self._network.errors(some).double().numpy()
        return found

    def says(self) -> str:
        """What its network takes: parameters, and operations for one clip, counted as `backbones.cost` does."""
        if self._network is None:
            return ""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        frames, size = self.options["frames"], self._size_px
        with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self._build(size).errors(torch.empty(1, frames, size, size))
        total = sum(p.numel() for p in self._network.parameters())
        gflop = counter.get_total_flops() / 1e9
        return f"{total:,} parameters, {gflop:.1f} GFLOP per clip of {frames} frames of {size} x {size} px"

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._network is None:
            raise ValueError("state before fit")
        arrays = {name: value.numpy() for name, value in self._network.state_dict().items()}
        return arrays, {"size_px": self._size_px}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        import torch

        self._network, self._size_px = self._build(meta["size_px"]), meta["size_px"]
        self._network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        self._network.eval()
        return self

    def _build(self, size_px: int) -> SpatiotemporalAutoencoder:
        from oddwatch.scorers.convlstm_network import SpatiotemporalAutoencoder

        return SpatiotemporalAutoencoder(size_px, self.options["filters"])

    def _size(self, rows: Rows) -> int:
        frames, columns = self.options["frames"], rows.shape[1]
        size = math.isqrt(columns // frames)
        if not size or frames * size**2 != columns:
            raise ValueError(f"rows are clips of {frames} square pictures, got rows of {columns} values")
        return size

    def _clips(self, rows: Rows, size_px: int) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(rows)).reshape(len(rows), self.options["frames"], size_px, size_px)


def _standard(pictures: Rows) -> tuple[FloatArray, float]:
    """The mean of pictures (n, S, S), and the standard deviation from it of all their pixels; 1 where all are alike."""
    mean = pictures.mean(0, dtype=np.float64)
    squares = np.einsum("nyx,nyx->yx", pictures, pictures, dtype=np.float64, casting="same_kind") / len(pictures)
    variance = float((squares - mean**2).mean())
    return mean, math.sqrt(variance) if variance > _CONSTANT else 1.0
