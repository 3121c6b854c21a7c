"""Networks in INT8: made from videos within a limit of error, kept in one file, refused where they do not belong."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner
from small_backbones import SMALL, small
from small_videos import write

from oddwatch.backbones import build_backbone, quantizing
from oddwatch.backbones.pretrained import INT8, PretrainedBackbone
from oddwatch.backbones.quantized import read_quantized, write_quantized
from oddwatch.backbones.quantizing import Quantized, quantize
from oddwatch.cli.options import backbone_options
from oddwatch.detector import Detector
from oddwatch.errors import DetectorError, MissingExtraError, OddwatchError, UsageError, WeightsError
from oddwatch.video import sample_clip

pytestmark = pytest.mark.slow

NAME = "r3d-18"
OPTIONS = {"weights": "random", **SMALL[NAME], "stride_seconds": 0.5, "window_seconds": 1.0}


@pytest.fixture
def oddwatch_(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [write(folder / f"{seed}.mp4", 2.0, seed=seed) for seed in range(6)]


def clips_of(backbone: PretrainedBackbone, videos: list[Path]) -> list[Any]:
    return [np.stack(backbone.whole(sample_clip(v, frames=backbone.input.frames)).items) for v in videos]


@pytest.fixture(scope="module")
def made(videos: list[Path]) -> Quantized:
    clips = clips_of(small(NAME), videos)
    return quantize(small(NAME), clips[::2], clips[1::2], max_error=0.5)


@pytest.fixture(scope="module")
def file(made: Quantized, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "network.int8"
    write_quantized(path, made.model, made.record)
    return path


def test_it_is_in_int8_and_as_near_as_it_says(made: Quantized, file: Path, videos: list[Path]) -> None:
    """The error of other clips, worked out again from the file."""
    without, whole = made.steps
    assert without.share == 0.0
    assert 0.5 < whole.share <= 1.0
    assert without.error < whole.error < 0.5
    backbone = small(NAME, **INT8, quantized=str(file))
    clips = np.stack(clips_of(backbone, videos)[1::2])
    errors = []
    for found, exact in zip(backbone.embed(clips), small(NAME).embed(clips), strict=True):
        assert found is not None
        assert exact is not None
        assert (found.shape, found.dtype) == (exact.shape, exact.dtype)
        errors.append(np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, exact, strict=True)]))
    assert errors == pytest.approx([whole.vector_error, whole.grid_error], rel=1e-3)


def test_the_record_says_what_it_was_made_from(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        assert sorted(archive.namelist()) == ["model.bin", "model.xml", "record.json"]
        record = json.loads(archive.read("record.json"))
    assert record["from"]["weights_sha256"] == "random 0"
    assert (record["from"]["clip"]["frames"], record["from"]["clip"]["size_px"]) == (4, 32)
    assert record["clips"] == {"calibrate": 3, "held_out": 3}
    assert record["measured"]["grid_error"] > 0
    assert {"nncf", "openvino", "torch"} == set(record["versions"])


def test_an_embedding_does_not_depend_on_its_batch(file: Path, videos: list[Path]) -> None:
    backbone = small(NAME, **INT8, quantized=str(file), threads=1)
    clips = np.stack(clips_of(backbone, videos[:2]))
    together = backbone.embed(clips)
    for found, both in zip(backbone.embed(clips[1:]), together, strict=True):
        assert found is not None
        assert both is not None
        np.testing.assert_array_equal(found[0], both[1])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": 1}, "made for weights_sha256 random 0, this is random 1"),
        ({"frames": 2}, "made for clip .*'frames': 4"),
    ],
)
def test_another_network_is_refused(file: Path, options: dict[str, Any], says: str) -> None:
    backbone = small(NAME, **{**INT8, "quantized": str(file), **options})
    i = backbone.input
    with pytest.raises(WeightsError, match=f"network.int8 was {says}.*oddwatch backbones quantize r3d-18"):
        backbone.embed(np.zeros((1, i.frames, i.size_px, i.size_px, 3), np.float32))


def test_another_backbone_is_refused(file: Path) -> None:
    backbone = small("mc3-18", **INT8, quantized=str(file))
    with pytest.raises(WeightsError, match="made for backbone r3d-18, this is mc3-18"):
        backbone.embed(np.zeros((1, 4, 32, 32, 3), np.float32))


def test_a_processor_without_bfloat16(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_quantized(file)[0]
    monkeypatch.setattr("oddwatch.backbones.quantized.openvino_knows_bfloat16", lambda: False)
    backbone = small(NAME, **INT8, quantized=str(file))
    clip = np.zeros((1, 4, 32, 32, 3), np.float32)
    if record["rest"] == "bfloat16":
        with pytest.raises(UsageError, match="was measured with bfloat16, which this processor does not have"):
            backbone.embed(clip)
    else:
        assert backbone.embed(clip)[0].shape == (1, 512)


def test_a_damaged_or_missing_file(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    middle = len(data) // 2
    damaged = tmp_path / "damaged"
    for wrong in (data[:-100], data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :], b"no zip"):
        damaged.write_bytes(wrong)
        with pytest.raises(WeightsError, match="damaged or no file made by oddwatch backbones quantize"):
            read_quantized(damaged)
    with pytest.raises(WeightsError, match="no such file of r3d-18 in INT8"):
        small(NAME, **INT8, quantized=str(tmp_path / "none")).stream()


def test_a_file_of_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "later"
    with zipfile.ZipFile(path, "w") as archive:
        record = {"format": 2, "oddwatch": "9.0", "from": {}, "rest": "float32"}
        for name, content in (("record.json", json.dumps(record)), ("model.xml", ""), ("model.bin", "")):
            archive.writestr(name, content)
    with pytest.raises(WeightsError, match=r"was made by oddwatch 9\.0: upgrade oddwatch"):
        read_quantized(path)


def test_what_goes_together(file: Path) -> None:
    for options in ({**INT8}, {"quantized": str(file)}, {"quantized": str(file), "runtime": "openvino"}):
        with pytest.raises(UsageError, match=r"quantized=FILE .* go together"):
            build_backbone(NAME, weights="random", **options)
    assert backbone_options(NAME, "random", quantized="f") == {"weights": "random", **INT8, "quantized": "f"}
    with pytest.raises(UsageError, match="give --quantized or --runtime, not both"):
        backbone_options(NAME, "random", "torch", quantized="f")
    with pytest.raises(UsageError, match="give --quantized or --tuned, not both"):
        backbone_options(NAME, "random", tuned=True, quantized="f")
    with pytest.raises(UsageError, match="motion has no network: leave out --quantized"):
        backbone_options("motion", None, quantized="f")


def test_kept_embeddings_are_of_the_file_not_of_its_path(file: Path, videos: list[Path], tmp_path: Path) -> None:
    moved, other = tmp_path / "moved", tmp_path / "other"
    moved.write_bytes(file.read_bytes())
    record, xml, weights = read_quantized(file)
    with zipfile.ZipFile(other, "w") as archive:
        for name, content in (("record.json", json.dumps(record)), ("model.xml", xml), ("model.bin", weights)):
            archive.writestr(name, content)

    def of(path: Path) -> PretrainedBackbone:
        return small(NAME, **INT8, quantized=str(path), window_seconds=1.0)

    assert of(file).identity() == of(moved).identity()
    assert of(file).identity() != of(other).identity()
    assert str(file) not in json.dumps(of(file).identity())
    assert of(file).identity()["weights_sha256"] != small(NAME).weights_sha256()
    built = build_backbone(NAME, **json.loads(json.dumps(of(file).options())))
    assert built.identity() == of(file).identity()


def test_a_detector_in_int8(file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    usual = write(tmp_path / "usual.mp4", 14.0, seed=1)
    options = {**OPTIONS, **INT8, "quantized": str(file)}
    learned = Detector(backbone=NAME, backbone_options=options, on="vector", budget="60/hour").learn(usual)
    learned.save(tmp_path / "d")
    scores = learned.score(usual).scores
    np.testing.assert_allclose(Detector.load(tmp_path / "d").score(usual).scores, scores, rtol=1e-5)
    moved = tmp_path / "moved"
    moved.write_bytes(file.read_bytes())
    there = Detector.load(tmp_path / "d", quantized=str(moved))
    np.testing.assert_allclose(there.score(usual).scores, scores, rtol=1e-5)
    assert caplog.text == ""
    moved.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(WeightsError, match="not those that this detector learned with"):
        Detector.load(tmp_path / "d", quantized=str(moved))
    with pytest.raises((DetectorError, UsageError), match="precision int8 is for runtime openvino"):
        Detector.load(tmp_path / "d", runtime="torch")


@pytest.mark.slow
def test_a_detector_of_float32_scored_in_int8(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far that is from what it learned with is measured, said, and refused where it is too far."""
    usual = write(tmp_path / "usual.mp4", 14.0, seed=1)
    Detector(backbone=NAME, backbone_options=OPTIONS, on="vector", budget="60/hour").learn(usual).save(tmp_path / "d")
    monkeypatch.setattr("oddwatch.detector.compatible.MAX_APART", 1.0)
    near = Detector.load(tmp_path / "d", quantized=str(file))
    assert near.backbone.options()["precision"] == "int8"
    assert "openvino int8 moves embeddings by" in caplog.text
    monkeypatch.setattr("oddwatch.detector.compatible.MAX_APART", 1e-9)
    with pytest.raises(DetectorError, match=r"openvino int8 moves embeddings by .* from torch float32"):
        Detector.load(tmp_path / "d", quantized=str(file))


