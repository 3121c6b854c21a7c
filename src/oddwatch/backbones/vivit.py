"""ViViT (transformers): attention over all of space and time; Kinetics-400."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.transformers_video import TransformersBackbone
from oddwatch.backbones.weights import WeightsRecord

if TYPE_CHECKING:
    import torch


class ViViTB(TransformersBackbone):
    """The vector is the class token after the last norm, the grid the patch tokens, mean over time.

    Colours run from -1 to 1, as in the training of these weights and in the script that converted them. (The settings
    published beside them subtract and divide once more, which gives -3 to 1.) Published preprocessing crops the centre;
    here the whole picture becomes the square.
    """

    architecture = "VivitForVideoClassification"
    configuration = "VivitConfig"
    token_frames = 2
    classifier = "classifier."
    input = ClipInput(32, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    record = BackboneRecord(
        name="vivit-b",
        summary="ViViT B 16x2: attention over all of space and time at once",
        vector_size=768,
        grid_size=768,
        weights=WeightsRecord(
            licence="MIT",
            hub="google/vivit-b-16x2-kinetics400",
            sha256_unknown="the hub states it only with the download",
        ),
        paper="Arnab et al., ViViT: A Video Vision Transformer, ICCV 2021",
    )

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = network.vivit(x.permute(0, 1, 4, 2, 3)).last_hidden_state
        return tokens[:, 0], self.places(tokens[:, 1:])
