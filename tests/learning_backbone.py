"""A backbone that learns in milliseconds: two convolutions with BatchNorm, pooled. Built like the large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import WeightsRecord

if TYPE_CHECKING:
    import torch


class Learning(PretrainedBackbone):
    """Nine parameter tensors of the backbone, two of the classifier."""

    classifier = "head."
    input = ClipInput(4, 16, (0.45,) * 3, (0.225,) * 3)
    record = BackboneRecord("learning", "for tests", 12, 12, weights=WeightsRecord("none", url="nowhere"))

    def build(self) -> torch.nn.Module:
        from torch import nn

        def block(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv3d(before, after, 3, 2, 1, bias=False), nn.BatchNorm3d(after), nn.ReLU())

        network = nn.Sequential()
        for name, part in (("stem", block(3, 8)), ("middle", block(8, 12)), ("last", block(12, 12))):
            network.add_module(name, part)
        network.add_module("head", nn.Linear(12, 5))
        return network

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = 10 * network.last(network.middle(network.stem(x.permute(0, 4, 1, 2, 3))))
        return x.mean((2, 3, 4)), x.mean(2).permute(0, 2, 3, 1)
