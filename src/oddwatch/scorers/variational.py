"""What makes an autoencoder variational (Kingma and Welling 2014): a latent that is drawn, and what that costs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gaussian(nn.Linear):
    """The layer of the latent: (N, before) -> (N, latent), drawn from a normal distribution when training, and its mean
    otherwise. divergence: (N,) of what was last drawn, KL(q(z|x) || N(0, I)) in nats.
    """

    divergence: Tensor

    def __init__(self, before: int, latent: int) -> None:
        super().__init__(before, 2 * latent)

    def forward(self, x: Tensor) -> Tensor:
        mean, log_variance = super().forward(x).chunk(2, dim=1)
        if not self.training:
            return mean
        self.divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
        return mean + torch.exp(log_variance / 2) * torch.randn_like(mean)


def objective(network: nn.Module, errors: Tensor, columns: int) -> Tensor:
    """What a batch is to make small: the sum of its squared errors (N,) of rows of so many columns; of a variational
    network the negative evidence lower bound in nats, less a constant.

    The decoder is normal with one variance for all columns, the most likely one of the batch, which is its mean squared
    error (Rybkin, Daniilidis and Levine, Simple and Effective VAE Training with Calibrated Decoders, 2021). So there is
    no weight to choose, and the scale of embeddings does not matter.
    """
    latents = [layer for layer in network.modules() if isinstance(layer, Gaussian)]
    if not latents:
        return errors.sum()
    variance = (errors.mean() / columns).clamp_min(torch.finfo(errors.dtype).tiny)
    return len(errors) * columns / 2 * torch.log(variance) + sum(layer.divergence.sum() for layer in latents)
