"""Training: what learns and what does not, runs that go on where they were, schedules, and the collapse of the loss."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner, start
from learning_backbone import Learning
from mean_backbone import MeanPicture
from small_backbones import SMALL, small
from small_disk import no_file_above
from video_files import write_video

from oddwatch.backbones import build_backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.datasets.manifest import ManifestClip, write_manifest
from oddwatch.embed import EmbeddingCache
from oddwatch.errors import DatasetError, RunError, UsageError, WeightsError
from oddwatch.files import write_bytes
from oddwatch.finetune import Autoencoder, Data, FineTune, Optimiser, Recipe, Trained, Trainer, train
from oddwatch.finetune.clips import clips_of, views_of
from oddwatch.finetune.embeddings import embed_views
from oddwatch.finetune.folder import RunFolder

pytestmark = pytest.mark.slow

LEARNING = "learning_backbone:Learning"
MEAN = "mean_backbone:MeanPicture"
SMALL_NETWORK = Autoencoder((8, 4))
FROZEN = Recipe(MEAN, epochs=4, autoencoder=SMALL_NETWORK, data=Data(batch_size=4))
TUNED = Recipe(
    LEARNING,
    {"weights": "random"},
    epochs=6,
    autoencoder=SMALL_NETWORK,
    data=Data(batch_size=4),
    optimiser=Optimiser(schedule="step", step_size=4),
    fine_tune=FineTune(3, from_epoch=2),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of two classes to train with, four to validate."""
    folder = tmp_path_factory.mktemp("clips")
    clips = []
    for number in range(14):
        rng = np.random.default_rng(number)
        images = [rng.integers(0, 256, (24, 32, 3)).astype(np.uint8) for _ in range(6)]
        path = folder / f"{number}.mp4"
        write_video(path, images, fps=10)
        split = "train" if number < 10 else "validation"
        clips.append(ManifestClip("ab"[number % 2], split, str(path), str(path), 6, 0.6, 10.0, 32, 24, "h264"))
    write_manifest(folder / "manifest.csv", clips)
    return folder / "manifest.csv"


@pytest.fixture
def run(manifest: Path, tmp_path: Path) -> Callable[..., Trained]:
    def run(recipe: Recipe, out: str = "run", **options: Any) -> Trained:
        return train(recipe, manifest, tmp_path / out, cache=tmp_path / "cache", **options)

    return run


def state(path: Path) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = torch.load(path, weights_only=True)["state_dict"]
    return found


def column(trained: Trained, name: str) -> list[float]:
    return [float(row[name]) for row in trained.metrics]


