"""TimeSformer (transformers): attention in time, then in space; Kinetics-400."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.transformers_video import TransformersBackbone
from oddwatch.backbones.weights import WeightsRecord

if TYPE_CHECKING:
    import torch

_GRAY = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
_PAPER = "Bertasius et al., Is Space-Time Attention All You Need for Video Understanding?, ICML 2021"
_SCHEMES = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}


def _weights(hub: str) -> WeightsRecord:
    return WeightsRecord(
        licence="CC-BY-NC-4.0",
        hub=hub,
        non_commercial=True,
        sha256_unknown="the hub states it only with the download",
    )


class TimeSformerBackbone(TransformersBackbone):
    """The vector is the class token of the last hidden state; the grid the patch tokens, mean over time.

    attention: `divided` (the published weights), `joint` or `space`; the paper's sparse local-global and axial schemes
    have no published weights nor library code. With `space` the library gives a class token per frame: their mean.
    """

    architecture = "TimesformerForVideoClassification"
    configuration = "TimesformerConfig"
    classifier = "classifier."

    def __init__(self, *, attention: Literal["divided", "joint", "space"] = "divided", **options: Any) -> None:
        super().__init__(**options)
        if attention not in _SCHEMES:
            raise ValueError(f"attention is one of {', '.join(_SCHEMES)}, got {attention!r}")
        self._attention = attention

    def options(self) -> dict[str, Any]:
        return {"attention": self._attention, **super().options()}

    def config(self) -> dict[str, Any]:
        return {**super().config(), "attention_type": _SCHEMES[self._attention]}

    def simplify(self, network: Any) -> None:
        """One linear map for the two in a row that follow attention in time."""
        import torch

        if self._attention != "divided":
            return
        for layer in network.timesformer.encoder.layer:
            first, second = layer.temporal_attention.output.dense, layer.temporal_dense
            weight = second.weight.double()
            with torch.no_grad():
                bias = weight @ first.bias.double() + second.bias.double()
                first.weight.copy_(weight @ first.weight.double())
                first.bias.copy_(bias)
            layer.temporal_dense = torch.nn.Identity()

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        clips, frames = x.shape[:2]
        tokens = network.timesformer(x.permute(0, 1, 4, 2, 3)).last_hidden_state
        side = network.config.image_size // network.config.patch_size
        if self._attention == "space":
            tokens = tokens.unflatten(0, (clips, frames)).mean(1)
            return tokens[:, 0], tokens[:, 1:].unflatten(1, (side, side))
        # Tokens are ordered by place, then by time.
        return tokens[:, 0], tokens[:, 1:].unflatten(1, (side, side, frames)).mean(3)


class TimeSformer(TimeSformerBackbone):
    """8 frames of 224 px."""

    input = ClipInput(8, 224, *_GRAY)
    record = BackboneRecord(
        name="timesformer",
        summary="TimeSformer base, 8 frames of 224 px: attention in time, then in space; one of the article's three",
        vector_size=768,
        grid_size=768,
        weights=_weights("facebook/timesformer-base-finetuned-k400"),
        paper=_PAPER,
    )


class TimeSformerHR(TimeSformerBackbone):
    """16 frames of 448 px."""

    input = ClipInput(16, 448, *_GRAY)
    record = BackboneRecord(
        name="timesformer-hr",
        summary="TimeSformer HR, 16 frames of 448 px",
        vector_size=768,
        grid_size=768,
        weights=_weights("facebook/timesformer-hr-finetuned-k400"),
        paper=_PAPER,
    )


class TimeSformerL(TimeSformerBackbone):
    """96 frames of 224 px."""

    input = ClipInput(96, 224, *_GRAY)
    record = BackboneRecord(
        name="timesformer-l",
        summary="TimeSformer L, 96 frames of 224 px",
        vector_size=768,
        grid_size=768,
        weights=_weights("fcakyon/timesformer-large-finetuned-k400"),
        paper=_PAPER,
    )
