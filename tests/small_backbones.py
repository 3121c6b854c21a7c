"""Backbones that are quick enough to test: networks of random weights, small where their library lets them be."""

from __future__ import annotations

from typing import Any

import pytest

from oddwatch.backbones import BACKBONES, Backbone, backbone_class, build_backbone
from oddwatch.backbones.pretrained import PretrainedBackbone

_ONE_LAYER = {"num_hidden_layers": 1, "intermediate_size": 64}
_PREDICTOR = {"pred_hidden_size": 48, "pred_num_attention_heads": 4, "pred_num_hidden_layers": 1}
_VJEPA2 = {"num_hidden_layers": 1, "mlp_ratio": 0.25, "num_pooler_layers": 1, **_PREDICTOR}
SMALL: dict[str, dict[str, Any]] = {
    **{f"timesformer{x}": {"frames": 4, "size_px": 32, "model": _ONE_LAYER} for x in ("", "-hr", "-l")},
    **{f"{x}-18": {"frames": 4, "size_px": 32} for x in ("r2plus1d", "r3d", "mc3")},
    "slowfast-r50": {"frames": 8, "model": {"depths": [1, 1, 1, 1]}},
    "slow-r50": {"frames": 4, "model": {"depths": [1, 1, 1, 1]}},
    "s3d": {"frames": 14, "size_px": 224},
    "mvit-v2-s": {},
    **{f"swin3d-{x}": {"frames": 4, "size_px": 64} for x in ("t", "s", "b")},
    **{f"{x}-b": {"frames": 4, "size_px": 32, "model": _ONE_LAYER} for x in ("videomae", "vivit")},
    "vjepa2-l": {"frames": 4, "size_px": 32, "model": _VJEPA2},
    **{f"dinov2-{x}": {"frames": 2, "size_px": 28, "model": {"num_hidden_layers": 1}} for x in ("s", "b")},
}
"""Options of the pretrained ones."""

LIKE_ANOTHER = {
    "timesformer-hr",
    "timesformer-l",
    "r3d-18",
    "r2plus1d-18",
    "swin3d-s",
    "swin3d-b",
    "slow-r50",
    "dinov2-b",
}
"""Networks of a kind of which another is tested, too."""
_NOT_SMALL = {"s3d", "mvit-v2-s", "slowfast-r50", "swin3d-t", "videomae-b", "vivit-b", "vjepa2-l"}
CLIP_BACKBONES = [name for name in BACKBONES if issubclass(backbone_class(name), PretrainedBackbone)]


def parameters(names: list[str]) -> list[Any]:
    """Names for a fixture; those of one family but the first, and those that take long, are slow tests."""
    slow = LIKE_ANOTHER | _NOT_SMALL
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


def small(name: str, **options: Any) -> PretrainedBackbone:
    """A pretrained backbone, small and with random weights."""
    made = build_backbone(name, **{"weights": "random", **SMALL[name], **options})
    assert isinstance(made, PretrainedBackbone)
    return made


def any_small(name: str) -> Backbone:
    """Any backbone of the table, with windows shorter than a second, one at a time."""
    if name == "histograms":
        return build_backbone(name, window_seconds=0.6, stride_seconds=0.3, batch=1, frames=6)
    if name not in CLIP_BACKBONES:
        return build_backbone(name)
    return small(name, window_seconds=0.6, stride_seconds=0.3, batch=1)
