"""What the backbones whose networks are transformers' own have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.errors import MissingExtraError
from oddwatch.torch_compat import import_torchvision

if TYPE_CHECKING:
    import torch


class TransformersBackbone(PretrainedBackbone):
    """`architecture` names the class that the published weights were saved from, `configuration` that of its settings.

    model: fields of that configuration. frames and size_px: multiples of what one token spans (`token_frames`,
    `token_px`), so that nothing of a clip is left out unseen. Raises ValueError where they are not.
    """

    architecture: str
    configuration: str
    token_frames = 1
    token_px = 16

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.input.frames % self.token_frames or self.input.size_px % self.token_px:
            raise ValueError(
                f"a token spans {self.token_frames} x {self.token_px} px: frames and size_px are multiples of these, "
                f"got {self.input.frames} x {self.input.size_px} px"
            )

    def config(self) -> dict[str, Any]:
        """Fields of transformers' configuration of this network."""
        return {"image_size": self.input.size_px, "num_frames": self.input.frames, "num_labels": 400}

    def build(self) -> torch.nn.Module:
        import_torchvision()
        try:
            import transformers
        except ImportError as error:
            raise MissingExtraError(f"the backbone {self.record.name}", "transformers", "backbones") from error
        config = getattr(transformers, self.configuration)(**{**self.config(), **self._model})
        made: torch.nn.Module = getattr(transformers, self.architecture)(config)
        return made

    def places(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, d) in the order time, row, column -> (B, Gh, Gw, d), the mean over time."""
        side = self.input.size_px // self.token_px
        return tokens.reshape(len(tokens), -1, side, side, tokens.shape[2]).mean(1)