def test_a_limit_that_nothing_keeps(videos: list[Path]) -> None:
    backbone = small(NAME)
    clips = clips_of(backbone, videos[:2])
    with pytest.raises(UsageError, match=r"r3d-18 in INT8 within an error of 0\.00% cannot be made: .* raise"):
        quantize(backbone, clips[:1], clips[1:], max_error=1e-9)
    with pytest.raises(UsageError, match="a clip to calibrate with and another to measure"):
        quantize(backbone, clips[:1], [], max_error=0.1)


def test_without_nncf(oddwatch_: Runner, videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else find(name))
    with pytest.raises(MissingExtraError):
        quantizing.require_extra()
    ran = oddwatch_("backbones", "quantize", NAME, videos[0], "--weights", "random", "--out", tmp_path / "f")
    assert (ran.code, ran.err) == (2, 'oddwatch: INT8 needs nncf: pip install "oddwatch[openvino]"\n')


@pytest.mark.slow
def test_the_command(oddwatch_: Runner, videos: list[Path], tmp_path: Path) -> None:
    small_ = ["--option=frames=4", "--option=size_px=32"]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    out = tmp_path / "file"
    command = ("backbones", "quantize", NAME, *videos[:4], broken, "--weights", "random", "--max-error", "50%", *small_)
    ran = oddwatch_(*command, "--out", out)
    assert ran.code == 1  # of the broken one, which is named
    assert "broken.mp4" in ran.err
    assert "2 clips to calibrate with, 2 to measure on" in ran.err
    assert "kept" in ran.out
    assert f"--quantized {out}" in ran.out
    assert small(NAME, **INT8, quantized=str(out)).embed(np.zeros((1, 4, 32, 32, 3), np.float32))[0].shape == (1, 512)


@pytest.mark.parametrize("limit", ["1", "0%", "100%", "nan%", "much"])
def test_a_limit_that_is_none(oddwatch_: Runner, tmp_path: Path, limit: str) -> None:
    ran = oddwatch_("backbones", "quantize", NAME, "x", "--max-error", limit, "--out", tmp_path / "f")
    assert (ran.code, ran.err) == (2, f"oddwatch: --max-error {limit!r} is not understood: write 1% or 0.5%\n")


def test_what_the_command_refuses(oddwatch_: Runner, videos: list[Path], tmp_path: Path) -> None:
    ran = oddwatch_("backbones", "quantize", "motion", videos[0], "--out", tmp_path / "f")
    assert (ran.code, ran.err) == (2, "oddwatch: motion has no network: choose another\n")
    ran = oddwatch_("backbones", "quantize", NAME, videos[0], "--weights", "random", "--out", tmp_path)
    assert ran.code == 2
    assert "is a folder: give the name of a file" in ran.err


def test_a_disk_that_takes_nothing(made: Quantized, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OddwatchError, match="cannot be written"):
        write_quantized(tmp_path / "file" / "x", made.model, made.record)
