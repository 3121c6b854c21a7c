"""Video networks of torchvision: R(2+1)D, R3D, MC3, S3D, MViT v2, Video Swin; Kinetics-400."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipInput
from oddwatch.backbones.pretrained import PretrainedBackbone, over_time
from oddwatch.backbones.weights import WeightsRecord
from oddwatch.torch_compat import import_torchvision

if TYPE_CHECKING:
    import torch

_KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_GRAY = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


def _weights(file: str, top1: float) -> WeightsRecord:
    """torchvision's files carry the beginning of their sha256 in their names."""
    return WeightsRecord(
        licence="BSD-3-Clause (torchvision), learned from Kinetics-400",
        url=f"https://download.pytorch.org/models/{file}",
        sha256=file.rpartition("-")[2].removesuffix(".pth"),
        top1=top1,
    )


class TorchvisionBackbone(PretrainedBackbone):
    """A network that torchvision builds by a function of this name."""

    function: str

    def build(self) -> torch.nn.Module:
        import_torchvision()
        from torchvision.models import video

        made: torch.nn.Module = getattr(video, self.function)(**self._model)
        return made


class VideoResNet(TorchvisionBackbone):
    """Tran et al. 2018: stem, four layers, mean over time and place."""

    classifier = "fc."

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = network.stem(x.permute(0, 4, 1, 2, 3))
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = layer(x)
        return network.avgpool(x).flatten(1), over_time(x)


class R2Plus1D18(VideoResNet):
    """R(2+1)D-18: convolutions in space, then in time."""

    function = "r2plus1d_18"
    input = ClipInput(8, 112, *_KINETICS)
    record = BackboneRecord(
        name="r2plus1d-18",
        summary="R(2+1)D-18: convolutions in space, then in time; one of the article's three",
        vector_size=512,
        grid_size=512,
        weights=_weights("r2plus1d_18-91a641e6.pth", 67.463),
        paper="Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018",
    )


class R3D18(VideoResNet):
    """R3D-18: convolutions in space and time at once."""

    function = "r3d_18"
    input = ClipInput(16, 112, *_KINETICS)
    record = BackboneRecord(
        name="r3d-18",
        summary="R3D-18: convolutions in space and time at once",
        vector_size=512,
        grid_size=512,
        weights=_weights("r3d_18-b3b3357e.pth", 63.2),
        paper="Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018",
    )


class MC318(VideoResNet):
    """MC3-18: the first layers in space and time, the others in space."""

    function = "mc3_18"
    input = ClipInput(16, 112, *_KINETICS)
    record = BackboneRecord(
        name="mc3-18",
        summary="MC3-18: space and time at first, then space alone",
        vector_size=512,
        grid_size=512,
        weights=_weights("mc3_18-a90a0ba3.pth", 63.96),
        paper="Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018",
    )


class S3D(TorchvisionBackbone):
    """Xie et al. 2018: separable Inception."""

    function = "s3d"
    classifier = "classifier."
    input = ClipInput(32, 224, *_KINETICS)
    record = BackboneRecord(
        name="s3d",
        summary="S3D: Inception with separable convolutions in space and time",
        vector_size=1024,
        grid_size=1024,
        weights=_weights("s3d-d76dad2f.pth", 68.368),
        paper="Xie et al., Rethinking Spatiotemporal Feature Learning, ECCV 2018",
    )

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = network.features(x.permute(0, 4, 1, 2, 3))
        return network.avgpool(x).mean((2, 3, 4)), over_time(x)


class MViTV2S(TorchvisionBackbone):
    """Li et al. 2022: multiscale attention. The vector is the class token after the last norm."""

    function = "mvit_v2_s"
    classifier = "head."
    input = ClipInput(16, 224, *_GRAY)
    record = BackboneRecord(
        name="mvit-v2-s",
        summary="MViT v2 S: attention over ever fewer, wider tokens",
        vector_size=768,
        grid_size=768,
        weights=_weights("mvit_v2_s-ae3be167.pth", 80.757),
        paper="Li et al., MViTv2: Improved Multiscale Vision Transformers, CVPR 2022",
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.input != type(self).input:
            raise ValueError("its position encoding is for 16 frames of 224 px, no other")

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = network.conv_proj(x.permute(0, 4, 1, 2, 3)).flatten(2).transpose(1, 2)
        x = network.pos_encoding(x)
        thw = (network.pos_encoding.temporal_size, *network.pos_encoding.spatial_size)
        for block in network.blocks:
            x, thw = block(x, thw)
        x = network.norm(x)
        tokens = x[:, 1:].reshape(len(x), *thw, x.shape[2])
        return x[:, 0], tokens.mean(1)


class _Swin3D(TorchvisionBackbone):
    """Liu et al. 2022: attention in shifted windows of space and time."""

    classifier = "head."

    def features(self, network: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = network.pos_drop(network.patch_embed(x.permute(0, 4, 1, 2, 3)))
        x = network.norm(network.features(x)).permute(0, 4, 1, 2, 3)
        return network.avgpool(x).flatten(1), over_time(x)


def _swin(size: str, vector_size: int, file: str, top1: float) -> BackboneRecord:
    return BackboneRecord(
        name=f"swin3d-{size}",
        summary=f"Video Swin {size.upper()}: attention in shifted windows of space and time",
        vector_size=vector_size,
        grid_size=vector_size,
        weights=_weights(file, top1),
        paper="Liu et al., Video Swin Transformer, CVPR 2022",
    )


class Swin3DT(_Swin3D):
    """Video Swin, tiny."""

    function = "swin3d_t"
    input = ClipInput(32, 224, *_IMAGENET)
    record = _swin("t", 768, "swin3d_t-7615ae03.pth", 77.715)


class Swin3DS(_Swin3D):
    """Video Swin, small."""

    function = "swin3d_s"
    input = ClipInput(32, 224, *_IMAGENET)
    record = _swin("s", 768, "swin3d_s-da41c237.pth", 79.521)


class Swin3DB(_Swin3D):
    """Video Swin, base."""

    function = "swin3d_b"
    input = ClipInput(32, 224, *_IMAGENET)
    record = _swin("b", 1024, "swin3d_b_1k-24f7c7c6.pth", 79.427)
