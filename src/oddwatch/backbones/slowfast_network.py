"""The networks SlowFast R50 8x8 and Slow R50, tensor for tensor those of PyTorchVideo's published checkpoints.

C. Feichtenhofer, H. Fan, J. Malik and K. He, "SlowFast Networks for Video Recognition", ICCV 2019, arXiv:1812.03982.
Residual blocks after He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

A slow pathway sees few frames with many channels, a fast one four times as many frames with an eighth of the channels;
before each stage the fast pathway's features, convolved over time, are appended to the slow one's. Slow R50 is the slow
pathway alone. Names, shapes and order of the parameters are those of the checkpoints (`blocks.0.multipathway_blocks.0.
conv.weight` ...), so `load_state_dict(..., strict=True)` takes what they hold under `model_state`.

Knows nothing of videos, downloads or normalisation. Imports torch at the top because its classes are torch modules:
import this file inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from oddwatch.errors import UsageError

ALPHA = 4
"""Frames of the fast pathway for each of the slow one."""
BETA = 8
"""Channels of the slow pathway for each of the fast one."""
_EXPANSION = 4  # channels that leave a residual block, for each inside it
_STAGES = 4
_SLOW_KERNELS = (1, 1, 3, 3)  # frames that a residual block spans, by stage
_FAST_KERNELS = (3, 3, 3, 3)
_REDUCTION = 32  # px for each cell of the last feature map, rounded up


def pack_pathways(x: Tensor) -> list[Tensor]:
    """[slow, fast] of clips (B, C, T, H, W), T = 8, 12, 16 ...: fast is `x` itself, slow a quarter of its frames.

    The slow frames spread from the first to the last: `linspace(0, T - 1, T / 4)` truncated.

    >>> slow, fast = pack_pathways(torch.arange(32).reshape(1, 1, 32, 1, 1))
    >>> slow.flatten().tolist()
    [0, 4, 8, 13, 17, 22, 26, 31]
    """
    if x.ndim != 5 or x.shape[2] % ALPHA or x.shape[2] < 2 * ALPHA:
        raise UsageError(
            f"clips of shape {tuple(x.shape)}: needed is (B, C, T, H, W) with T a multiple of {ALPHA}, at least "
            f"{2 * ALPHA} (the published network takes 32)"
        )
    frames = x.shape[2]
    slow = frames // ALPHA
    # In whole numbers: a float may fall just short of a whole index, and truncation would take the frame before.
    chosen = torch.tensor([i * (frames - 1) // (slow - 1) for i in range(slow)], device=x.device)
    return [x.index_select(2, chosen), x]


class _Stem(nn.Module):
    """(B, 3, T, H, W) -> (B, channels, T, H / 4, W / 4), rounded up."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, channels, (frames, 7, 7), (1, 2, 2), (frames // 2, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.conv(x)), inplace=True)
        return functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


