"""A run as one graph for ONNX Runtime and OpenVINO: the same numbers as torch, and usable with nothing of ours."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner
from small_backbones import SMALL
from small_runs import FROZEN, write_clips

from oddwatch.detector import Detector
from oddwatch.errors import RunError, UsageError
from oddwatch.export import export_run, export_run_graph, graph
from oddwatch.finetune import Autoencoder, FineTune, Recipe, Tracker, train
from oddwatch.finetune.clips import clips_of

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parent.parent / "docs" / "experiment.md"
UNTRACKED = replace(FROZEN, epochs=2, tracker=Tracker("none"))
TUNED = replace(
    UNTRACKED,
    backbone="learning_backbone:Learning",
    options={"weights": "random"},
    fine_tune=FineTune(3, from_epoch=0),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), train=4, validation=2)


@pytest.fixture(scope="module")
def tuned(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    train(TUNED, manifest, folder / "run", cache=folder / "cache")
    return folder


def documented(folder: Path, graph: Path, video: str) -> tuple[float, str]:
    """The error, and what is printed, by the lines of docs/experiment.md, which want `graph/` and `clip.mp4`."""
    block = re.search(r"```python\n(import json.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert "oddwatch" not in block.group(1)
    (folder / "graph").symlink_to(graph)
    (folder / "clip.mp4").symlink_to(video)
    names: dict[str, Any] = {}
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.group(1), str(DOCS), "exec"), names)
    return float(names["error"][0]), printed.getvalue()


def test_it_scores_as_the_detector_does(tuned: Path, manifest: Path, tmp_path: Path) -> None:
    """Of a backbone that has learned, by the few lines of the documentation."""
    cache = tuned / "cache"
    export_run(tuned / "run", tuned / "detector", cache=cache)
    detector = Detector.load(tuned / "detector")
    before = {path.name for path in (tuned / "run").iterdir()}
    export_run_graph(tuned / "run", tuned / "onnx", graph="onnx", cache=cache)
    assert {path.name for path in (tuned / "run").iterdir()} == before
    about = json.loads((tuned / "onnx" / "model.json").read_text())
    assert about["threshold"]["value"] == pytest.approx(detector.clip_threshold("5%").value, rel=1e-5)
    assert (about["untrained"], about["input"]["shape"]) == (True, [1, 4, 16, 16, 3])
    for clip in clips_of(manifest):
        (home := tmp_path / Path(clip.path).stem).mkdir()
        error, said = documented(home, tuned / "onnx", clip.path)
        wanted = detector.score_clip(clip.path, threshold=about["threshold"]["value"])
        assert error == pytest.approx(wanted.score, rel=1e-3)
        assert said == ("unusual\n" if wanted.anomalous else "usual\n")


@pytest.mark.parametrize("name", ["r2plus1d-18", "slowfast-r50", "timesformer"])
def test_every_family_is_the_same_in_both(name: str, manifest: Path, tmp_path: Path) -> None:
    recipe: Recipe = replace(UNTRACKED, epochs=1, backbone=name, options={"weights": "random", **SMALL[name]})
    train(recipe, manifest, tmp_path / "run", cache=tmp_path / "cache")
    formats: tuple[graph.GraphFormat, ...] = ("onnx", "openvino")
    for kind in formats:
        done = export_run_graph(tmp_path / "run", tmp_path / kind, graph=kind, cache=tmp_path / "cache")
        assert done.clips == 2
        assert max(done.embedding_difference, done.error_difference) < 1e-4
        assert done.model.stat().st_size > 0
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == ["model.json", "model.onnx"]
    assert sorted(path.name for path in (tmp_path / "openvino").iterdir()) == ["model.bin", "model.json", "model.xml"]


def test_a_variational_one_draws_nothing(manifest: Path, tmp_path: Path) -> None:
    train(replace(TUNED, autoencoder=Autoencoder((8, 4), variational=True)), manifest, tmp_path / "r", cache=tmp_path)
    done = export_run_graph(tmp_path / "r", tmp_path / "graph", graph="onnx", cache=tmp_path)
    assert max(done.embedding_difference, done.error_difference) < 1e-4


def test_one_that_differs_is_refused(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = graph._run_openvino
    monkeypatch.setattr(graph, "_run_openvino", lambda *a: [(e * 1.01, error) for e, error in real(*a)])
    with pytest.raises(RunError, match=r"differs from torch by 0\.01 \(embedding\) and .*, more than 0\.001: nothing"):
        export_run_graph(tuned / "run", tmp_path / "out", graph="openvino", cache=tuned / "cache")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(graph, "_run_openvino", lambda *a: [(e, error * np.nan) for e, error in real(*a)])
    with pytest.raises(RunError, match="differs from torch"):
        export_run_graph(tuned / "run", tmp_path / "out", graph="openvino", cache=tuned / "cache")


def test_differences_are_the_largest() -> None:
    def of(embedding: list[float], error: float) -> graph.Outputs:
        return np.array([embedding], np.float32), np.array([error], np.float32)

    wanted, found = [of([3, 4], 2), of([0, 1], 1)], [of([3, 4], 2.5), of([0, 1.5], 1)]
    assert graph.differences(wanted, found) == pytest.approx((0.5, 0.25))


def test_the_command(tuned: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oddwatch = Runner(capsys)
    cache = ("--cache", tuned / "cache")
    ran = oddwatch("export", tuned / "run", "--format", "openvino", "--out", "o", *cache)
    assert ran.code == 0, ran.err
    says = r"Largest relative difference from torch on 2 validation clips: \S+ \(embedding\), \S+ \(error\); at most"
    assert re.match(says, ran.out)
    refused = oddwatch("export", tuned / "run", "--format", "openvino", "--out", "o", *cache)
    assert (refused.code, refused.err) == (1, "oddwatch: o is there and not empty: give --out a new folder\n")
    refused = oddwatch("export", tuned / "run", "--format", "tflite", "--out", "x", *cache)
    assert (refused.code, refused.err) == (2, "oddwatch: --format is detector, onnx or openvino, got 'tflite'\n")
    train(UNTRACKED, manifest, tmp_path / "mean", cache=tmp_path / "cache")
    with pytest.raises(UsageError, match="mean_backbone:MeanPicture is no network of torch: only those become a graph"):
        export_run_graph(tmp_path / "mean", tmp_path / "x", graph="onnx", cache=tmp_path / "cache")
    assert not (tmp_path / "x").exists()
