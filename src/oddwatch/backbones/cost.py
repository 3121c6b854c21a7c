"""What a network would take, found without its weights: it is built and run without memory for any value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import RANDOM
from oddwatch.errors import MissingExtraError


@dataclass(frozen=True)
class Cost:
    """parameters: (name, shape) of each, without the classifier's, in the network's order. gflop: billions of
    operations for one clip, a multiplication and the addition to its sum being two; matrix products and convolutions
    count. vector, grid: shapes of what one clip gives.
    """

    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    total: int
    gflop: float
    vector: tuple[int, ...]
    grid: tuple[int, ...]


def cost(kind: type[PretrainedBackbone], **options: Any) -> Cost:
    """Of one with these options. Takes no time but that of imports. Raises MissingExtraError, ValueError, TypeError."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f"the backbone {kind.record.name}", "torch", "backbones") from error
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    made = kind(weights=RANDOM, **options)
    i = made.input
    with torch.device("meta"), torch.inference_mode():
        network = made.network
        clip = torch.empty(1, i.frames, i.size_px, i.size_px, 3)
        # The counter knows the fused attention of a GPU, not that of a CPU: taken apart, both are matrix products.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            vector, grid = made.features(network, clip)
    found = made.backbone_parameters()
    return Cost(
        tuple((name, tuple(p.shape)) for name, p in found),
        sum(p.numel() for _, p in found),
        counter.get_total_flops() / 1e9,
        tuple(vector.shape),
        tuple(grid.shape),
    )