class _Bottleneck(nn.Module):
    """Over time and into few channels, over space, back into many channels."""

    def __init__(self, inputs: int, inner: int, outputs: int, frames: int, stride: int) -> None:
        super().__init__()
        self.conv_a = nn.Conv3d(inputs, inner, (frames, 1, 1), padding=(frames // 2, 0, 0), bias=False)
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = nn.Conv3d(inner, outputs, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm_a(self.conv_a(x)), inplace=True)
        x = functional.relu(self.norm_b(self.conv_b(x)), inplace=True)
        return self.norm_c(self.conv_c(x))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """The bottleneck added to its input; the first block of a stage brings the input to the new shape."""

    branch1_conv: nn.Module | None
    branch1_norm: nn.Module | None

    def __init__(self, inputs: int, inner: int, frames: int, stride: int, *, first: bool) -> None:
        super().__init__()
        outputs = inner * _EXPANSION
        # The order in which modules are assigned is the order of the parameters.
        if first:
            self.branch1_conv = nn.Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False)
            self.branch1_norm = nn.BatchNorm3d(outputs)
        else:
            self.branch1_conv = self.branch1_norm = None
        self.branch2 = _Bottleneck(inputs, inner, outputs, frames, stride)

    def forward(self, x: Tensor) -> Tensor:
        straight = x
        if self.branch1_conv is not None and self.branch1_norm is not None:
            straight = self.branch1_norm(self.branch1_conv(x))
        return functional.relu(straight + self.branch2(x), inplace=True)


class _Stage(nn.Module):
    """`depth` blocks, the first of which changes channels and reduces the picture by `stride`."""

    def __init__(self, inputs: int, inner: int, frames: int, stride: int, depth: int) -> None:
        super().__init__()
        blocks = [_Block(inputs, inner, frames, stride, first=True)]
        blocks += [_Block(inner * _EXPANSION, inner, frames, 1, first=False) for _ in range(depth - 1)]
        self.res_blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class _Fusion(nn.Module):
    """Append the fast pathway's features, one in `ALPHA` frames and twice the channels, to the slow pathway's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_fast_to_slow = nn.Conv3d(channels, 2 * channels, (7, 1, 1), (ALPHA, 1, 1), (3, 0, 0), bias=False)
        self.norm = nn.BatchNorm3d(2 * channels)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        across = functional.relu(self.norm(self.conv_fast_to_slow(fast)), inplace=True)
        return torch.cat([slow, across], dim=1)


class _Pathways(nn.Module):
    """A stem or stage of both pathways, and the fusion after it (none after the last)."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fusion: _Fusion | None) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = fusion

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        slow, fast = self.multipathway_blocks[0](slow), self.multipathway_blocks[1](fast)
        return slow if self.multipathway_fusion is None else self.multipathway_fusion(slow, fast), fast


class _Head(nn.Module):
    """Classes from what the pooling windows hold: (B, D, h, w) -> (B, classes)."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.proj = nn.Linear(inputs, classes)

    def forward(self, windows: Tensor) -> Tensor:
        # Each window by itself, then the mean: dropout falls anew on each.
        return self.proj(self.dropout(windows.permute(0, 2, 3, 1))).mean((1, 2))  # type: ignore[no-any-return]


class SpaceTimeNetwork(nn.Module):
    """What both networks share: the way from clips to a grid of features, a vector and classes.

    vector_size: D. frames: T that a clip must have (of the fast pathway, where there are two). window: side in cells of
    the pooling windows, published as 7; a cell is 32 px, so clips are at least 32 * window - 31 = 193 px high and wide.
    Clips are (B, 3, T, H, W) of the parameters' dtype, normalised as the weights want it (0.45, 0.225). In training
    mode BatchNorm learns its statistics: call `eval()` for embeddings.
    """

    blocks: nn.ModuleList

    def __init__(self, *, vector_size: int, frames: int, window: int) -> None:
        super().__init__()
        self.vector_size = vector_size
        self.frames = frames
        self.window = window

    def grid(self, x: Any) -> Tensor:
        """The last feature map before pooling, averaged over time: (B, Gh, Gw, D), Gh = H / 32 rounded up."""
        raise NotImplementedError

    def embed(self, x: Any) -> tuple[Tensor, Tensor]:
        """(vector (B, D), grid (B, Gh, Gw, D)) in the dtype of the parameters.

        vector is what the published classifier sees: the mean over all positions of a window of 7 x 7 cells of the
        mean in that window. Inner cells lie in more windows and so weigh more than with a plain mean over the picture.
        grid: see `grid()`. Raises UsageError, a ValueError, for clips of another shape or smaller than a window.
        """
        grid = self.grid(x)
        return self._windows(grid).mean((2, 3)), grid

    def forward(self, x: Any) -> Tensor:
        """Logits (B, classes) of the published classifier. Raises UsageError as `embed` does."""
        head = self.blocks[-1]
        if not isinstance(head, _Head):
            raise UsageError("the classifier of this network was cut off; build it anew for logits")
        return head(self._windows(self.grid(x)))  # type: ignore[no-any-return]

    def cut_head(self) -> None:
        """Remove the classifier: what is left are the parameters that an embedding comes from, in their order."""
        self.blocks[-1] = nn.Identity()

    def _windows(self, grid: Tensor) -> Tensor:
        """(B, Gh, Gw, D) -> means of the windows (B, D, Gh - window + 1, Gw - window + 1)."""
        return functional.avg_pool2d(grid.permute(0, 3, 1, 2), self.window, stride=1)

    def _check(self, x: Tensor, frames: int, what: str) -> None:
        least = _REDUCTION * (self.window - 1) + 1
        if x.ndim != 5 or x.shape[1] != 3 or x.shape[2] != frames or min(x.shape[3:]) < least:
            raise UsageError(
                f"{what} of shape {tuple(x.shape)}: needed is (B, 3, {frames}, H, W) with H and W at least {least}, "
                f"so that a pooling window of {self.window} x {self.window} cells of {_REDUCTION} px fits"
            )


class SlowFastNetwork(SpaceTimeNetwork):
    """See `slowfast_r50`. Clips are [slow (B, 3, T / 4, H, W), fast (B, 3, T, H, W)], which stay as they are."""

    def __init__(self, *, width: int, depths: Sequence[int], frames: int, window: int, classes: int) -> None:
        _check_sizes(width, depths, frames, window, classes, fast=True)
        top = width * 2 ** (_STAGES - 1) * _EXPANSION
        super().__init__(vector_size=top + top // BETA, frames=frames, window=window)
        # The pooling has a place among the published blocks, though no parameters.
        pooling = nn.Identity()
        self.blocks = nn.ModuleList([*_both_pathways(width, depths), pooling, _Head(self.vector_size, classes)])
        _initialise(self)

    def grid(self, x: Sequence[Tensor]) -> Tensor:
        """(B, Gh, Gw, D): both pathways' last maps, each averaged over its time, slow channels first."""
        if isinstance(x, Tensor) or len(x) != 2:
            raise UsageError("SlowFast takes [slow, fast]; `pack_pathways` makes them from clips (B, 3, T, H, W)")
        slow, fast = x
        if not _is_tracing():
            self._check(slow, self.frames // ALPHA, "slow clips")
            self._check(fast, self.frames, "fast clips")
            if slow.shape[:2] + slow.shape[3:] != fast.shape[:2] + fast.shape[3:]:
                both = f"slow clips of shape {tuple(slow.shape)}, fast clips of shape {tuple(fast.shape)}"
                raise UsageError(f"{both}: needed is the same B, H and W")
        for block in self.blocks[:-2]:
            slow, fast = block(slow, fast)
        return torch.cat([slow.mean(2), fast.mean(2)], dim=1).permute(0, 2, 3, 1)


class SlowNetwork(SpaceTimeNetwork):
    """See `slow_r50`. Clips are (B, 3, T, H, W)."""

    def __init__(self, *, width: int, depths: Sequence[int], frames: int, window: int, classes: int) -> None:
        _check_sizes(width, depths, frames, window, classes, fast=False)
        vector_size = width * 2 ** (_STAGES - 1) * _EXPANSION
        super().__init__(vector_size=vector_size, frames=frames, window=window)
        blocks: list[nn.Module] = [_Stem(width, 1)]
        inputs = width
        for i, depth in enumerate(depths):
            blocks.append(_Stage(inputs, width * 2**i, _SLOW_KERNELS[i], min(i, 1) + 1, depth))
            inputs = width * 2**i * _EXPANSION
        self.blocks = nn.ModuleList([*blocks, _Head(vector_size, classes)])
        _initialise(self)

    def grid(self, x: Tensor) -> Tensor:
        """(B, Gh, Gw, D): the last map averaged over time."""
        if not isinstance(x, Tensor):
            raise UsageError("Slow R50 takes one tensor of clips (B, 3, T, H, W)")
        if not _is_tracing():
            self._check(x, self.frames, "clips")
        for block in self.blocks[:-1]:
            x = block(x)
        return x.mean(2).permute(0, 2, 3, 1)


def slowfast_r50(
    *,
    width: int = 64,
    depths: Sequence[int] = (3, 4, 6, 3),
    frames: int = 32,
    window: int = 7,
    classes: int = 400,
) -> SlowFastNetwork:
    """SlowFast R50 8x8 with random weights: 32 fast and 8 slow frames of 256 x 256 px -> 2304 (2048 slow, 256 fast).

    The defaults are the published network; other sizes are for tests. width: channels of the slow stem, a multiple of
    8. depths: residual blocks of each of the four stages. frames: T of the fast pathway, a multiple of 4 from 8; the
    pooling window spans all of them. window: side of the pooling window in cells. Raises UsageError for other sizes.

    >>> network = slowfast_r50(width=8, depths=(1, 1, 1, 1), frames=8, window=1).eval()
    >>> vector, grid = network.embed(pack_pathways(torch.zeros(2, 3, 8, 64, 96)))
    >>> tuple(vector.shape), tuple(grid.shape)
    ((2, 288), (2, 2, 3, 288))
    """
    return SlowFastNetwork(width=width, depths=depths, frames=frames, window=window, classes=classes)


def slow_r50(
    *,
    width: int = 64,
    depths: Sequence[int] = (3, 4, 6, 3),
    frames: int = 8,
    window: int = 7,
    classes: int = 400,
) -> SlowNetwork:
    """Slow R50 8x8, the slow pathway alone, with random weights: 8 frames of 256 x 256 px -> 2048.

    The options are those of `slowfast_r50`; width need not be a multiple of 8, and frames are any number.
    """
    return SlowNetwork(width=width, depths=depths, frames=frames, window=window, classes=classes)


def _is_tracing() -> bool:
    """Whether shapes are being recorded, as converters do: they are tensors then, and not to be compared."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _both_pathways(width: int, depths: Sequence[int]) -> list[nn.Module]:
    narrow = width // BETA
    blocks: list[nn.Module] = [_Pathways(_Stem(width, 1), _Stem(narrow, 5), _Fusion(narrow))]
    slow_inputs, fast_inputs = width + 2 * narrow, narrow
    for i, depth in enumerate(depths):
        slow_inner, fast_inner, stride = width * 2**i, narrow * 2**i, min(i, 1) + 1
        fast_outputs = fast_inner * _EXPANSION
        blocks.append(
            _Pathways(
                _Stage(slow_inputs, slow_inner, _SLOW_KERNELS[i], stride, depth),
                _Stage(fast_inputs, fast_inner, _FAST_KERNELS[i], stride, depth),
                _Fusion(fast_outputs) if i + 1 < _STAGES else None,
            )
        )
        slow_inputs, fast_inputs = slow_inner * _EXPANSION + 2 * fast_outputs, fast_outputs
    return blocks


def _check_sizes(width: int, depths: Sequence[int], frames: int, window: int, classes: int, *, fast: bool) -> None:
    right_width = width >= 1 and not (fast and width % BETA)
    right_frames = frames >= 1 and not (fast and (frames % ALPHA or frames < 2 * ALPHA))
    right_depths = len(depths) == _STAGES and min(depths) >= 1
    if not (right_width and right_frames and right_depths and window >= 1 and classes >= 1):
        raise UsageError(
            f"width {width}, depths {tuple(depths)}, frames {frames}, window {window}, classes {classes}: all are at "
            f"least 1, depths are {_STAGES} numbers"
            + (f", width is a multiple of {BETA}, frames of {ALPHA} and at least {2 * ALPHA}" if fast else "")
        )


def _initialise(network: nn.Module) -> None:
    """Random weights under which features neither vanish nor grow: He et al., ICCV 2015, and residual branches scaled
    by their last BatchNorm's weight. (For training from scratch that weight starts at 0, which would leave most of the
    network without effect on an embedding.)
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, _Bottleneck):
            nn.init.constant_(module.norm_c.weight, 0.25)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