def test_a_frozen_run(run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(FROZEN, config="a: 1\n")
    assert (done.epochs, done.clips, done.tensors) == (4, {"train": 10, "validation": 4}, ())
    assert column(done, "train_loss")[-1] < column(done, "train_loss")[0]
    assert done.best_loss == pytest.approx(min(column(done, "validation_loss")), rel=1e-5)
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    best, last = (tmp_path / "run" / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    assert best.samefile(last) == (done.best_epoch == done.epochs - 1)
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    assert (tmp_path / "run" / "config.yaml").read_text() == "a: 1\n"
    assert len(clips_of(tmp_path / "run" / "manifest.csv")) == 14
    record = RunFolder(tmp_path / "run").record()
    assert (record["state"], record["best_epoch"], record["untrained"]) == ("finished", done.best_epoch, False)
    # The next run finds every embedding, and gives the same.
    monkeypatch.setattr(MeanPicture, "embed", None)
    again = run(FROZEN, "again")
    assert [{**row, "seconds": ""} for row in again.metrics] == [{**row, "seconds": ""} for row in done.metrics]


def test_validation_loss_is_that_of_the_checkpoint(run: Callable[..., Trained], tmp_path: Path, manifest: Path) -> None:
    """Worked out by the scorer, from embeddings made in another way."""
    from oddwatch.scorers.autoencoder import AutoencoderScorer

    done = run(FROZEN)
    backbone = build_backbone(MEAN, window_seconds=None)
    assert isinstance(backbone, ClipBackbone)
    views = views_of(clips_of(manifest), "validation", 0, FROZEN.data, 0)
    rows = backbone.embed_windows([view.pixels(backbone) for view in views]).vector
    arrays = {k.removeprefix("autoencoder."): v.numpy() for k, v in state(RunFolder(done.folder).best).items()}
    scorer = AutoencoderScorer(hidden=(8, 4)).restore(arrays, {"columns": 48})
    assert scorer.score(rows).mean() == pytest.approx(done.best_loss, rel=1e-5)


def test_augmented_views_are_embedded_once_and_are_others(manifest: Path, tmp_path: Path) -> None:
    backbone = build_backbone(MEAN, window_seconds=None)
    assert isinstance(backbone, ClipBackbone)
    cache = EmbeddingCache(tmp_path / "cache")
    clips = clips_of(manifest)
    views = views_of(clips, "train", 15, Data(scale_px=(4, 8)), seed=1)
    assert [view.number for view in views[:4]] == [0, 1, 2, 0]
    rows = embed_views(views, backbone, cache, workers=2)
    assert len({row.tobytes() for row in rows}) == len(views) == 30
    assert len(cache.entries()) == 30
    plain = views_of(clips, "train", 0, Data(), seed=9)
    np.testing.assert_array_equal(embed_views(plain, backbone, cache, workers=1), rows[::3])
    assert len(cache.entries()) == 30
    other = views_of(clips, "train", 15, Data(scale_px=(4, 8)), seed=2)
    assert not (embed_views(other, backbone, cache, workers=2)[1::3] == rows[1::3]).all(axis=1).any()
    fresh = embed_views(views, backbone, EmbeddingCache(tmp_path / "other"), workers=1)
    np.testing.assert_array_equal(fresh, rows)


@pytest.mark.parametrize("tensors", [3, pytest.param("all", marks=pytest.mark.slow)])
def test_only_what_was_asked_for_learns(run: Callable[..., Trained], tensors: Any) -> None:
    """Everything else is bit-identical, the statistics of BatchNorm of what learns too; and so is the backbone."""
    import torch

    done = run(replace(TUNED, fine_tune=FineTune(tensors, from_epoch=2)))
    backbone = build_backbone(LEARNING, weights="random")
    assert isinstance(backbone, Learning)
    names = [name for name, _ in backbone.backbone_parameters()]
    assert len(names) == 9
    assert list(done.tensors) == (names[-3:] if tensors == 3 else names)
    learned = {k.removeprefix("backbone."): v for k, v in state(RunFolder(done.folder).last).items() if "backbone" in k}
    assert list(learned) == list(done.tensors)
    before = backbone.network.state_dict()
    assert not any(torch.equal(value, before[name]) for name, value in learned.items())
    assert column(done, "tensors_learning") == [0, 0] + [len(done.tensors)] * 4


@pytest.mark.slow
def test_what_does_not_learn_is_bit_identical(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from oddwatch.torch_compat import import_torchvision

    import_torchvision()
    from oddwatch.finetune import module

    made: list[Any] = []
    monkeypatch.setattr(module.Learner, "on_fit_end", lambda self: made.append(self))
    done = train(TUNED, manifest, tmp_path / "run", cache=tmp_path / "cache")
    after = made[0].backbone.state_dict()
    backbone = build_backbone(LEARNING, weights="random")
    assert isinstance(backbone, Learning)
    before = backbone.network.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == list(done.tensors)
    assert sum("running" in name for name in before) == 6


@pytest.mark.slow
@pytest.mark.parametrize("variational", [False, True])
def test_a_stopped_run_goes_on_as_if_it_had_not(run: Callable[..., Trained], tmp_path: Path, variational: bool) -> None:
    import torch

    network = replace(SMALL_NETWORK, variational=variational)
    recipe = replace(TUNED, autoencoder=network, optimiser=Optimiser(schedule="plateau", patience=0))
    whole = run(recipe, "whole")
    run(replace(recipe, epochs=4), "parts")
    done = run(recipe, "parts", resume=True)
    for kept in ("best.ckpt", "last.ckpt"):
        a, b = (torch.load(tmp_path / name / "checkpoints" / kept, weights_only=True) for name in ("whole", "parts"))
        assert all(torch.equal(value, b["state_dict"][name]) for name, value in a["state_dict"].items())
        assert (a["schedule"], a["epoch"]) == (b["schedule"], b["epoch"])
    assert (done.best_epoch, done.best_loss) == (whole.best_epoch, whole.best_loss)
    assert [{**row, "seconds": ""} for row in done.metrics] == [{**row, "seconds": ""} for row in whole.metrics]


def rates(name: str, losses: list[float]) -> list[float]:
    """What the learning rate should be, worked out here: 0.1 at first, step_size 2, gamma 0.5, patience 0."""
    n, rate, best, found = len(losses), 0.1, math.inf, []
    for epoch, loss in enumerate(losses):
        found.append(
            {
                "step": 0.1 * 0.5 ** (epoch // 2),
                "cosine": 0.05 * (1 + math.cos(math.pi * epoch / n)),
                "restarts": 0.05 * (1 + math.cos(math.pi * (epoch % 2) / 2)),
                "none": 0.1,
                "plateau": rate,
            }[name]
        )
        rate, best = (rate if loss < best * (1 - 1e-4) else rate / 2), min(best, loss)
    return found


@pytest.mark.parametrize("name", ["step", "plateau", "cosine", "restarts", "none"])
def test_schedules(run: Callable[..., Trained], name: Any) -> None:
    optimiser = Optimiser(learning_rate=0.1, schedule=name, step_size=2, gamma=0.5, patience=0)
    done = run(replace(FROZEN, epochs=6, optimiser=optimiser))
    found = column(done, "learning_rate")
    assert found == pytest.approx(rates(name, column(done, "validation_loss")), rel=1e-4)
    assert (len(set(found)) > 1) == (name != "none")


def test_early_stopping(run: Callable[..., Trained]) -> None:
    diverging = replace(FROZEN, epochs=30, optimiser=Optimiser(learning_rate=3.0), trainer=Trainer(patience=2))
    done = run(diverging)
    losses = column(done, "validation_loss")
    assert len(losses) == int(np.argmin(losses)) + 1 + 2 < 30
    assert done.best_epoch == int(np.argmin(losses))


@pytest.mark.slow
def test_clipping_and_accumulation_change_what_is_learned(run: Callable[..., Trained]) -> None:
    usual, clipped, accumulated = (
        run(replace(FROZEN, optimiser=optimiser), name)
        for name, optimiser in (("a", Optimiser()), ("b", Optimiser(clip_norm=1e-9)), ("c", Optimiser(accumulate=3)))
    )
    losses = [column(done, "train_loss")[-1] for done in (usual, clipped, accumulated)]
    assert len(set(losses)) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "low", "high"),
    [
        ("published", 0.0, 0.25),
        ("detached", 0.5, math.inf),
        ("anchor", 0.3, 3.0),
    ],
)
def test_the_published_target_alone_makes_embeddings_collapse(
    run: Callable[..., Trained], target: Any, low: float, high: float
) -> None:
    """What is left of the variance of the embeddings after learning; `anchor` holds it from both sides."""
    tuned = FineTune("all", from_epoch=1, target=target)
    optimiser = Optimiser(learning_rate=0.003, schedule="none")
    variance = column(run(replace(TUNED, epochs=8, optimiser=optimiser, fine_tune=tuned)), "embedding_variance")
    assert low < variance[-1] / variance[0] < high


def test_a_backbone_that_sees_streams(run: Callable[..., Trained]) -> None:
    done = run(Recipe("motion", epochs=2, autoencoder=SMALL_NETWORK))
    assert (done.backbone, done.epochs, done.tensors) == ("motion", 2, ())


def test_a_run_folder_is_used_once(run: Callable[..., Trained], tmp_path: Path) -> None:
    run(FROZEN)
    with pytest.raises(RunError, match=r"holds a run already: go on with --resume"):
        run(FROZEN)
    with pytest.raises(RunError, match=r"has finished 4 epochs, more than 2: give --epochs 4 or more"):
        run(replace(FROZEN, epochs=2), resume=True)
    assert RunFolder(tmp_path / "run").record()["state"] != "running"
    with pytest.raises(RunError, match=r"holds a run with data\.batch_size 4, now it is 5"):
        run(replace(FROZEN, data=Data(batch_size=5)), resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        run(FROZEN, "other")
    with pytest.raises(RunError, match="holds no run to resume"):
        run(FROZEN, "nowhere", resume=True)
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        run(FROZEN, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("whole_epochs", [0, 2])
def test_a_full_disk_leaves_a_run_that_goes_on(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_epochs: int
) -> None:
    """Full for checkpoints alone, of which each epoch writes up to two."""
    done = run(FROZEN)
    full = tmp_path / "full"

    def write(path: Path, data: bytes) -> None:
        is_full = len(RunFolder(full).metrics()) > whole_epochs
        with no_file_above(8_192) if is_full else contextlib.nullcontext():
            write_bytes(path, data)

    monkeypatch.setattr("oddwatch.finetune.loop.write_bytes", write)
    says = r"(best|last)\.ckpt cannot be written: File too large \(free some space, then --resume\)"
    with pytest.raises(RunError, match=says):
        run(FROZEN, "full")
    names = sorted(path.name for path in (full / "checkpoints").iterdir())
    assert names == (["best.ckpt", "last.ckpt"] if whole_epochs else [])
    assert RunFolder(full).record()["state"] == "running"
    monkeypatch.setattr("oddwatch.finetune.loop.write_bytes", write_bytes)
    again = run(FROZEN, "full", resume=True)
    assert (again.best_loss, again.best_epoch) == (done.best_loss, done.best_epoch)
    assert [{**row, "seconds": ""} for row in again.metrics] == [{**row, "seconds": ""} for row in done.metrics]


def test_what_cannot_be_trained_is_said_before_any_work(run: Callable[..., Trained], tmp_path: Path) -> None:
    refused = {
        "has 9 parameter tensors, got 10": replace(TUNED, fine_tune=FineTune(10)),
        "nothing that could learn": replace(FROZEN, fine_tune=FineTune(1)),
        "sees whole videos: set data.clips_per_class to 0": Recipe("motion", data=Data(clips_per_class=9)),
        "motion has no weights: set backbone.weights to null": Recipe("motion", options={"weights": "random"}),
        "nothing that could learn: set": Recipe("motion", fine_tune=FineTune("all")),
        r"two lengths from 4 up, got 2 and 9": replace(FROZEN, data=Data(scale_px=(2, 9))),
    }
    for says, recipe in refused.items():
        with pytest.raises(UsageError, match=says):
            run(recipe, "refused")
        assert not (tmp_path / "refused").exists()


def test_weights_that_are_none_leave_nothing_behind(run: Callable[..., Trained], tmp_path: Path) -> None:
    (tmp_path / "junk.pth").write_text("junk")
    for recipe in (replace(TUNED, fine_tune=FineTune()), TUNED):
        with pytest.raises(WeightsError, match=r"junk\.pth (is damaged|holds)"):
            run(replace(recipe, options={"weights": str(tmp_path / "junk.pth")}), "junk")
        assert not (tmp_path / "junk").exists()


def test_a_manifest_with_a_missing_file(manifest: Path, tmp_path: Path) -> None:
    clips = clips_of(manifest)
    write_manifest(tmp_path / "m.csv", [*clips[:-1], replace(clips[-1], path=str(tmp_path / "gone.mp4"))])
    with pytest.raises(DatasetError, match=r"gone\.mp4 is not there"):
        train(FROZEN, tmp_path / "m.csv", tmp_path / "run", cache=tmp_path / "cache")
    write_manifest(tmp_path / "m.csv", clips[:10])
    with pytest.raises(DatasetError, match="0 clips to validate with, 1 are needed"):
        train(FROZEN, tmp_path / "m.csv", tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


def write_config(path: Path, manifest: Path, **more: Any) -> Path:
    """YAML takes JSON."""
    config = {
        "manifest": str(manifest),
        "out": "run",
        "backbone": {"name": LEARNING, "weights": "random"},
        "autoencoder": {"hidden": [8, 4]},
        "data": {"batch_size": 4},
        "fine_tune": {"tensors": 3, "from_epoch": 2},
        **more,
    }
    path.write_text(json.dumps(config))
    return path


def test_the_command(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path) -> None:
    oddwatch = Runner(capsys)
    config = write_config(tmp_path / "c.yaml", manifest, epochs=9)
    ran = oddwatch("train", config, "--epochs", "3", "--set", "data.batch_size=5", "--set", "fine_tune.tensors=never")
    assert ran.code == 0, ran.err
    rows = [line for line in ran.out.splitlines() if "learning_backbone" in line]
    assert len(rows) == 4
    assert all("(untrained backbone)" in row for row in rows)
    assert "batch_size: 5" in (tmp_path / "run" / "config.yaml").read_text()
    ran = oddwatch("train", tmp_path / "run" / "config.yaml", "--epochs", "4", "--resume", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["epochs"] == 4
    ran = oddwatch("train", config, "--set", "data")
    assert (ran.code, ran.err) == (2, "oddwatch: --set 'data': write KEY=VALUE, such as data.batch_size=4\n")


@pytest.mark.slow
def test_killed_after_unfreezing(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """kill -9 two epochs after the backbone began to learn, then resume: the weights of a run that was left alone."""
    import torch

    config = write_config(tmp_path / "c.yaml", manifest, epochs=20)
    oddwatch = Runner(capsys)
    whole = oddwatch("train", config, "--out", tmp_path / "whole")
    assert whole.code == 0, whole.err
    process = start("train", config, "--out", "killed", cwd=tmp_path)
    killed = RunFolder(tmp_path / "killed")
    while len(killed.metrics()) < 5:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert 5 <= len(killed.metrics()) < 20
    assert killed.record()["state"] == "running"
    resumed = oddwatch("train", config, "--out", tmp_path / "killed", "--resume")
    assert resumed.code == 0, resumed.err
    a, b = (state(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "killed"))
    assert list(a) == list(b)
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert len(killed.metrics()) == 20


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_stops_a_run_is_said(manifest: Path, tmp_path: Path, sent: int, code: int) -> None:
    config = write_config(tmp_path / "c.yaml", manifest, epochs=2000)
    process = start("train", config, "--out", "stopped", cwd=tmp_path)
    stopped = RunFolder(tmp_path / "stopped")
    while len(stopped.metrics()) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(sent)
    _, err = process.communicate()
    assert process.returncode == code
    assert "oddwatch: interrupted; finished epochs are kept in stopped, --resume goes on after them" in err
    assert 3 <= len(stopped.metrics()) < 2000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timesformer", "slowfast-r50", "r2plus1d-18"])
def test_small_networks_of_the_families(name: str, run: Callable[..., Trained]) -> None:
    """A run of each through its own network: the last tensors learn, nothing else is in the checkpoint."""
    options = {"weights": "random", **SMALL[name]}
    done = run(Recipe(name, options, epochs=2, data=Data(batch_size=4), fine_tune=FineTune(4, from_epoch=1)))
    names = [name for name, _ in small(name).backbone_parameters()]
    assert list(done.tensors) == names[-4:]
    assert [k for k in state(RunFolder(done.folder).last) if k.startswith("backbone.")] == [
        f"backbone.{n}" for n in names[-4:]
    ]
