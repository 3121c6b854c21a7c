"""Backbones by name. A user's own is `module:Class`, a subclass of `Backbone`."""

from __future__ import annotations

from typing import Any

from oddwatch.backbones.base import Backbone, BackboneRecord, EmbeddingStream
from oddwatch.registry import build, find_class

BACKBONES: dict[str, str] = {
    "motion": "oddwatch.backbones.motion:MotionBackbone",
}

__all__ = ["BACKBONES", "Backbone", "BackboneRecord", "EmbeddingStream", "backbone_class", "build_backbone"]


def backbone_class(name: str) -> type[Backbone]:
    """The class behind a name of `BACKBONES` or `module:Class`. Raises UsageError that lists the valid names."""
    return find_class(name, BACKBONES, Backbone)  # type: ignore[type-abstract]


def build_backbone(name: str, **options: Any) -> Backbone:
    """A backbone ready to use. Raises UsageError for an unknown name or option."""
    return build(name, BACKBONES, Backbone, options)  # type: ignore[type-abstract]
