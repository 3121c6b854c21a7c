"""The file of a training run: what is in the ones that are shipped, and what is said about a wrong one."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import Runner

from oddwatch.cli.train import recipe_of
from oddwatch.config.train import TrainConfig, read_config
from oddwatch.errors import UsageError
from oddwatch.finetune import Recipe

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
MINIMAL = "out: run\nbackbone: {name: r2plus1d-18}\n"


def test_six_are_shipped() -> None:
    names = {f"{backbone}-v{v}" for backbone in ("timesformer", "slowfast-r50", "r2plus1d-18") for v in (1, 2)}
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == names


@pytest.mark.parametrize("name", ["timesformer", "slowfast-r50", "r2plus1d-18"])
def test_the_first_has_the_published_numbers(name: str) -> None:
    recipe = recipe_of(read_config(CONFIGS / f"{name}-v1.yaml").model_dump())
    assert (recipe.backbone, recipe.options, recipe.epochs, recipe.seed) == (name, {"weights": "published"}, 30, 42)
    o = recipe.optimiser
    assert (o.learning_rate, o.schedule, o.step_size, o.gamma, recipe.fine_tune.ever) == (1e-3, "step", 10, 0.1, False)
    assert recipe.data.batch_size == (2 if name == "slowfast-r50" else 8)
    assert recipe.data.scale_px == ((128, 171) if name == "r2plus1d-18" else (256, 320))
    assert recipe.autoencoder.hidden == ((384, 256, 128) if name == "r2plus1d-18" else (512, 256, 128))
    assert (recipe.autoencoder.dropout, recipe.data.clips_per_class) == (0.3, 200)


@pytest.mark.parametrize(
    ("name", "tensors", "from_epoch", "epochs", "rate", "step_size", "batch"),
    [
        ("r2plus1d-18", 12, 20, 32, 5e-4, 20, 8),
        ("slowfast-r50", 30, 10, 30, 1e-3, 10, 2),
        ("timesformer", 22, 20, 30, 5e-4, 10, 8),
    ],
)
def test_the_second_has_the_published_numbers(
    name: str, tensors: int, from_epoch: int, epochs: int, rate: float, step_size: int, batch: int
) -> None:
    recipe = recipe_of(read_config(CONFIGS / f"{name}-v2.yaml").model_dump())
    tuned, o = recipe.fine_tune, recipe.optimiser
    assert (tuned.tensors, tuned.from_epoch, recipe.epochs) == (tensors, from_epoch, epochs)
    assert (o.learning_rate, o.step_size, recipe.data.batch_size) == (rate, step_size, batch)
    assert tuned.target == "anchor"


def test_a_recipe_and_its_file_have_the_same_keys_and_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(MINIMAL)
    read = read_config(tmp_path / "c.yaml")
    recipe = recipe_of(read.model_dump())
    assert recipe == Recipe("r2plus1d-18", {"weights": "published"})
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if is_dataclass(value):
            section = getattr(read, field.name)
            assert list(type(section).model_fields) == [inner.name for inner in fields(value)]
    assert set(TrainConfig.model_fields) == {f.name for f in fields(Recipe)} - {"options"} | {
        "manifest",
        "out",
        "cache",
    }


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    read = read_config(CONFIGS / "timesformer-v2.yaml", {"data.batch_size": 3, "backbone.options.frames": 4})
    (tmp_path / "c.yaml").write_text(read.to_yaml())
    again = read_config(tmp_path / "c.yaml")
    assert again == read
    assert (again.data.batch_size, again.backbone.options) == (3, {"frames": 4})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL + "data: {batch_sise: 8}", "unknown key 'data.batch_sise': data has batch_size, clips_per_class,"),
        (MINIMAL + "epoch: 8", "unknown key 'epoch': the file has manifest, out, cache, backbone, epochs,"),
        (MINIMAL + "epochs: many", "epochs is 'many', it must be a whole number"),
        (MINIMAL + "epochs: 2.5", "epochs is 2.5, it must be a whole number"),
        (MINIMAL + "autoencoder: {hidden: big}", "autoencoder.hidden is 'big', it must be a list of whole numbers"),
        (MINIMAL + "optimiser: {learning_rate: fast}", "optimiser.learning_rate is 'fast', it must be a number"),
        (MINIMAL + "optimiser: {schedule: stairs}", "it must be step, plateau, cosine, restarts, none"),
        (
            MINIMAL + "fine_tune: {tensors: some}",
            "fine_tune.tensors is 'some', it must be a whole number or all, never",
        ),
        (MINIMAL + "data: {scale_px: [1]}", "data.scale_px is [1], it must be a list of whole numbers (two) or null"),
        (MINIMAL + "data: 3", "data is 3, it must be a section with batch_size,"),
        ("out: run", "backbone is missing"),
        ("backbone: {weights: random}\nout: run", "backbone.name is missing"),
        ("[1, 2]", "holds no keys: begin with one of configs/"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_wrong_file(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError) as raised:
        read_config(tmp_path / "c.yaml")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data.batch_size": 1}, "data.batch_size is 2 or more: BatchNorm has no variance of a single clip"),
        ({"epochs": 0}, "epochs is 1 or more"),
        ({"fine_tune.tensors": 0}, "fine_tune.tensors is 1 or more, all or never"),
        ({"optimiser.gamma": 2}, "optimiser.gamma is between 0 and 1"),
        ({"autoencoder.hidden": []}, "autoencoder.hidden is one or more sizes from 1 up"),
        ({"trainer.devices": 0}, "trainer.devices is 1 or more"),
    ],
)
def test_a_value_out_of_range(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        recipe_of(read_config(CONFIGS / "timesformer-v1.yaml", change).model_dump())
    assert str(raised.value) == says


def test_the_command_says_it_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    oddwatch = Runner(capsys)
    ran = oddwatch("train", CONFIGS / "timesformer-v1.yaml", "--set", "data.batch_size=big")
    assert ran.code == 2
    assert ran.err.endswith("data.batch_size is 'big', it must be a whole number\n")
    assert oddwatch("train", tmp_path / "none.yaml").err == (
        f"oddwatch: {tmp_path / 'none.yaml'} cannot be read: No such file or directory\n"
    )
    ran = oddwatch("train", CONFIGS / "r2plus1d-18-v1.yaml", "--weights", "random", "--manifest", tmp_path / "m.csv")
    assert (ran.code, ran.err) == (
        1,
        f"oddwatch: no manifest {tmp_path / 'm.csv'}: make one with `oddwatch dataset prepare` and name it with "
        "--manifest\n",
    )
