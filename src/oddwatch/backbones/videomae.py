"""VideoMAE (transformers): a plain video transformer that learned by filling in masked video; Kinetics-400."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.transformers_video import TransformersBackbone
from oddwatch.backbones.weights import WeightsRecord

if TYPE_CHECKING:
    import torch


class VideoMAEB(TransformersBackbone):
    """The vector is what the published classifier sees: the mean of all tokens, normalised by `fc_norm`.

    The grid is the same of each place. Published preprocessing scales the shorter side to 224 px and crops the centre;
    here the whole picture becomes the square.
    """

    architecture = "VideoMAEForVideoClassification"
    configuration = "VideoMAEConfig"
    token_frames = 2
    classifier = "classifier."
    input = ClipInput(16, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    record = BackboneRecord(
        name="videomae-b",
        summary="VideoMAE base: attention over all of space and time, learned by filling in masked video",
        vector_size=768,
        grid_size=768,
        weights=WeightsRecord(
            licence="CC-BY-NC-4.0",
            hub="MCG-NJU/videomae-base-finetuned-kinetics",
            non_commercial=True,
            sha256_unknown="the hub states it only with the download",
            top1=80.9,
        ),
        paper="Tong et al., VideoMAE: Masked Autoencoders are Data-Efficient Learners, NeurIPS 2022",
    )

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = network.videomae(x.permute(0, 1, 4, 2, 3)).last_hidden_state
        return network.fc_norm(tokens.mean(1)), network.fc_norm(self.places(tokens))
