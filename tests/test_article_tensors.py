"""Which tensors of the full-size networks learn in the article's second configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddwatch.backbones import build_backbone
from oddwatch.backbones.pretrained import PretrainedBackbone

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
_R2PLUS1D = [
    f"layer4.1.conv{conv}.{part}"
    for conv in (1, 2)
    for part in ("0.0.weight", "0.1.weight", "0.1.bias", "0.3.weight", "1.weight", "1.bias")
]
_FAST = "blocks.4.multipathway_blocks.1.res_blocks."
_SLOWFAST = [f"{_FAST}0.branch1_{part}" for part in ("conv.weight", "norm.weight", "norm.bias")] + [
    f"{_FAST}{block}.branch2.{part}_{layer}"
    for block in range(3)
    for layer in "abc"
    for part in ("conv", "norm", "norm")
]
_LAYER_11 = [
    f"timesformer.encoder.layer.11.{part}.{kind}"
    for part in (
        "attention.attention.qkv",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
        "layernorm_before",
        "layernorm_after",
        "temporal_layernorm",
        "temporal_attention.attention.qkv",
        "temporal_attention.output.dense",
        "temporal_dense",
    )
    for kind in ("weight", "bias")
]
# Of a norm the weight comes first, then the bias.
_SLOWFAST[3:] = [
    f"{name}.{'bias' if 'norm' in name and index % 3 == 2 else 'weight'}" for index, name in enumerate(_SLOWFAST[3:])
]
LEARN = {
    "r2plus1d-18": _R2PLUS1D,
    "slowfast-r50": _SLOWFAST,
    "timesformer": [*_LAYER_11, "timesformer.layernorm.weight", "timesformer.layernorm.bias"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tensors", "all_tensors"), [("r2plus1d-18", 12, 111), ("slowfast-r50", 30, 330), ("timesformer", 22, 247)]
)
def test_full_size_networks_learn_what_the_article_names(
    name: str, tensors: int, all_tensors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second configurations as they are shipped: from the epoch they name on, these tensors and no others."""
    from oddwatch.cli.train import recipe_of
    from oddwatch.config.train import read_config
    from oddwatch.finetune.training import _learned
    from oddwatch.torch_compat import import_torchvision

    recipe = recipe_of(read_config(CONFIGS / f"{name}-v2.yaml", {"backbone.weights": "random"}).model_dump())
    backbone = build_backbone(name, **recipe.options)
    assert isinstance(backbone, PretrainedBackbone)
    assert len(backbone.backbone_parameters()) == all_tensors
    learned = _learned(backbone, recipe)
    assert list(learned) == LEARN[name]
    assert len(learned) == tensors
    import_torchvision()
    from oddwatch.finetune.module import Learner

    network = backbone.network
    learner = Learner(recipe, backbone.record.vector_size, network=network, features=backbone.features, learned=learned)
    first = recipe.fine_tune.from_epoch
    for epoch, expected in ((0, []), (first - 1, []), (first, LEARN[name]), (recipe.epochs - 1, LEARN[name])):
        monkeypatch.setattr(Learner, "current_epoch", epoch)
        learner.on_train_epoch_start()
        assert [n for n, p in network.named_parameters() if p.requires_grad] == expected
        assert not any(part.training for part in network.modules())
