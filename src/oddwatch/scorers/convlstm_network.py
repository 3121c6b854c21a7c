"""The spatiotemporal autoencoder of Chong and Tay (2017): pictures of a clip -> the same pictures, copied."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_SMALLEST_PX, _STEP_PX = 27, 8


class ConvLSTM(nn.Module):
    """Convolutional LSTM, 3 x 3 (Shi et al. 2015), without peepholes: (N, T, C, H, W) -> (N, T, hidden, H, W)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input = nn.Conv2d(channels, 4 * hidden, 3, padding=1)
        self.recurrent = nn.Conv2d(hidden, 4 * hidden, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        clips, frames, _, height, width = x.shape
        given = self.input(x.flatten(0, 1)).unflatten(0, (clips, frames))  # of all frames at once
        state, cell = (x.new_zeros(clips, self.hidden, height, width) for _ in range(2))
        outputs = []
        for frame in range(frames):
            gates = given[:, frame] + self.recurrent(state)
            take, keep, show, new = gates.chunk(4, dim=1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(new)
            state = torch.sigmoid(show) * torch.tanh(cell)
            outputs.append(state)
        return torch.stack(outputs, dim=1)


class SpatiotemporalAutoencoder(nn.Module):
    """Two convolutions of each picture, three ConvLSTMs over them, and back: clips (N, T, S, S) -> (N, T, S, S).

    Convolutions 11 x 11 with a step of 4 and 5 x 5 with one of 2, without padding, tanh between; mirrored on the way
    back. What it is given is standardised: less `mean` (S, S), over `scale`, and so is what it gives; the last layer is
    linear, because such values go beyond those of a tanh. Layers fit pictures of 11 + 8m px from 27 up, as 227; others
    are enlarged to the next such size by a margin of mean values, which counts for nothing. filters: of the two
    convolutions and the three ConvLSTMs, 128, 64, 64, 32, 64 in the paper.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, size_px: int, filters: Sequence[int]) -> None:
        super().__init__()
        first, second, *memories = filters
        self.conv1 = nn.Conv2d(1, first, 11, stride=4)
        self.conv2 = nn.Conv2d(first, second, 5, stride=2)
        channels = [second, *memories]
        self.memories = nn.Sequential(*[ConvLSTM(a, b) for a, b in zip(channels, memories, strict=False)])
        self.deconv1 = nn.ConvTranspose2d(memories[-1], first, 5, stride=2)
        self.deconv2 = nn.ConvTranspose2d(first, 1, 11, stride=4)
        self.register_buffer("mean", torch.zeros(size_px, size_px))
        self.register_buffer("scale", torch.ones(()))

    def standardised(self, clips: Tensor) -> Tensor:
        """Clips (N, T, S, S) of gray values 0..1 as the network sees them."""
        return (clips - self.mean) / self.scale

    def forward(self, standardised: Tensor) -> Tensor:
        clips, frames, size = standardised.shape[:3]
        margin = max(_SMALLEST_PX - size, (_SMALLEST_PX - size) % _STEP_PX)
        x = functional.pad(standardised.flatten(0, 1).unsqueeze(1), (0, margin, 0, margin))
        x = torch.tanh(self.conv1(x))
        x = torch.tanh(self.conv2(x))
        x = self.memories(x.reshape(clips, frames, *x.shape[1:])).flatten(0, 1)
        copies: Tensor = self.deconv2(torch.tanh(self.deconv1(x)))
        return copies[:, 0, :size, :size].reshape(clips, frames, size, size)

    def errors(self, clips: Tensor) -> Tensor:
        """(N,) mean squared error of the copies of clips (N, T, S, S)."""
        x = self.standardised(clips)
        return functional.mse_loss(self(x).float(), x, reduction="none").mean((1, 2, 3))
