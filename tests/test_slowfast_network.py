"""SlowFast R50 and Slow R50 against PyTorchVideo's own, which is imported for this: the same tensors, the same numbers.

Small configurations run by default. The published sizes are built without memory (device `meta`) to compare names and
shapes, and run in full under the `slow` marker.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oddwatch.backbones.slowfast_network import (
    SlowNetwork,
    SpaceTimeNetwork,
    pack_pathways,
    slow_r50,
    slowfast_r50,
)
from oddwatch.errors import UsageError
from oddwatch.torch_compat import import_torchvision

TOLERANCE = 1e-5
SMALL_DEPTHS = (1, 1, 1, 1)


@pytest.fixture(scope="module")
def published() -> ModuleType:
    """`pytorchvideo.models`, with `hub` in it."""
    import_torchvision()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.script. is deprecated", DeprecationWarning)
        import pytorchvideo.models
        import pytorchvideo.models.hub
        import pytorchvideo.models.slowfast
    return pytorchvideo.models  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Pair:
    """Ours and theirs: of the published size (full) and with fewer channels (small), built alike. Ours also for fewer
    frames and windows of 2 x 2 cells (tiny).
    """

    tiny: Callable[[], SpaceTimeNetwork]
    small: Callable[[], SpaceTimeNetwork]
    small_reference: Callable[[ModuleType], nn.Module]
    full: Callable[[], SpaceTimeNetwork]
    full_reference: Callable[[ModuleType], nn.Module]
    vector_size: int
    tensors: int
    parameters: int


PAIRS = {
    "slowfast": Pair(
        tiny=lambda: slowfast_r50(width=8, depths=SMALL_DEPTHS, frames=8, window=2, classes=5),
        small=lambda: slowfast_r50(width=16, depths=SMALL_DEPTHS, classes=5),
        small_reference=lambda models: models.slowfast.create_slowfast(
            model_depth=18, stem_dim_outs=(16, 2), model_num_class=5
        ),
        full=slowfast_r50,
        full_reference=lambda models: models.hub.slowfast_r50(),
        vector_size=2304,
        tensors=330,
        parameters=34_566_488,
    ),
    "slow": Pair(
        tiny=lambda: slow_r50(width=8, depths=SMALL_DEPTHS, frames=3, window=2, classes=5),
        small=lambda: slow_r50(width=8, classes=5),
        small_reference=lambda models: models.resnet.create_resnet(
            model_depth=50,
            stem_dim_out=8,
            stem_conv_kernel_size=(1, 7, 7),
            head_pool_kernel_size=(8, 7, 7),
            model_num_class=5,
        ),
        full=slow_r50,
        full_reference=lambda models: models.hub.slow_r50(),
        vector_size=2048,
        tensors=159,
        parameters=32_454_096,
    ),
}


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return PAIRS[request.param]


def random_state(network: nn.Module, *, seed: int = 0) -> dict[str, Tensor]:
    """Numbers for every tensor of the state, BatchNorm's statistics included, under which features stay alive."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(shape: torch.Size, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    state = {}
    for name, old in network.state_dict().items():
        if old.ndim > 1:
            state[name] = torch.randn(old.shape, generator=generator) * (2 / old[0].numel()) ** 0.5
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000)
        elif name.endswith("norm_c.weight"):
            state[name] = uniform(old.shape, 0.1, 0.5)
        elif name.endswith(("weight", "running_var")):
            state[name] = uniform(old.shape, 0.5, 1.5)
        else:
            state[name] = uniform(old.shape, -0.3, 0.3)
    return state


