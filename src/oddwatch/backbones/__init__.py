"""Backbones by name. A user's own is `module:attribute`: a subclass of `Backbone`, or a function (`function.py`)."""

from __future__ import annotations

from typing import Any

from oddwatch.backbones.base import Backbone, BackboneRecord, EmbeddingStream
from oddwatch.backbones.function import function_backbone
from oddwatch.backbones.given import GivenEmbeddings
from oddwatch.registry import as_class, construct, find

BACKBONES: dict[str, str] = {
    "motion": "oddwatch.backbones.motion:MotionBackbone",
    "timesformer": "oddwatch.backbones.timesformer:TimeSformer",
    "timesformer-hr": "oddwatch.backbones.timesformer:TimeSformerHR",
    "timesformer-l": "oddwatch.backbones.timesformer:TimeSformerL",
    "slowfast-r50": "oddwatch.backbones.slowfast:SlowFastR50",
    "slow-r50": "oddwatch.backbones.slowfast:SlowR50",
    "r2plus1d-18": "oddwatch.backbones.torchvision_video:R2Plus1D18",
    "r3d-18": "oddwatch.backbones.torchvision_video:R3D18",
    "mc3-18": "oddwatch.backbones.torchvision_video:MC318",
    "s3d": "oddwatch.backbones.torchvision_video:S3D",
    "mvit-v2-s": "oddwatch.backbones.torchvision_video:MViTV2S",
    "swin3d-t": "oddwatch.backbones.torchvision_video:Swin3DT",
    "swin3d-s": "oddwatch.backbones.torchvision_video:Swin3DS",
    "swin3d-b": "oddwatch.backbones.torchvision_video:Swin3DB",
    "videomae-b": "oddwatch.backbones.videomae:VideoMAEB",
    "vivit-b": "oddwatch.backbones.vivit:ViViTB",
    "vjepa2-l": "oddwatch.backbones.vjepa2:VJEPA2L",
    "dinov2-s": "oddwatch.backbones.image:DINOv2S",
    "dinov2-b": "oddwatch.backbones.image:DINOv2B",
    "pixels": "oddwatch.backbones.pixels:PixelsBackbone",
}

GIVEN = "given"
"""Stands for embeddings made elsewhere; nothing that could be chosen for video."""

__all__ = ["BACKBONES", "GIVEN", "Backbone", "BackboneRecord", "EmbeddingStream", "backbone_class", "build_backbone"]


def backbone_class(name: str) -> type[Backbone]:
    """The class behind a name of `BACKBONES` or `module:attribute`. Raises UsageError that lists the valid names."""
    if name == GIVEN:
        return GivenEmbeddings
    found = find(name, BACKBONES, "backbone", other="module:Class (or module:function)")
    if callable(found) and not isinstance(found, type):
        return function_backbone(name, found)
    return as_class(name, found, Backbone)  # type: ignore[type-abstract]


def build_backbone(name: str, **options: Any) -> Backbone:
    """A backbone ready to use. Raises UsageError for an unknown name or option."""
    made = construct(name, backbone_class(name), Backbone, options)  # type: ignore[type-abstract]
    made.name = name
    return made
