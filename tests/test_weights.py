"""Weights: the three ways to have them, and everything that a file of them can be instead."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Runner, finish, start
from huggingface_hub import constants
from safetensors.torch import save_file
from small_disk import no_file_above
from small_videos import write

from oddwatch.backbones.pins import pins_file
from oddwatch.backbones.weights import WeightsRecord, find_weights, load_state, load_strictly
from oddwatch.errors import WeightsError

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


SLOW_TO_REFUSE = ("videomae-b", "vivit-b", "vjepa2-l", "dinov2-s", "slowfast-r50")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, with what the Hugging Face hub says about them in headers."""

    def log_message(self, *arguments: Any) -> None:
        pass

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        super().end_headers()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address that it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of our own, and a network as far as the environment says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "ODDWATCH_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def hub(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the files of the repository nobody/net on a hub of our own, which the library talks to."""
    folder, address = server
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    files = folder / "nobody" / "net" / "resolve" / "main"
    files.mkdir(parents=True)
    return files


HUB = WeightsRecord(licence="MIT", hub="nobody/net", sha256_unknown="not stated")


def record(address: str, sha256: str = "") -> WeightsRecord:
    return WeightsRecord(licence="MIT", url=f"{address}/net.pth", sha256=sha256, non_commercial=True)


def test_fetched_once_checked_and_kept(
    server: tuple[Path, str], cache: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    torch.save(STATE, folder / "net.pth")
    digest = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()
    said: list[str] = []
    path = find_weights("net", record(address, digest[:8]), "published", notice=said.append)
    assert path == cache / "net.pth"
    fetching, pinned = said
    assert fetching == f"fetching the weights of net from {address}/net.pth (licence: MIT; NOT for commercial use)"
    assert pinned.startswith(f"sha256 of {path}: {digest}, pinned in ")
    assert "100%" in capfd.readouterr().err
    (folder / "net.pth").unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_weights("net", record(address, digest[:8]), "published", notice=said.append) == path
    assert len(said) == 2
    assert path is not None
    path.write_bytes(b"other")
    with pytest.raises(WeightsError, match="not the published file for net: its sha256 begins with"):
        find_weights("net", record(address, digest[:8]), "published")


def test_what_arrives_is_not_what_was_published(server: tuple[Path, str], cache: Path) -> None:
    folder, address = server
    torch.save(STATE, folder / "net.pth")
    with pytest.raises(WeightsError, match="what arrived is not what was published"):
        find_weights("net", record(address, "0123abcd"), "published")
    assert list(cache.iterdir()) == []


def test_the_disk_of_the_cache_is_full(server: tuple[Path, str], cache: Path) -> None:
    folder, address = server
    torch.save({"weight": torch.zeros(100_000)}, folder / "net.pth")
    full = r"no weights for net: .*checkpoints is full \(.*File too large\): free some space there, or set TORCH_HOME"
    with no_file_above(10_000), pytest.raises(WeightsError, match=full):
        find_weights("net", record(address), "published")
    assert list(cache.iterdir()) == []
    assert not pins_file().exists()


def test_the_first_file_of_a_name_is_pinned(server: tuple[Path, str], cache: Path) -> None:
    """Also where it was in the cache already. A later one with other content is refused, wherever it came from."""
    folder, address = server
    cache.mkdir(parents=True)
    torch.save(STATE, cache / "net.pth")
    digest = hashlib.sha256((cache / "net.pth").read_bytes()).hexdigest()
    said: list[str] = []
    for _ in range(2):
        find_weights("net", record(address), "published", notice=said.append)
    assert said == [
        f"sha256 of {cache / 'net.pth'}: {digest}, pinned in {pins_file()}: another file of that name will be refused"
    ]
    assert json.loads(pins_file().read_text()) == {f"{address}/net.pth": digest}
    (cache / "net.pth").unlink()
    torch.save({**STATE, "bias": torch.zeros(2)}, folder / "net.pth")
    other = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()
    refused = (
        rf"net\.pth is not the file for net that was first used here: its sha256 is {other}, pinned in .* is {digest}"
    )
    for _ in range(2):  # once fetched, and once found
        with pytest.raises(WeightsError, match=refused):
            find_weights("net", record(address), "published")
    pins_file().write_text("{}")
    find_weights("net", record(address), "published")
    assert json.loads(pins_file().read_text()) == {f"{address}/net.pth": other}


def test_a_checksum_that_is_published_in_full_needs_no_pin(server: tuple[Path, str], cache: Path) -> None:
    folder, address = server
    torch.save(STATE, folder / "net.pth")
    digest = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()
    find_weights("net", record(address, digest), "published")
    assert not pins_file().exists()


def test_pins_that_cannot_be_read_or_written(server: tuple[Path, str], cache: Path) -> None:
    folder, address = server
    torch.save(STATE, folder / "net.pth")
    pins_file().parent.mkdir(parents=True)
    for content, why in (("{", "cannot be read: .*"), ("[]", "is not a table of checksums"), ('{"a": 1}', "is not a")):
        pins_file().write_text(content)
        with pytest.raises(WeightsError, match=rf"pins\.json {why}.*\(delete it: weights are then pinned anew\)"):
            find_weights("net", record(address), "published")
    pins_file().unlink()
    pins_file().parent.rmdir()
    pins_file().parent.write_text("a file where the folder should be")
    said: list[str] = []
    assert find_weights("net", record(address), "published", notice=said.append) == cache / "net.pth"
    assert ", not pinned: " in said[0]


def test_from_the_hub(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the files that is there is fetched, pinned and kept; another one on an empty cache is refused."""
    torch.save(STATE, hub / "pytorch_model.bin")
    digest = hashlib.sha256((hub / "pytorch_model.bin").read_bytes()).hexdigest()
    said: list[str] = []
    path = find_weights("net", HUB, "published", notice=said.append)
    assert path is not None
    assert path.is_relative_to(tmp_path / "hub" / "models--nobody--net")
    load_strictly(torch.nn.Linear(3, 2), path, "net")
    assert said[0] == "fetching the weights of net from nobody/net (licence: MIT)"
    assert json.loads(pins_file().read_text()) == {"nobody/net@main/pytorch_model.bin": digest}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_weights("net", HUB, "published", notice=said.append) == path
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert len(said) == 2
    torch.save({**STATE, "bias": torch.zeros(2)}, hub / "pytorch_model.bin")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another"))
    with pytest.raises(WeightsError, match=rf"not the file for net that was first used here: .* is {digest}"):
        find_weights("net", HUB, "published")


def test_the_disk_of_the_hubs_cache_is_full(hub: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(100_000)}, hub / "model.safetensors")
    full = r"no weights for net: .*hub is full \(.*File too large.*\): free some space there, or set HF_HOME"
    with no_file_above(10_000), pytest.raises(WeightsError, match=full):
        find_weights("net", HUB, "published")
    left = [path for path in (tmp_path / "hub").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert left == []
    find_weights("net", HUB, "published")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "ODDWATCH_OFFLINE"])
@pytest.mark.parametrize("where", [{"url": "http://127.0.0.1:9/net.pth"}, {"hub": "nobody/net"}])
def test_offline_is_respected(variable: str, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(WeightsError, match=rf"no weights for net: {variable} is set\. Three ways out: "):
        find_weights("net", WeightsRecord(licence="MIT", **where), "published")


@pytest.mark.parametrize(
    "backbone",
    ["r2plus1d-18", "timesformer", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW_TO_REFUSE)],
)
def test_without_network_and_weights_it_is_said_at_once(backbone: str, tmp_path: Path) -> None:
    """A real process, no network (a proxy that is not there): one line with the three ways out, in under 5 seconds."""
    usual = write(tmp_path / "usual.mp4", 3.0, seed=1)
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    before = dict(os.environ)
    os.environ.update(nowhere)
    began = time.perf_counter()
    try:
        ran = finish(start("learn", usual, "--backbone", backbone, "--out", "d", cwd=tmp_path))
    finally:
        os.environ.clear()
        os.environ.update(before)
    took = time.perf_counter() - began
    assert ran.code == 1
    assert f"oddwatch: no weights for {backbone}: " in ran.err
    assert f"`oddwatch backbones pull {backbone}`" in ran.err
    assert "--weights PATH" in ran.err
    assert "such as motion" in ran.err
    assert not (tmp_path / "d").exists()
    assert took < 30  # 5 s on a machine that does nothing else


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save({"model_state": STATE, "epoch": 3}, tmp_path / "b.pyth")
    for name in ("a.safetensors", "b.pyth"):
        path = find_weights("net", record("http://x"), str(tmp_path / name))
        assert path == tmp_path / name
        load_strictly(network, path, "net")
        assert torch.equal(network.weight, STATE["weight"])
    assert find_weights("net", record("http://x"), "random") is None
    with pytest.raises(WeightsError, match=r"c\.pth: no such file of weights for net"):
        find_weights("net", record("http://x"), "c.pth")


class Code:
    """Unpickling this would make a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("code-ran"),)


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file(STATE, whole)
    torch.save(STATE, tmp_path / "whole.pth")
    bad = {
        "cut.safetensors": whole.read_bytes()[:-5],
        "empty.safetensors": b"",
        "text.pth": b"hello",
        "empty.pth": b"",
        "cut.pth": (tmp_path / "whole.pth").read_bytes()[:300],
        "code.pth": pickle.dumps({"weight": Code()}),
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} (is damaged|holds more than weights)"):
            load_state(tmp_path / name)
    torch.save({"a": 1}, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="holds no weights"):
        load_state(tmp_path / "none.pth")
    assert not Path("code-ran").exists()


def test_weights_of_another_network(tmp_path: Path) -> None:
    save_file({**STATE, "more": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit net: of 2 tensors 1 unknown \(more\), 1 of another shape"):
        load_strictly(torch.nn.Linear(4, 2), tmp_path / "a.safetensors", "net")
    with pytest.raises(WeightsError, match=r"1 missing \(0\.weight\)"):
        load_strictly(torch.nn.Sequential(torch.nn.Linear(3, 1, bias=False)), tmp_path / "a.safetensors", "net")


def test_show_and_pull(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    oddwatch = Runner(capfd)
    ran = oddwatch("backbones", "show", "r2plus1d-18", "--last", "12")
    assert ran.code == 0
    assert "111 tensors, 31,300,125 parameters, 14,162,432 of them" in ran.out
    rows = [line.split("  ") for line in ran.out.splitlines() if line.rstrip().endswith("yes")]
    assert len(rows) == 12
    assert all("layer4.1" in "".join(row) for row in rows)
    monkeypatch.setenv("ODDWATCH_OFFLINE", "1")
    ran = oddwatch("backbones", "pull", "r2plus1d-18")
    assert (ran.code, ran.out) == (1, "")
    assert "Three ways out" in ran.err
    assert oddwatch("backbones", "pull", "motion").err == "oddwatch: motion has no weights\n"


@pytest.mark.slow
def test_show_needs_no_weights(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The record's facts for every backbone; without a classifier all parameters are listed, else those below it."""
    monkeypatch.setenv("ODDWATCH_OFFLINE", "1")
    oddwatch = Runner(capfd)
    ran = oddwatch("backbones", "show", "motion")
    assert (ran.code, ran.err) == (0, "")
    assert "a vector of 54 values, a grid of 19 values per place" in ran.out
    assert "quality=fine, offline=False, plate=True, height_px=240" in " ".join(ran.out.split())
    assert "tensor" not in ran.out
    assert json.loads(oddwatch("backbones", "show", "motion", "--json").out)["options"]["plate"] is True
    for name, tensors, parameters in (
        ("videomae-b", 184, 86_227_200),
        ("vivit-b", 198, 88_646_400),
        ("vjepa2-l", 451, 353_221_632),
        ("dinov2-s", 223, 22_056_576),
    ):
        said = json.loads(oddwatch("backbones", "show", name, "--json").out)
        assert (said["name"], len(said["tensors"]), said["parameters"]) == (name, tensors, parameters)
        assert not any(one["name"].startswith(("classifier", "vjepa2.predictor")) for one in said["tensors"])
        assert said["weights"]["licence"]
        assert said["input"]["frames"] >= 8
    ran = oddwatch("backbones", "show", "videomae-b")
    for fact in (
        "16 frames of 224 x 224 px",
        "MCG-NJU/videomae-base-finetuned-kinetics",
        "NOT for commercial",
        "80.9%",
    ):
        assert fact in ran.out
