"""Runs evaluated, compared and reproduced by the real chain: their best checkpoint, on real files."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner
from small_backbones import SMALL, small
from test_article_tensors import CONFIGS
from test_finetune import FROZEN, TUNED
from video_files import write_video

from oddwatch.backbones import build_backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.datasets.manifest import ManifestClip, write_manifest
from oddwatch.errors import RunError, WeightsError
from oddwatch.evaluate.run import evaluate_run
from oddwatch.finetune import FineTune, Recipe, train
from oddwatch.finetune.folder import RunFolder
from oddwatch.finetune.published import CONFIGURATIONS, load_checkpoint
from oddwatch.runs import read_evaluation
from oddwatch.scorers.autoencoder import AutoencoderScorer
from oddwatch.video import sample_clip

pytestmark = pytest.mark.slow

SPLITS = ["train"] * 8 + ["validation"] * 4 + ["test"] * 4 + ["anomaly"] * 4


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of two brightnesses, one for each class; anomalous clips are white. A test clip is no video."""
    folder = tmp_path_factory.mktemp("clips")
    clips = []
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng(number)
        low, high = (230, 256) if split == "anomaly" else ((0, 80) if number % 2 else (60, 160))
        path = folder / f"{number:02d}.mp4"
        write_video(path, [rng.integers(low, high, (24, 32, 3)).astype(np.uint8) for _ in range(6)], fps=10)
        action = "white" if split == "anomaly" else "ab"[number % 2]
        clips.append(ManifestClip(action, split, str(path), str(path), 6, 0.6, 10.0, 32, 24, "h264"))
    (folder / "broken.mp4").write_text("no video")
    clips.append(replace(clips[12], path=str(folder / "broken.mp4"), source="broken"))
    write_manifest(folder / "manifest.csv", clips)
    return folder / "manifest.csv"


