"""Image encoders, pooled over time: they see what there is in each frame, and nothing of how it moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.transformers_video import TransformersBackbone
from oddwatch.backbones.weights import WeightsRecord

if TYPE_CHECKING:
    import torch

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _DINOv2(TransformersBackbone):
    """DINOv2: class token after the last norm, mean over the frames; the grid is the same of the patch tokens.

    The weights' position encoding is for 518 px and is interpolated by the network. Published preprocessing scales the
    shorter side to 256 px (bicubic) and crops the centre; here the whole picture becomes the square.
    """

    architecture = "Dinov2Model"
    configuration = "Dinov2Config"
    token_px = 14
    classifier = ""
    input = ClipInput(8, 224, *_IMAGENET)
    size: ClassVar[dict[str, int]]

    def config(self) -> dict[str, Any]:
        return {"image_size": 518, "patch_size": self.token_px, **self.size}

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        clips, frames = x.shape[:2]
        found = network(x.flatten(0, 1).permute(0, 3, 1, 2))
        patches = found.last_hidden_state[:, 1:].unflatten(0, (clips, frames)).flatten(1, 2)
        return found.pooler_output.unflatten(0, (clips, frames)).mean(1), self.places(patches)


def _dinov2(name: str, size: str, vector_size: int) -> BackboneRecord:
    return BackboneRecord(
        name=name,
        summary=f"DINOv2 {size}, frame by frame: what there is, not how it moves; fine places (14 px of 224)",
        vector_size=vector_size,
        grid_size=vector_size,
        weights=WeightsRecord(
            licence="Apache-2.0",
            hub=f"facebook/dinov2-{size}",
            sha256_unknown="the hub states it only with the download",
        ),
        paper="Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024",
    )


class DINOv2S(_DINOv2):
    """ViT-S/14."""

    size: ClassVar[dict[str, int]] = {"hidden_size": 384, "num_attention_heads": 6}
    record = _dinov2("dinov2-s", "small", 384)


class DINOv2B(_DINOv2):
    """ViT-B/14."""

    size: ClassVar[dict[str, int]] = {"hidden_size": 768, "num_attention_heads": 12}
    record = _dinov2("dinov2-b", "base", 768)
