"""Choosing how a backbone is computed: measured on request, kept, used by name, checked when a detector is scored."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Runner
from small_backbones import SMALL, small
from small_videos import write

from oddwatch.backbones import tuning
from oddwatch.backbones.openvino_runtime import openvino_knows_bfloat16
from oddwatch.backbones.tuning import Measured, best, best_for, keep, measure, pairs, relative_error
from oddwatch.cli.options import backbone_options
from oddwatch.detector import Detector, compatible
from oddwatch.errors import DetectorError, OddwatchError, UsageError

pytestmark = pytest.mark.slow

OPTIONS = {"weights": "random", **SMALL["timesformer"], "stride_seconds": 0.5, "window_seconds": 1.0}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "config" / "oddwatch" / "tuned.json"


@pytest.fixture
def oddwatch_(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    usual = write(folder / "usual.mp4", 14.0, seed=1)
    learned = Detector(backbone="timesformer", backbone_options=OPTIONS, on="vector", budget="60/hour").learn(usual)
    learned.save(folder / "d")
    return folder


def test_every_pair_is_measured_kept_and_found_again(home: Path) -> None:
    backbone = small("timesformer")
    measured = measure(backbone, rounds=1)
    assert [(m.runtime, m.precision) for m in measured] == [(p.runtime, p.precision) for p in pairs()]
    assert (measured[0].runtime, measured[0].precision, measured[0].relative_error) == ("torch", "float32", 0.0)
    assert ("openvino", "float32") in [(m.runtime, m.precision) for m in measured]
    for m in measured[1:]:
        assert m.clips_per_second > 0
        assert 0 < m.relative_error < (1e-5 if m.precision == "float32" else 0.02)
    assert keep(backbone, measured) == home
    chosen = best(measured)
    assert best_for(small("timesformer")) == (chosen.runtime, chosen.precision)
    with pytest.raises(UsageError, match="oddwatch backbones tune timesformer"):
        best_for(small("timesformer", frames=2))


def test_the_fastest_within_one_percent_is_best() -> None:
    exact = Measured("torch", "float32", 1.0, 0.0)
    near, far = Measured("torch", "bfloat16", 2.0, 0.01), Measured("openvino", "bfloat16", 3.0, 0.011)
    assert best([exact, near, far]) == near
    assert best([exact, far]) == exact


def test_only_what_is_there_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "knows_bfloat16", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [str(p) for p in pairs()] == ["torch float32"]


def test_another_version_or_processor_is_measured_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = small("timesformer")
    keep(backbone, [Measured("torch", "bfloat16", 1.0, 0.0)])
    keep(small("timesformer-hr"), [Measured("openvino", "float32", 1.0, 0.0)])
    keep(backbone, [Measured("openvino", "bfloat16", 1.0, 0.0)])
    assert best_for(backbone) == ("openvino", "bfloat16")
    assert best_for(small("timesformer-hr")) == ("openvino", "float32")
    assert len(json.loads(home.read_text())["tuned"]) == 2
    monkeypatch.setattr(tuning, "processor", lambda: "another")
    with pytest.raises(UsageError, match="nothing was measured for timesformer on this machine"):
        best_for(backbone)
    home.write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        best_for(backbone)


def test_the_command_line_as_options() -> None:
    given = backbone_options("r3d-18", "random", "openvino", "bfloat16")
    assert given == {"weights": "random", "runtime": "openvino", "precision": "bfloat16"}
    assert backbone_options("motion", None) == {}
    with pytest.raises(UsageError, match="motion has no network: leave out --runtime, --tuned"):
        backbone_options("motion", None, "torch", tuned=True)
    with pytest.raises(UsageError, match="--tuned or --precision, not both"):
        backbone_options("r3d-18", None, None, "float32", tuned=True)
    with pytest.raises(UsageError, match="oddwatch backbones tune r3d-18"):
        backbone_options("r3d-18", None, tuned=True)
    keep(small("r3d-18", frames=16, size_px=112), [Measured("openvino", "float32", 1.0, 0.0)])
    assert backbone_options("r3d-18", "w.pth", tuned=True) == {
        "weights": "w.pth",
        "runtime": "openvino",
        "precision": "float32",
    }


def test_tune_prints_and_keeps(oddwatch_: Runner, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(backbone: Any, *, rounds: int) -> list[Measured]:
        assert (backbone.record.name, rounds) == ("r2plus1d-18", 2)
        return [Measured("torch", "float32", 2.0, 0.0), Measured("openvino", "bfloat16", 5.0, 0.0031)]

    monkeypatch.setattr(tuning, "measure", quick)
    command = ("backbones", "tune", "r2plus1d-18", "--weights", "random", "--rounds", 2)
    ran = oddwatch_(*command)
    assert (ran.code, ran.err) == (0, "")
    assert "Random weights: the speed is that of any others" in ran.out
    assert "Best with a relative error of at most 1%: openvino bfloat16." in ran.out
    row = next(line.split() for line in ran.out.splitlines() if line.startswith("openvino"))
    assert row == ["openvino", "bfloat16", "5.00", "2.50", "0.31%", "best"]
    assert json.loads(home.read_text())["tuned"][0]["runtime"] == "openvino"
    assert json.loads(oddwatch_(*command, "--json").out)["best"]["precision"] == "bfloat16"
    refused = oddwatch_("backbones", "tune", "motion")
    assert (refused.code, refused.err) == (2, "oddwatch: motion has no weights\n")


@pytest.mark.slow
def test_a_detector_scored_in_another_way(detector: Path, oddwatch_: Runner, tmp_path: Path) -> None:
    """It says how far that moves embeddings, scores nearly alike, and still knows what it learned with."""
    odd = write(tmp_path / "odd.mp4", 9.0, seed=3, odd="left")
    runtime = "openvino" if openvino_knows_bfloat16() else "torch"
    ran = oddwatch_("score", detector / "d", odd, "--runtime", runtime, "--precision", "bfloat16", "--json")
    assert ran.code == 0
    assert f"{runtime} bfloat16 moves embeddings by 0." in ran.err
    assert "from torch float32, which this detector learned with" in ran.err
    peak = json.loads(ran.out)["videos"][0]["peak_score"]
    exact = Detector.load(detector / "d")
    assert peak == pytest.approx(exact.score(odd).scores.max(), rel=0.05)
    near = Detector.load(detector / "d", precision="bfloat16")
    assert near.backbone.options()["precision"] == "bfloat16"
    assert near.describe()["backbone"] == exact.describe()["backbone"]


def test_the_same_way_is_not_worth_a_warning(detector: Path, caplog: pytest.LogCaptureFixture) -> None:
    Detector.load(detector / "d", runtime="torch", precision="float32")
    assert caplog.text == ""


def test_too_far_is_refused(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatible, "MAX_APART", 1e-9)
    with pytest.raises(DetectorError, match=r"moves embeddings by 0\.\d\d% from torch float32.*learn again with this"):
        Detector.load(detector / "d", precision="bfloat16")


def test_wrong_ways(detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="precision is one of"):
        Detector.load(detector / "d", precision="int4")
    usual = write(tmp_path / "usual.mp4", 14.0, seed=1)
    Detector(budget="60/hour").learn(usual).save(tmp_path / "motion")
    with pytest.raises(UsageError, match="motion has no network: leave out runtime"):
        Detector.load(tmp_path / "motion", runtime="torch")


def test_what_it_learned_with_is_not_installed(detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = detector / "d" / "detector.json"
    record = json.loads(path.read_text())
    record["backbone"]["options"]["runtime"] = "openvino"
    folder = tmp_path / "d"
    folder.mkdir()
    for file in (detector / "d").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "detector.json").write_text(json.dumps(record))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DetectorError, match="learned with what is not installed here: runtime openvino needs openvino"):
        Detector.load(folder, runtime="torch")


def test_the_difference_is_that_of_a_fixed_clip() -> None:
    one, other = small("timesformer"), small("timesformer", seed=1)
    assert relative_error(one, one) == 0.0
    assert relative_error(one, other) == relative_error(one, other) > 0.5


def test_a_configuration_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(parents=True)
    monkeypatch.setattr(tuning, "_entries", lambda path: [])
    with pytest.raises(OddwatchError, match="cannot be written"):
        keep(small("timesformer"), [Measured("torch", "float32", 1.0, 0.0)])