@pytest.fixture
def run(manifest: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(recipe: Recipe, name: str = "run") -> Path:
        return train(recipe, manifest, tmp_path / name, cache=tmp_path / "embeddings").folder

    return run


def test_every_clip_is_scored_by_the_best_checkpoint(run: Callable[..., Path], tmp_path: Path) -> None:
    """Errors and distances against embeddings made one by one, and centroids worked out here."""
    import torch

    folder = run(FROZEN)
    found = evaluate_run(folder, cache=tmp_path / "other", planes=True)
    assert [failure.source.rpartition("/")[2] for failure in found.failures] == ["broken.mp4"]
    assert found.counts() == {"train": 8, "validation": 4, "test": 4, "anomaly": 4}
    assert found.classes == ("a", "b")
    backbone = build_backbone(FROZEN.backbone, window_seconds=None)
    assert isinstance(backbone, ClipBackbone)
    windows = [backbone.whole(sample_clip(clip.path, frames=3, fps=None)) for clip in found.clips]
    rows = np.concatenate([backbone.embed_windows([window]).vector for window in windows])
    state = torch.load(RunFolder(folder).best, weights_only=True)["state_dict"]
    scorer = AutoencoderScorer(hidden=(8, 4)).restore(
        {k.removeprefix("autoencoder."): v.numpy() for k, v in state.items()}, {"columns": 48}
    )
    np.testing.assert_allclose([clip.error for clip in found.clips], scorer.score(rows), rtol=1e-5)
    network: Any = scorer._network
    with torch.inference_mode():
        latents = torch.nn.Sequential(*list(network)[:5])(torch.from_numpy(rows)).numpy()
    assert latents.shape == (20, 4)
    for space, x in (("embedding", rows), ("latent", latents)):
        for place, action in enumerate(found.classes):
            centre = x[[(c.split, c.action) == ("train", action) for c in found.clips]].mean(0)
            np.testing.assert_allclose(
                [clip.distances[space][place] for clip in found.clips], np.linalg.norm(x - centre, axis=1), rtol=1e-4
            )
    assert [plane.places.shape for plane in found.planes] == [(20, 2)] * 2
    again = evaluate_run(folder, cache=tmp_path / "other")
    np.testing.assert_array_equal(again.planes[0].places, found.planes[0].places)
    best = RunFolder(folder).record()["best_validation_loss"]
    assert found.scores("error", "validation").mean() == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(("epochs", "from_epoch", "kept"), [(3, 0, True), (4, 3, False)])
def test_a_fine_tuned_backbone_is_that_of_the_checkpoint(
    run: Callable[..., Path], tmp_path: Path, epochs: int, from_epoch: int, kept: bool
) -> None:
    """The validation clips have the error that training said, with what the backbone had learned by the best epoch. A
    backbone that was best before it learned is taken as it was. (By `detached`: the loss of `anchor` is more than an
    error.)
    """
    rate = replace(TUNED.optimiser, learning_rate=0.003 if kept else 0.05)
    tuned = FineTune(3, from_epoch, target="detached")
    folder = run(replace(TUNED, epochs=epochs, fine_tune=tuned, optimiser=rate))
    record = RunFolder(folder).record()
    if not kept:
        assert record["best_epoch"] < from_epoch  # else this tests nothing
    found = evaluate_run(folder, cache=tmp_path / "embeddings", planes=False)
    assert found.scores("error", "validation").mean() == pytest.approx(record["best_validation_loss"], rel=1e-3)
    assert (folder / "backbone.safetensors").exists() == kept
    assert (found.untrained, found.backbone) == (True, "learning_backbone:Learning (untrained backbone)")


def test_the_command(run: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = run(TUNED)
    oddwatch = Runner(capsys)
    ran = oddwatch("evaluate", "run", folder, "--threshold", "5", "--json")
    assert ran.code == 1
    assert "broken.mp4" in ran.err
    found = json.loads(ran.out)
    assert found["clips"]["test"] == 4
    assert found["thresholds"][0]["kind"] == "given"
    out = folder / "evaluation"
    names = {"clips.csv", "evaluation.json", "figures", "report.html"}
    assert {path.name for path in out.iterdir()} == names
    assert len(list((out / "figures").iterdir())) == 9
    with (out / "clips.csv").open(newline="") as file:
        assert all("untrained backbone" in row["backbone"] for row in csv.DictReader(file))
    ran = oddwatch("evaluate", "run", folder, "--out", "elsewhere")
    rows = [line for line in ran.out.splitlines() if "distance," in line or line.split()[:1] in (["error"], ["run"])]
    assert len(rows) == 3 * 3 + 3 * 2 + 1
    assert all("untrained backbone" in row for row in rows if " chosen " not in row)
    assert {path.name for path in Path("elsewhere").iterdir()} == names
    for arguments, says in (
        (["nowhere"], "nowhere is no run: it has no run.json"),
        ([folder, "--false-alarms", "2/day"], "a clip has no clock"),
        ([folder, "--out", tmp_path / "elsewhere" / "clips.csv"], "is a file: give a folder"),
    ):
        ran = oddwatch("evaluate", "run", *arguments)
        assert ran.code != 0
        assert says in ran.err
        assert ran.err.count("\n") == 1
    run_folder = RunFolder(folder)
    run_folder.write({**run_folder.record(), "state": "running"})
    with pytest.raises(RunError, match="is not finished"):
        evaluate_run(folder, cache=tmp_path / "embeddings")


def test_compare(run: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What is evaluated already is taken as it is, unless the run has another checkpoint by now."""
    frozen, tuned = run(FROZEN, "frozen"), run(TUNED, "tuned")
    oddwatch = Runner(capsys)
    ran = oddwatch("compare", frozen, tuned, frozen, tmp_path / "nothing", "--out", "side")
    assert ran.code == 1
    assert "nothing is no run" in ran.err
    with (tmp_path / "side" / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["frozen", "tuned"]
    assert "untrained backbone" in rows[1]["backbone"]
    assert (tmp_path / "side" / "figures" / "runs-errors.png").stat().st_size > 10_000
    kept = frozen / "evaluation" / "clips.csv"
    text = kept.read_text()
    kept.write_text(text.replace("train", "test"))  # seen if it is taken, gone if it is made anew
    ran = oddwatch("compare", frozen, "--out", "side", "--json")
    assert json.loads(ran.out)["runs"][0]["clips"]["test"] == 12
    RunFolder(frozen).best.write_bytes(RunFolder(frozen).last.read_bytes() + b" ")
    oddwatch("compare", frozen, "--out", "side")
    assert kept.read_text().count(",test,") == 4
    assert oddwatch("compare", tmp_path / "nothing", "--out", "side").code == 1


def test_the_published_configurations_are_those_in_configs() -> None:
    from oddwatch.config.train import checked, read_config

    for name, values in CONFIGURATIONS.items():
        assert checked(dict(values), {}, of=name) == read_config(CONFIGS / f"timesformer-{name}.yaml")


NAME = "timesformer"
ASKED: dict[str, Any] = {
    "backbone": NAME,
    "options": SMALL[NAME],
    "autoencoder": {"hidden": [512, 256, 128], "dropout": 0.3},
    "data": {"workers": 1},
    "seed": 42,
}


def published(hidden: tuple[int, ...] = (60, 30), prefix: str = "base_model.base_model.") -> tuple[dict[str, Any], Any]:
    """A state dict under names like the author's, of a small network, and the autoencoder that is in it."""
    import torch

    network = small(NAME, seed=5).network
    state = {prefix + k.removeprefix("timesformer."): v for k, v in network.state_dict().items() if "classif" not in k}
    torch.manual_seed(3)
    scorer = AutoencoderScorer(hidden=hidden, epochs=1).fit(torch.randn(16, 768).numpy())
    layers: Any = scorer._network
    linear = [layer for layer in layers if hasattr(layer, "in_features")]
    n = len(hidden)
    for i, layer in enumerate(linear):
        name = f"encoder.layer_{i + 1}" if i < n else f"decoder.layer_{2 * n - i}"
        state |= {f"{name}.{k}": v for k, v in layer.state_dict().items()}
    state |= {f"encoder.batchNorm1.{k}": v for k, v in layers[0].state_dict().items()}
    return state, scorer


@pytest.mark.parametrize(
    ("hidden", "prefix"), [((60, 30), "base_model.base_model."), ((50, 40, 20), "module.timesformer."), ((9,), "")]
)
def test_a_published_checkpoint(tmp_path: Path, hidden: tuple[int, ...], prefix: str) -> None:
    import torch

    state, scorer = published(hidden, prefix)
    left_out = ["head.weight", "module.classifier.weight", "module.classifier.bias"]
    state |= dict(zip(left_out, (torch.zeros(3), torch.zeros(400, 768), torch.zeros(400)), strict=True))
    torch.save({"model": state, "epoch": 3, "best": np.float64(1.5)}, tmp_path / "best.pth")
    best, unused = load_checkpoint(tmp_path / "best.pth", ASKED, tmp_path / "out")
    assert unused == left_out
    assert best.asked["autoencoder"]["hidden"] == list(hidden)
    rows = np.random.default_rng(0).normal(size=(5, 768)).astype(np.float32)
    np.testing.assert_array_equal(best.scorer.score(rows), scorer.score(rows))
    clip = np.random.default_rng(1).normal(size=(1, 4, 32, 32, 3)).astype(np.float32)
    backbone = best.backbone
    assert isinstance(backbone, ClipBackbone)
    np.testing.assert_array_equal(backbone.embed(clip)[0], small(NAME, seed=5).embed(clip)[0])


def test_a_checkpoint_that_does_not_fit_says_what(tmp_path: Path) -> None:
    import torch

    state, _ = published()
    path, first = tmp_path / "best.pth", next(iter(state))

    def refused(changed: Any) -> str:
        torch.save(changed, path)
        with pytest.raises(WeightsError) as raised:
            load_checkpoint(path, ASKED, tmp_path / "out")
        return str(raised.value)

    short = {k: v for k, v in state.items() if k != first}
    assert "holds no timesformer: of " in refused(short)
    assert "1 are missing (timesformer.embeddings" in refused(short)
    assert "1 are of another shape (timesformer.embeddings" in refused({**state, first: torch.zeros(2)})
    without = {k: v for k, v in state.items() if k != "encoder.layer_2.weight"}
    assert "holds no autoencoder of 768 values" in refused(without)
    assert "decoder.layer_1.bias is missing" in refused({k: v for k, v in state.items() if k != "decoder.layer_1.bias"})
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(WeightsError):
        load_checkpoint(path, ASKED, tmp_path / "out")
    with pytest.raises(WeightsError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pth", ASKED, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def ucf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of each of two normal classes, one of each anomalous one."""
    root = tmp_path_factory.mktemp("ucf")
    kinds = {"Diving-Side": 4, "Run-Side": 4, "Lifting": 1, "SkateBoarding-Front": 1, "Walk-Front": 1}
    for kind, count in kinds.items():
        for number in range(count):
            (root / kind / f"{number:03d}").mkdir(parents=True)
            rng = np.random.default_rng(len(kind) * 10 + number)
            images = [rng.integers(0, 256, (24, 32, 3)).astype(np.uint8) for _ in range(12)]
            write_video(root / kind / f"{number:03d}" / "a.avi", images, fps=10)
    return root


def test_reproduce(ucf: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any) -> None:
    import torch

    monkeypatch.setenv("ODDWATCH_OFFLINE", "1")
    oddwatch = Runner(capsys)
    ran = oddwatch("reproduce", ucf, "--out", "none")
    assert ran.code == 1
    assert "no weights for timesformer: ODDWATCH_OFFLINE is set" in ran.err
    assert not Path("none").exists()
    small_one = [
        *("--set", f"backbone.options={json.dumps(SMALL[NAME])}", "--set", "epochs=2", "--set", "data.scale_px=null"),
        *("--set", "data.clips_per_class=0", "--set", "fine_tune.from_epoch=1"),
    ]
    ran = oddwatch("reproduce", ucf, "--out", "again", "--weights", "random", *small_one, "--json")
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)["table"]
    ours = [row for row in rows if row["whose"] != "published"]
    assert [row["threshold"] for row in rows if row["whose"] == "published"] == ["601.0435", "315.4851"]
    assert [(row["configuration"][-2:], row["threshold"]) for row in ours if "published" in row["whose"]] == [
        *(("V1", "601.0435"), ("V2", "315.4851"))
    ]
    assert len(ours) == 6
    assert all("untrained backbone" in row["backbone"] for row in ours)
    with Path("again/reproduction.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    # The same folder again goes on with what is there.
    before = RunFolder(Path("again/timesformer-v2")).best.read_bytes()
    assert oddwatch("reproduce", ucf, "--out", "again", "--weights", "random", *small_one).code == 0
    assert RunFolder(Path("again/timesformer-v2")).best.read_bytes() == before

    torch.save({"model": {**published()[0], "head.bias": torch.zeros(2)}}, tmp_path / "best.pth")
    given = ("reproduce", ucf, "--out", "theirs", "--checkpoint", tmp_path / "best.pth", *small_one)
    ran = oddwatch(*given)
    assert (ran.code, "say which with --configuration" in ran.err) == (2, True)
    ran = oddwatch(*given, "--configuration", "v2")
    assert ran.code == 0, ran.err
    assert "left out, for they belong neither to backbone nor autoencoder: head.bias" in ran.err
    assert "315.4851" in ran.out
    found = read_evaluation(Path("theirs/timesformer-v2/evaluation"))
    assert found is not None
    assert found.counts() == {"train": 2, "validation": 2, "test": 4, "anomaly": 3}
    assert found.best_epoch is None