def clips(network: SpaceTimeNetwork, height: int, width: int, *, batch: int = 2) -> Any:
    """What the network takes, the same every time: noise on a slope, so that places and times differ."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    x = torch.randn(batch, 3, network.frames, height, width, generator=generator)
    x += torch.linspace(-1, 2, width) + torch.linspace(-1, 1, network.frames)[:, None, None]
    return x if isinstance(network, SlowNetwork) else pack_pathways(x)


def copied(x: Any) -> Any:
    return x if isinstance(x, Tensor) else list(x)


def small_networks(pair: Pair, published: ModuleType) -> tuple[SpaceTimeNetwork, nn.Module]:
    ours, theirs = pair.small().eval(), pair.small_reference(published).eval()
    state = random_state(theirs)
    theirs.load_state_dict(state)
    ours.load_state_dict(state, strict=True)
    return ours, theirs


def reference_embedding(theirs: nn.Module, x: Any) -> tuple[Tensor, Tensor]:
    """(embedding, logits) of one pass: the embedding is what the logits are when the classifier does nothing."""
    seen = []
    head: Any = theirs.get_submodule(f"blocks.{len(theirs.blocks) - 1}")  # type: ignore[arg-type]
    handle = head.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits = theirs(copied(x))  # PyTorchVideo's blocks change the list that they are given
    handle.remove()
    return head.output_pool(seen[0].permute(0, 4, 1, 2, 3)).flatten(1), logits


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype == torch.float32
    return float((a - b).abs().max() / b.abs().max())


def assert_alive(vector: Tensor, grid: Tensor) -> None:
    """Features that vanish would be equal whatever the network does."""
    assert float((grid > 0).float().mean()) > 0.3
    assert float(vector.std(dim=1).min()) > 0.05
    assert float(grid.std(dim=(1, 2)).mean()) > 0.01


def test_the_state_dict_is_the_published_one(pair: Pair, published: ModuleType) -> None:
    with torch.device("meta"):
        ours, theirs = pair.full(), pair.full_reference(published)
    found = [(name, tensor.shape, tensor.dtype) for name, tensor in ours.state_dict().items()]
    assert found == [(name, tensor.shape, tensor.dtype) for name, tensor in theirs.state_dict().items()]
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert sum(tensor.numel() for tensor in ours.parameters()) == pair.parameters
    assert ours.vector_size == pair.vector_size


def test_without_the_head_are_the_tensors_of_the_article(pair: Pair) -> None:
    with torch.device("meta"):
        network = pair.full()
    with_head = [name for name, _ in network.named_parameters()]
    network.cut_head()
    names = [name for name, _ in network.named_parameters()]
    assert names == with_head[:-2]
    assert len(names) == pair.tensors
    if pair.vector_size == 2304:
        assert {name.rpartition(".res_blocks")[0] for name in names[-30:]} == {"blocks.4.multipathway_blocks.1"}
        assert "blocks.4.multipathway_blocks.1" not in names[-31]


@pytest.mark.parametrize(("height", "width"), [(256, 256), (193, 230)])
def test_small_networks_give_the_published_numbers(pair: Pair, published: ModuleType, height: int, width: int) -> None:
    ours, theirs = small_networks(pair, published)
    batch = 1 if height == 256 else 2
    x = clips(ours, height, width, batch=batch)
    with torch.inference_mode():
        vector, grid = ours.embed(x)
        embedding, logits = reference_embedding(theirs, x)
        assert difference(vector, embedding) <= TOLERANCE
        assert difference(ours(x), logits) <= TOLERANCE
    assert grid.shape == (batch, -(-height // 32), -(-width // 32), ours.vector_size)
    assert_alive(vector, grid)
    assert difference(vector[:1], vector[-1:]) > 0.01 or batch == 1, "two clips, two embeddings"


@pytest.mark.slow
def test_gradients_and_batch_statistics_are_the_published_ones(pair: Pair, published: ModuleType) -> None:
    ours, theirs = small_networks(pair, published)
    x = clips(ours, 193, 193)
    ours.train()
    theirs.train()
    for network in (ours, theirs):
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        network(copied(x)).square().sum().backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        # Sums over a million positions: what is small in a tensor of large gradients differs in its last digits.
        assert difference(one.grad, other.grad) <= 1e-3, name
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=1e-4, atol=1e-5)


def test_the_vector_is_the_mean_of_windows_of_the_grid(pair: Pair) -> None:
    network = pair.tiny().eval()
    network.load_state_dict(random_state(network))
    with torch.inference_mode():
        vector, grid = network.embed(clips(network, 96, 128))  # 3 x 4 cells: 2 x 3 windows
    cells = grid.double()
    windows = [cells[:, y : y + 2, x : x + 2].mean((1, 2)) for y in range(2) for x in range(3)]
    assert difference(vector, torch.stack(windows).mean(0).float()) <= TOLERANCE
    assert difference(vector, grid.mean((1, 2))) > 100 * TOLERANCE


def test_the_head_can_be_cut(pair: Pair) -> None:
    network = pair.tiny().eval()
    x = clips(network, 33, 64, batch=1)
    with torch.inference_mode():
        before, _ = network.embed(x)
        assert network(x).shape == (1, 5)
        network.cut_head()
        assert torch.equal(network.embed(x)[0], before)
    with pytest.raises(UsageError, match="cut off"):
        network(x)


def test_weights_made_on_the_spot_give_live_features_and_follow_the_seed(pair: Pair) -> None:
    built = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        built.append(pair.tiny().eval())
    x = clips(built[0], 64, 64)
    with torch.inference_mode():
        (vector, grid), (same, _), (other, _) = (network.embed(x) for network in built)
    assert_alive(vector, grid)
    assert torch.equal(vector, same)
    assert difference(vector, other) > 0.1


def test_pathways_are_packed_as_the_article_does() -> None:
    x = torch.randn(2, 3, 32, 4, 5)
    slow, fast = pack_pathways(x)
    assert fast is x
    assert torch.equal(slow, x[:, :, [0, 4, 8, 13, 17, 22, 26, 31]])
    assert torch.equal(slow, x[:, :, torch.linspace(0, 31, 8).long()])


def test_the_packed_list_is_left_alone() -> None:
    network = slowfast_r50(width=8, depths=SMALL_DEPTHS, frames=8, window=1).eval()
    packed = pack_pathways(torch.randn(1, 3, 8, 32, 32))
    slow, fast = packed
    before = slow.clone(), fast.clone()
    first, _ = network.embed(packed)
    assert packed[0] is slow
    assert packed[1] is fast
    assert torch.equal(slow, before[0])
    assert torch.equal(fast, before[1])
    assert torch.equal(network.embed(packed)[0], first)


@pytest.mark.filterwarnings(r"ignore:.*torch\.jit\.trace:DeprecationWarning")
def test_tracing_records_the_network_and_no_warning(pair: Pair) -> None:
    class Embed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = pair.tiny().eval()

        def forward(self, *x: Tensor) -> tuple[Tensor, Tensor]:
            return self.network.embed(list(x) if len(x) == 2 else x[0])

    module = Embed()
    x = clips(module.network, 33, 64, batch=1)
    inputs = (x,) if isinstance(x, Tensor) else tuple(x)
    with torch.no_grad():
        for found, expected in zip(torch.jit.trace(module, inputs)(*inputs), module(*inputs), strict=True):  # type: ignore[no-untyped-call]
            assert difference(found, expected) <= TOLERANCE


@pytest.mark.parametrize("shape", [(3, 32, 8, 8), (1, 3, 30, 8, 8), (1, 3, 4, 8, 8)])
def test_what_cannot_be_packed_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="T a multiple of 4, at least 8"):
        pack_pathways(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 3, 8, 192, 256), (1, 3, 8, 256, 192), (1, 3, 9, 256, 256), (1, 1, 8, 256, 256)])
def test_clips_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    network = slow_r50(width=1, depths=SMALL_DEPTHS)
    needed = r"needed is \(B, 3, 8, H, W\) with H and W at least 193"
    with pytest.raises(ValueError, match=needed):
        network.embed(torch.zeros(shape))
    with pytest.raises(UsageError, match=needed):
        network(torch.zeros(shape[1:]))


def test_slow_and_fast_clips_must_fit_each_other() -> None:
    network = slowfast_r50(width=8, depths=SMALL_DEPTHS)
    x = torch.zeros(1, 3, 32, 193, 193)
    slow, fast = pack_pathways(x)
    with pytest.raises(UsageError, match="takes \\[slow, fast\\]"):
        network.embed(x)
    with pytest.raises(UsageError, match=r"slow clips of shape \(1, 3, 32, 193, 193\): needed is \(B, 3, 8"):
        network.embed([fast, slow])
    with pytest.raises(UsageError, match="same B, H and W"):
        network.embed([slow, torch.zeros(1, 3, 32, 225, 193)])
    with pytest.raises(UsageError, match="one tensor"):
        slow_r50(width=1, depths=SMALL_DEPTHS).embed([slow])


@pytest.mark.parametrize(
    "sizes",
    [{"width": 12}, {"width": 0}, {"depths": (1, 1, 1)}, {"depths": (1, 0, 1, 1)}, {"frames": 30}, {"window": 0}],
)
def test_sizes_that_cannot_be_built_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="width is a multiple of 8, frames of 4 and at least 8"):
        slowfast_r50(**sizes)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(256, 256), (224, 288)])
def test_published_sizes_give_the_published_numbers(
    pair: Pair, published: ModuleType, height: int, width: int, tmp_path: Path
) -> None:
    theirs = pair.full_reference(published).eval()
    theirs.load_state_dict(random_state(theirs))
    checkpoint = tmp_path / "checkpoint.pyth"
    torch.save({"model_state": theirs.state_dict()}, checkpoint)
    with torch.device("meta"):
        ours = pair.full().eval()
    ours.load_state_dict(torch.load(checkpoint, weights_only=True)["model_state"], strict=True, assign=True)
    x = clips(ours, height, width, batch=1)
    with torch.inference_mode():
        vector, grid = ours.embed(x)
        embedding, logits = reference_embedding(theirs, x)
        assert difference(vector, embedding) <= TOLERANCE
        proj = ours.get_submodule(f"blocks.{len(ours.blocks) - 1}.proj")
        assert difference(proj(vector), logits) <= TOLERANCE
    assert vector.shape == (1, pair.vector_size)
    assert grid.shape == (1, height // 32, width // 32, pair.vector_size)
    assert_alive(vector, grid)
