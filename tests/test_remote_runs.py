"""A run folder on S3: a real server on this machine, spoken to as any other."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from command_line import Runner
from learning_backbone import Learning
from small_runs import FROZEN, write_clips

from oddwatch.backbones import build_backbone
from oddwatch.detector import Detector
from oddwatch.errors import OddwatchError, RunError, UsageError
from oddwatch.export import export_run
from oddwatch.files import holds_password, local_copy, place, write_bytes
from oddwatch.finetune import FineTune, Tracker, train
from oddwatch.finetune.folder import RunFolder

SECRET = "wJalrXUtnFEMI-secret"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system that holds s3://bucket, empty."""
    import fsspec
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # what it holds outlives it
    for name, value in {
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_CONFIG_FILE": "none",
        "AWS_SHARED_CREDENTIALS_FILE": "none",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # they remember another server
    files = fsspec.filesystem("s3", use_listings_cache=False)
    files.mkdir("bucket")
    yield files
    server.stop()


@pytest.mark.slow
def test_a_run_on_s3_is_a_run(
    bucket: Any, manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stopped, resumed, exported: as in a folder."""
    here = train(FROZEN, manifest, tmp_path / "here", cache=tmp_path / "cache", config="a: 1\n")
    train(replace(FROZEN, epochs=2), manifest, "s3://bucket/runs/one", cache=tmp_path / "cache", config="a: 1\n")
    there = train(FROZEN, manifest, "s3://bucket/runs/one", cache=tmp_path / "cache", resume=True)
    assert [{**row, "seconds": ""} for row in there.metrics] == [{**row, "seconds": ""} for row in here.metrics]
    names = {name.removeprefix("bucket/runs/one/") for name in bucket.find("bucket")}
    events = {name for name in names if name.startswith("tensorboard/events.")}
    assert len(events) == 2
    assert names - events == {
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "config.yaml",
        "manifest.csv",
        "metrics.csv",
        "run.json",
        "tensorboard/hparams.yaml",
    }
    assert json.loads(bucket.cat("bucket/runs/one/run.json"))["state"] == "finished"
    with pytest.raises(RunError, match="s3://bucket/runs/one holds a run already: go on with --resume"):
        train(FROZEN, manifest, "s3://bucket/runs/one", cache=tmp_path / "cache")
    for run, out in ((tmp_path / "here", "a"), ("s3://bucket/runs/one", "b")):
        export_run(run, tmp_path / out, cache=tmp_path / "cache")
    a, b = (Detector.load(tmp_path / name) for name in "ab")
    assert a.clip_threshold().value == b.clip_threshold().value
    assert not (tmp_path / "s3:").exists()
    said = caplog.text + "".join(capfd.readouterr())
    everything = said + "".join(str(bucket.cat(name)) for name in bucket.find("bucket"))
    assert SECRET not in everything


@pytest.mark.slow
def test_a_backbone_that_learned_is_exported_beside_its_detector(bucket: Any, manifest: Path, tmp_path: Path) -> None:
    tuned = replace(
        FROZEN,
        backbone="learning_backbone:Learning",
        options={"weights": "random"},
        epochs=2,
        fine_tune=FineTune(3, from_epoch=0),
        tracker=Tracker("none"),
    )
    train(tuned, manifest, "s3://bucket/run", cache=tmp_path / "cache")
    export_run("s3://bucket/run", tmp_path / "detector", cache=tmp_path / "cache")
    learned = Detector.load(tmp_path / "detector").backbone
    assert isinstance(learned, Learning)
    assert learned.weights_file() == tmp_path / "detector-backbone.safetensors"
    before = build_backbone("learning_backbone:Learning", weights="random")
    assert isinstance(before, Learning)
    a, b = learned.network.state_dict(), before.network.state_dict()
    assert [name for name in a if not a[name].equal(b[name])] == list(RunFolder("s3://bucket/run").record()["tensors"])


@pytest.mark.slow
def test_what_trackers_write_here_is_copied_there(bucket: Any, manifest: Path, tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("oddwatch-run-*"))
    recipe = replace(FROZEN, epochs=2, tracker=Tracker("wandb"))
    train(recipe, manifest, "s3://bucket/run", cache=tmp_path / "cache")
    run = RunFolder("s3://bucket/run").record()["tracker"]["run"]
    (kept,) = [name for name in bucket.find("bucket/run/wandb") if name.endswith(f"-{run}/run-{run}.wandb")]
    assert b"train_loss" in bucket.cat(kept)
    assert set(Path(tempfile.gettempdir()).glob("oddwatch-run-*")) == before


@pytest.mark.slow
def test_what_cannot_be_used(
    bucket: Any, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(out: str) -> str:
        with pytest.raises(OddwatchError) as raised:
            train(replace(FROZEN, tracker=Tracker("none")), manifest, out, cache=tmp_path / "cache")
        return str(raised.value)

    assert refused("s3://none/run") == (
        "s3://none/run/manifest.csv cannot be written: The specified bucket does not exist (check the address and that "
        "you may write there)"
    )
    bucket.pipe_file("bucket/full/thesis.txt", b"x")
    assert refused("s3://bucket/full").startswith("s3://bucket/full is not empty and holds no run")
    bucket.pipe_file("bucket/damaged/run.json", b"{")
    assert "run.json is damaged" in refused("s3://bucket/damaged")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    type(bucket).clear_instance_cache()
    assert "Unable to locate credentials" in refused("s3://bucket/run")
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("s3://me:hunter2@bucket/run", "leave user name and password out of the address"),
        ("sftp://me:hun/ter2@host/run", "leave user name and password out of the address"),
        ("what://bucket/run", "what:// is no kind of address that fsspec knows"),
        ("gs://bucket/run", r"gs:// needs a package for it \(Please install gcsfs"),
    ],
)
def test_addresses_that_are_refused(address: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        place(address)
    assert "hun" not in str(raised.value)


def test_a_command_that_wants_a_folder_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Runner(capsys)("evaluate", "run", "s3://bucket/run")
    says = "oddwatch: s3://bucket/run: only a folder of this machine can be read here: copy it first\n"
    assert (ran.code, ran.err) == (2, says)


def test_a_place_is_used_like_a_path(tmp_path: Path) -> None:
    assert place(str(tmp_path)) == place(f"file://{tmp_path}") == tmp_path
    there = place("memory://store/run") / "a" / "b.bin"
    write_bytes(there, b"12")
    write_bytes(there, b"3")
    assert (there.read_bytes(), str(there), place(there) is there) == (b"3", "memory://store/run/a/b.bin", True)
    with local_copy(there) as copy:
        assert copy.read_bytes() == b"3"
    assert not copy.exists()
    assert not holds_password("s3://bucket/a@b:c/run")
