"""Where metrics go besides metrics.csv: offline, resumed by id, and never in the way of a training."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import Runner
from small_runs import FROZEN, write_clips

from oddwatch.errors import DatasetError, MissingExtraError, TrackerError
from oddwatch.finetune import Recipe, Tracker, Trained, train
from oddwatch.finetune.folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def tracked(name: Any, **options: Any) -> Recipe:
    return replace(FROZEN, epochs=2, tracker=Tracker(name, **options))


def losses(done: Trained) -> list[float]:
    return [float(row["train_loss"]) for row in done.metrics]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Addresses that this process tried to reach, other than of itself."""
    tried: list[Any] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            tried.append(address)
            raise ConnectionRefusedError
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried


def test_wandb_stays_here_and_goes_on_by_its_id(
    manifest: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], no_network: list[Any]
) -> None:
    run = tmp_path / "run"
    done = train(tracked("wandb", project="doors"), manifest, run, cache=cache)
    first = RunFolder(run).record()["tracker"]
    longer = replace(tracked("wandb", project="doors"), epochs=3)
    time.sleep(1.0)  # its folders are named by the second
    again = train(longer, manifest, run, cache=cache, resume=True)
    assert RunFolder(run).record()["tracker"] == first
    assert first["name"] == "wandb"
    assert losses(again)[:2] == losses(done)
    files = sorted(run.glob(f"wandb/offline-run-*-{first['run']}/run-{first['run']}.wandb"))
    for file, logged in zip(files, (losses(done), losses(again)[2:]), strict=True):
        data = file.read_bytes()
        assert b"doors" in data
        numbers = [float(number) for number in re.findall(rb"\d+\.\d{4,}", data)]
        assert all(any(number == pytest.approx(loss, rel=1e-5) for number in numbers) for loss in logged)
    assert no_network == []
    assert "WANDB_MODE" not in os.environ
    assert "wandb" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("store", ["sqlite:///{}/mlflow.db", "{}/mlruns"])
def test_mlflow_keeps_to_one_run(
    manifest: Path, cache: Path, tmp_path: Path, store: str, no_network: list[Any]
) -> None:
    from mlflow.tracking import MlflowClient

    uri = store.format(tmp_path)
    done = train(tracked("mlflow", uri=uri), manifest, tmp_path / "run", cache=cache)
    kept = RunFolder(tmp_path / "run").record()["tracker"]
    client = MlflowClient(uri)
    history = [metric.value for metric in client.get_metric_history(kept["run"], "train_loss")]
    assert history == pytest.approx(losses(done), rel=1e-5)
    found = client.get_run(kept["run"])
    assert found.info.status == "FINISHED"
    assert found.data.params["autoencoder/hidden"] == "(8, 4)"
    if store.startswith("sqlite"):
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            assert database.execute("select count(*) from metrics").fetchone()[0] > 0
    else:
        longer = replace(tracked("mlflow", uri=uri), epochs=3)
        again = train(longer, manifest, tmp_path / "run", cache=cache, resume=True)
        assert RunFolder(tmp_path / "run").record()["tracker"] == kept
        history = [metric.value for metric in client.get_metric_history(kept["run"], "train_loss")]
        assert history == pytest.approx(losses(again), rel=1e-5)
    assert no_network == []


def test_an_unreachable_tracker_is_said_before_any_work(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(TrackerError, match=r"tracker mlflow cannot be used: .*\(check its address.*--tracker\)"):
            train(tracked("mlflow", uri=uri), manifest, tmp_path / "run", cache=tmp_path / "cache")
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / "none"))
        with pytest.raises(TrackerError, match="tracker wandb cannot be used: "):
            train(tracked("wandb", online=True), manifest, tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    assert train(tracked("none"), manifest, tmp_path / "run", cache=tmp_path / "cache").epochs == 2


def test_a_run_that_fails_is_said_to_have(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the first epoch; the same tracker's run goes on when it is resumed."""
    from mlflow.tracking import MlflowClient

    def broken(*_: Any, **__: Any) -> None:
        raise DatasetError("the video is gone")

    recipe, uri = tracked("mlflow", uri=str(tmp_path / "mlruns")), str(tmp_path / "mlruns")
    with monkeypatch.context() as patched:
        patched.setattr("oddwatch.finetune.training.embed_views", broken)
        with pytest.raises(DatasetError):
            train(recipe, manifest, tmp_path / "run", cache=tmp_path / "cache")
    kept = RunFolder(tmp_path / "run").record()["tracker"]["run"]
    assert MlflowClient(uri).get_run(kept).info.status == "FAILED"
    train(recipe, manifest, tmp_path / "run", cache=tmp_path / "cache", resume=True)
    assert MlflowClient(uri).get_run(kept).info.status == "FINISHED"


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_tracker_that_fails_later_does_not_stop_the_training(
    manifest: Path, cache: Path, tmp_path: Path, name: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    from oddwatch.torch_compat import import_torchvision

    import_torchvision()
    from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger

    logger: Any = {"tensorboard": TensorBoardLogger, "mlflow": MLFlowLogger}[name]
    monkeypatch.setattr(logger, "log_metrics", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    uri = str(tmp_path / "mlruns") if name == "mlflow" else None
    with caplog.at_level(logging.WARNING):
        done = train(tracked(name, uri=uri), manifest, tmp_path / "run", cache=cache)
    assert done.epochs == len(losses(done)) == 2
    said = [record.getMessage() for record in caplog.records if record.name.startswith("oddwatch")]
    assert said == [
        f"tracker {name} cannot be written any more: [Errno 28] No space left on device "
        "(training goes on; metrics.csv has every epoch)"
    ]


def test_a_tracker_that_is_not_installed(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from oddwatch.torch_compat import import_torchvision

    import_torchvision()
    import oddwatch.finetune.trackers  # noqa: F401 - which imports what is looked for otherwise

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'tracker wandb needs wandb: pip install "oddwatch\[wandb\]"'):
        train(tracked("wandb"), manifest, tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


def test_the_command(capsys: pytest.CaptureFixture[str], manifest: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "backbone: {name: 'mean_backbone:MeanPicture', weights: null}\nautoencoder: {hidden: [8, 4]}\n"
        f"data: {{batch_size: 4}}\nout: run\nepochs: 1\nmanifest: {manifest}\ncache: {cache}\n"
    )
    oddwatch = Runner(capsys)
    ran = oddwatch("train", "c.yaml", "--tracker", "none")
    assert ran.code == 0, ran.err
    assert not (tmp_path / "run" / "tensorboard").exists()
    ran = oddwatch("train", "c.yaml", "--tracker", "comet")
    assert (ran.code, ran.err) == (
        2,
        "oddwatch: c.yaml: tracker.name is 'comet', it must be tensorboard, wandb, mlflow, none\n",
    )
    secret = "http://me:hunter2@host"
    ran = oddwatch("train", "c.yaml", "--tracker", "mlflow", "--set", f"tracker.uri={secret}", "--out", "other")
    assert ran.code == 2
    assert "tracker.uri holds a user name or password" in ran.err
    assert "hunter2" not in ran.err + ran.out
