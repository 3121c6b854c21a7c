"""SlowFast R50 8x8 and its slow pathway alone, with the weights that PyTorchVideo publishes; Kinetics-400."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import WeightsRecord

if TYPE_CHECKING:
    import torch

_GRAY = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
_PAPER = "Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019"


def _weights(file: str, top1: float) -> WeightsRecord:
    return WeightsRecord(
        licence="Apache-2.0 (PyTorchVideo), learned from Kinetics-400",
        url=f"https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/{file}",
        sha256_unknown="PyTorchVideo publishes none",
        top1=top1,
    )


class SlowFastR50(PretrainedBackbone):
    """Two pathways: 8 frames for what there is, 32 for how it moves. Pooled as by the published head."""

    classifier = "blocks.6."
    input = ClipInput(32, 256, *_GRAY)
    record = BackboneRecord(
        name="slowfast-r50",
        summary="SlowFast R50 8x8: 8 frames for what, 32 for how it moves; one of the article's three",
        vector_size=2304,
        grid_size=2304,
        weights=_weights("SLOWFAST_8x8_R50.pyth", 76.94),
        paper=_PAPER,
    )

    def build(self) -> torch.nn.Module:
        from oddwatch.backbones.slowfast_network import slowfast_r50

        return slowfast_r50(frames=self.input.frames, **self._model)

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from oddwatch.backbones.slowfast_network import pack_pathways

        found: tuple[torch.Tensor, torch.Tensor] = network.embed(pack_pathways(x.permute(0, 4, 1, 2, 3)))
        return found


class SlowR50(PretrainedBackbone):
    """The slow pathway alone; `r3d` in the article's repository."""

    classifier = "blocks.5."
    input = ClipInput(8, 256, *_GRAY)
    record = BackboneRecord(
        name="slow-r50",
        summary="Slow R50 8x8: the slow pathway alone (the article's r3d)",
        vector_size=2048,
        grid_size=2048,
        weights=_weights("SLOW_8x8_R50.pyth", 74.58),
        paper=_PAPER,
    )

    def build(self) -> torch.nn.Module:
        from oddwatch.backbones.slowfast_network import slow_r50

        return slow_r50(frames=self.input.frames, **self._model)

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found: tuple[torch.Tensor, torch.Tensor] = network.embed(x.permute(0, 4, 1, 2, 3))
        return found
