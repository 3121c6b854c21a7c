"""Runtimes, precisions, threads: what they give, what they refuse, and that nothing is sent anywhere."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_backbones import CLIP_BACKBONES, LIKE_ANOTHER, SMALL, small

from oddwatch.backbones import build_backbone, openvino_runtime
from oddwatch.backbones.compute import Compute, processor
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.errors import MissingExtraError, UsageError

pytestmark = pytest.mark.slow

REDUCED = [Compute("torch", "bfloat16"), Compute("openvino", "float32"), Compute("openvino", "bfloat16")]


def clips(backbone: PretrainedBackbone, count: int = 2) -> Any:
    i = backbone.input
    return np.random.default_rng(0).normal(size=(count, i.frames, i.size_px, i.size_px, 3)).astype(np.float32)


def moved(found: Any, exact: Any) -> float:
    assert found is not None
    assert (found.shape, found.dtype) == (exact.shape, np.float32)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def trained(network: torch.nn.Module) -> None:
    """No bias is 0 and no statistics are the initial ones."""
    generator = torch.Generator().manual_seed(1)
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            value.normal_(0, 0.1, generator=generator)


def known_here(compute: Compute) -> bool:
    """Whether this processor has it."""
    return compute != REDUCED[2] or openvino_runtime.openvino_knows_bfloat16()


def check_every_pair(name: str) -> None:
    backbone = small(name)
    trained(backbone.network)
    x = clips(backbone, 1)  # a processor without bfloat16 takes long
    exact = backbone.embed(x)
    for compute in REDUCED:
        other = backbone.computed(**asdict(compute))
        if not known_here(compute):
            with pytest.raises(UsageError, match="OpenVINO does not have it on this processor"):
                other.embed(x)
            continue
        limits = (1e-9, 1e-5) if compute.precision == "float32" else (1e-5, 0.02)
        for a, b in zip(other.embed(x), exact, strict=True):
            assert limits[0] < moved(a, b) < limits[1], compute
        assert build_backbone(name, **json.loads(json.dumps(other.options()))).options() == other.options()


def test_every_pair_is_near_float32_in_torch() -> None:
    check_every_pair("timesformer")


OTHERS = ["r2plus1d-18", "slowfast-r50", "dinov2-s", "videomae-b"]


@pytest.mark.parametrize("name", OTHERS)
def test_every_pair_of_the_others(name: str) -> None:
    check_every_pair(name)


@pytest.mark.parametrize("name", sorted(set(CLIP_BACKBONES) - LIKE_ANOTHER - {*OTHERS, "timesformer"}))
def test_bfloat16_is_near(name: str) -> None:
    backbone = small(name)
    trained(backbone.network)
    x = clips(backbone, 1)
    for found, exact in zip(backbone.computed(precision="bfloat16").embed(x), backbone.embed(x), strict=True):
        assert 0 < moved(found, exact) < 0.02


def test_what_is_simplified_computes_the_same() -> None:
    backbone = small("timesformer")
    trained(backbone.network)
    network = backbone.network.double()
    simplified = copy.deepcopy(network)
    backbone.simplify(simplified)
    assert len(list(simplified.parameters())) < len(list(network.parameters()))
    x = torch.from_numpy(clips(backbone)).double()
    with torch.inference_mode():
        exact, found = backbone.features(network, x), backbone.features(simplified, x)
    for a, b in zip(found, exact, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-12


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"runtime": "onnx"}, "runtime is one of torch, openvino, got 'onnx'"),
        ({"precision": "int4"}, "precision is one of float32, bfloat16, float16, int8, got 'int4'"),
        (
            {"precision": "int8"},
            "precision int8 is for runtime openvino and a file made by oddwatch backbones quantize",
        ),
        ({"device": "gpu"}, "device is one of cpu, cuda, got 'gpu'"),
        ({"precision": "float16"}, "float16 is for a GPU"),
        ({"runtime": "openvino", "device": "cuda"}, "openvino is for the CPU"),
        ({"threads": 0}, "threads is a number from 1, or None for all, got 0"),
    ],
)
def test_what_is_refused_at_once(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        build_backbone("r3d-18", **options)


def test_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"openvino needs openvino: pip install \"oddwatch\[openvino\]\""):
        build_backbone("r3d-18", runtime="openvino")


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    backbone = small("timesformer", device="cuda", precision="float16")
    with pytest.raises(UsageError, match=r"device cuda: torch .* finds no GPU"):
        backbone.embed(clips(backbone))


def test_a_processor_without_bfloat16(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """torch imitates it, so the embeddings are right and a warning is enough; OpenVINO would compute in float32."""
    monkeypatch.setattr("oddwatch.backbones.compute.knows_bfloat16", lambda: False)
    backbone = small("timesformer", precision="bfloat16")
    backbone.embed(clips(backbone))
    assert "does not know bfloat16" in caplog.text
    openvino = openvino_runtime.import_openvino()
    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: ["FP32"])
    with pytest.raises(UsageError, match="OpenVINO does not have it on this processor"):
        backbone.computed(runtime="openvino").embed(clips(backbone))


def test_threads_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    backbone = small("timesformer", threads=before + 1)
    seen = []
    features = backbone.features

    def watched(network: Any, x: Any) -> Any:
        seen.append(torch.get_num_threads())
        return features(network, x)

    monkeypatch.setattr(backbone, "features", watched)
    backbone.embed(clips(backbone))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before

    def broken(network: Any, x: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(backbone, "features", broken)
    backbone.network.add_module("new", torch.nn.Linear(1, 1))  # another network: it is prepared anew
    with pytest.raises(RuntimeError):
        backbone.embed(clips(backbone))
    assert torch.get_num_threads() == before


def test_openvino_with_one_thread_and_any_batch() -> None:
    """One clip at a time: what is in a batch with it does not move a bit."""
    backbone = small("timesformer", runtime="openvino", threads=1)
    x = clips(backbone, 3)
    together = backbone.embed(x)
    for i in range(3):
        for a, b in zip(backbone.embed(x[i : i + 1]), together, strict=True):
            assert a is not None
            assert b is not None
            np.testing.assert_array_equal(a[0], b[i])


@pytest.mark.parametrize("compute", REDUCED, ids=str)
def test_weights_changed_in_place_are_those_used(compute: Compute) -> None:
    backbone = small("timesformer").computed(**asdict(compute))
    x = clips(backbone)
    if not known_here(compute):
        with pytest.raises(UsageError, match="OpenVINO does not have it on this processor"):
            backbone.embed(x)
        return
    before = backbone.embed(x)[0]
    backbone.network.load_state_dict(small("timesformer", seed=1).network.state_dict())
    expected = small("timesformer", seed=1).embed(x)[0]
    assert moved(before, expected) > 0.5
    assert moved(backbone.embed(x)[0], expected) < 0.02


def test_a_converted_network_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again for the same weights alone, and made again when what is kept is damaged."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    conversions = []
    convert = openvino_runtime.converted

    def counted(*arguments: Any) -> Any:
        conversions.append(1)
        return convert(*arguments)

    monkeypatch.setattr(openvino_runtime, "converted", counted)
    files = []
    for seed in (0, 1):
        files.append(tmp_path / f"{seed}.safetensors")
        save_file(small("timesformer", seed=seed).network.state_dict(), files[seed])

    def embedded(seed: int, **options: Any) -> Any:
        made = small("timesformer", weights=str(files[seed]), runtime="openvino", **options)
        return made.embed(clips(made, 1))[0]

    first = embedded(0)
    np.testing.assert_array_equal(embedded(0), first)
    assert len(conversions) == 1
    assert moved(embedded(1), first) > 0.5
    made = 2
    if known_here(REDUCED[2]):
        assert 1e-5 < moved(embedded(0, precision="bfloat16"), first) < 0.02
        made = 3
    assert len(conversions) == made
    kept = list((tmp_path / "cache" / "oddwatch" / "openvino").iterdir())
    assert len(kept) == made
    for path in kept:
        path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(embedded(0), first)
    assert len(conversions) == made + 1


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    weights = tmp_path / "w.safetensors"
    save_file(small("timesformer").network.state_dict(), weights)
    made = small("timesformer", weights=str(weights), runtime="openvino")
    assert made.embed(clips(made, 1))[0].shape == (1, 768)
    assert "cannot be written (Not a directory): the next start converts again" in caplog.text


def test_only_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_runtime, "_KEPT", 2)
    for index in range(4):
        path = tmp_path / f"{index}.blob"
        openvino_runtime._write(path, b"x")
        os.utime(path, (index, index))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2.blob", "3.blob"]


def test_the_processor_has_a_name() -> None:
    assert processor().endswith(f", {os.cpu_count()} cores")
    assert not processor().startswith(",")


# nothing is sent

_WATCHED = """
import os, sys, threading, multiprocessing
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, arguments):  # forked children have it too
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        os.write(log, f"{event} {arguments}\\n".encode())
sys.addaudithook(hook)
"""
_EMBED = """
import numpy as np
from oddwatch.backbones import build_backbone
options = dict(weights="random", runtime="openvino", **SMALL)
build_backbone("timesformer", **options).embed(np.zeros((1, 4, 32, 32, 3), np.float32))
"""


def watched(code: str, folder: Path) -> tuple[str, list[str]]:
    """What a process without the environment of a CI tried to reach, and what it left in its empty home."""
    home, log = folder / "home", folder / "log"
    home.mkdir()
    silent = {"CI", "TF_BUILD", "JENKINS_URL", "HF_HUB_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    environment = {k: v for k, v in os.environ.items() if k not in silent} | {"HOME": str(home)}
    code = _WATCHED + code.replace("SMALL", repr(SMALL["timesformer"]))
    subprocess.run([sys.executable, "-c", code, str(log)], env=environment, check=True, timeout=120)
    return log.read_text(), [str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()]


_QUANTIZE = """
import numpy as np
from oddwatch.backbones import build_backbone
from oddwatch.backbones.quantizing import quantize
made = build_backbone("r3d-18", weights="random", frames=4, size_px=32)
clips = list(np.random.default_rng(0).normal(size=(4, 4, 32, 32, 3)).astype(np.float32))
quantize(made, clips[:2], clips[2:], max_error=0.99)
"""


def test_nothing_is_sent_when_quantizing(tmp_path: Path) -> None:
    sent, left = watched(_QUANTIZE, tmp_path)
    assert sent == ""
    assert not [name for name in left if "intel" in name or "openvino" in name]


def test_nothing_is_sent(tmp_path: Path) -> None:
    sent, left = watched(_EMBED, tmp_path)
    assert sent == ""
    assert not [name for name in left if "intel" in name or "openvino" in name]


def test_without_the_guard_it_would_be_seen(tmp_path: Path) -> None:
    """OpenVINO as it is shipped: the import alone."""
    sent, left = watched("import openvino\nimport time\ntime.sleep(0.5)", tmp_path)
    assert "google-analytics.com" in sent
    assert left


@pytest.mark.parametrize("guarded", [True, False])
def test_where_openvino_was_imported_before(tmp_path: Path, guarded: bool) -> None:
    """Its import had been sent; a conversion is not, as it would be."""
    before = "import openvino, torch, time\n"
    convert = "openvino.convert_model(torch.nn.Linear(2, 2), example_input=torch.zeros(1, 2)); time.sleep(1)\n"
    sent = watched(before + (_EMBED if guarded else "") + convert, tmp_path)[0]
    assert "google-analytics.com" in sent
    assert ("conversion" in sent) != guarded
