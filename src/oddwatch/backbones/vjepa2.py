"""V-JEPA 2 (transformers): learned without labels to predict masked video from what is seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.transformers_video import TransformersBackbone
from oddwatch.backbones.weights import WeightsRecord

if TYPE_CHECKING:
    import torch


class VJEPA2L(TransformersBackbone):
    """The vector is what its attentive pooler makes of all tokens, the grid the tokens, mean over time.

    Of the published ViT-L weights these are the ones with a pooler, learned from Something-Something v2, whose classes
    differ by how things move; the encoder below it is that of V-JEPA 2, and with 16 frames it has a quarter of the
    tokens of the 64-frame one. The predictor is part of the file and unused. Published preprocessing scales the shorter
    side to 292 px and crops the centre; here the whole picture becomes the square.
    """

    architecture = "VJEPA2ForVideoClassification"
    configuration = "VJEPA2Config"
    token_frames = 2
    classifier = "classifier."
    input = ClipInput(16, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    record = BackboneRecord(
        name="vjepa2-l",
        summary="V-JEPA 2 L: learned from a million hours without labels; pooler from Something-Something v2",
        vector_size=1024,
        grid_size=1024,
        weights=WeightsRecord(
            licence="MIT (V-JEPA 2's repository)",
            hub="facebook/vjepa2-vitl-fpc16-256-ssv2",
            sha256_unknown="the hub states it only with the download",
        ),
        paper="Assran et al., V-JEPA 2: Self-Supervised Video Models (arXiv 2506.09985), 2025",
    )

    def config(self) -> dict[str, Any]:
        return {"crop_size": self.input.size_px, "frames_per_clip": self.input.frames, "num_labels": 174}

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = network.vjepa2(x.permute(0, 1, 4, 2, 3), skip_predictor=True).last_hidden_state
        return network.pooler(tokens), self.places(tokens)

    def backbone_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """Those that an embedding depends on: without the classifier and the predictor."""
        return [(name, p) for name, p in super().backbone_parameters() if not name.startswith("vjepa2.predictor.")]
