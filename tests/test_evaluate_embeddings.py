"""`oddwatch evaluate embeddings` on small files: every scorer, figures worked out in another way, nothing anomalous
learned from.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner
from sklearn.metrics import roc_auc_score

from oddwatch.detector import Detector
from oddwatch.embedding_file import read_views
from oddwatch.evaluate.embeddings import Configuration, compare_embeddings, configurations, to_json
from oddwatch.scorers import FOR_EMBEDDINGS, SCORERS, autoencoder, build_scorer
from oddwatch.types import Comparison, FloatArray

FRAMES = 4
ROWS = 10


@pytest.fixture(name="oddwatch")
def _oddwatch(capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capfd)


def write_view(folder: Path, name: str, *, seed: int, anomalous: float = 50.0) -> None:
    """Three usual scenes and an anomalous one to learn from; two to test. anomalous: what it adds to its embeddings."""
    rng = np.random.default_rng(seed)
    for split, scenes in (("train", 4), ("test", 2)):
        scene = np.repeat(np.arange(scenes), ROWS)
        x = np.abs(rng.normal(size=(len(scene), 20)) + 3).astype(np.float32)
        labels = np.zeros((len(scene), FRAMES), bool)
        odd = np.zeros(scenes, bool)
        odd[-1] = True
        labels[-8:, 1:] = True
        x[-8:, :6] += rng.normal(size=(8, 6)) if split == "test" else anomalous
        np.savez(
            folder / f"{split}_{name}.npz",
            embeddings=x,
            frame_labels=labels,
            scene=scene,
            scene_names=np.array([f"{split}, scene {i}" for i in range(scenes)]),
            scene_is_anomalous=odd,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("embedded")
    write_view(made, "view1", seed=1)
    write_view(made, "view2", seed=2)
    return made


@pytest.fixture(scope="module")
def one_view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("embedded")
    write_view(made, "view1", seed=1)
    return made


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    return compare_embeddings(read_views(folder), name="small", seed=7)


def test_every_scorer_that_takes_any_rows_is_compared(comparison: Comparison) -> None:
    names = [row.name for row in comparison.scorers]
    assert names[0] == FOR_EMBEDDINGS
    assert {name.split(",")[0] for name in names} == {*SCORERS} - {"attributes", "convlstm"}
    assert {"knn, normalise length", "knn, normalise none", "gaussian, normalise length"} <= {*names}
    assert len(names) == len({*names}) == len(configurations())
    seeds = {row.name: len(row.figures[0]) for row in comparison.scorers}
    assert seeds.pop("autoencoder") == 3
    assert {*seeds.values()} == {1}


@pytest.mark.parametrize("name", [FOR_EMBEDDINGS, "knn, normalise length", "autoencoder"])
def test_figures_are_those_of_a_scorer_that_learned_from_usual_scenes(
    comparison: Comparison, folder: Path, name: str
) -> None:
    row = next(row for row in comparison.scorers if row.name == name)
    for view, figures in zip(("view1", "view2"), row.figures, strict=True):
        train, test = np.load(folder / f"train_{view}.npz"), np.load(folder / f"test_{view}.npz")
        usual = train["embeddings"][: 3 * ROWS]
        for seed, found in enumerate(figures, start=7):
            options: dict[str, Any] = {} if name == "gaussian" else {"seed": seed}
            scorer = build_scorer(
                name.split(",")[0], **options, **({"normalise": "length"} if "length" in name else {})
            )
            scores = scorer.fit(usual).score(test["embeddings"]).repeat(FRAMES)
            labels = test["frame_labels"].ravel()
            assert found.micro_auc == pytest.approx(roc_auc_score(labels, scores))
            assert found.macro_videos == 1
            assert found.macro_auc == pytest.approx(roc_auc_score(labels[ROWS * FRAMES :], scores[ROWS * FRAMES :]))


def test_anomalous_training_scenes_are_never_seen(comparison: Comparison, tmp_path: Path) -> None:
    """Whatever they hold, nothing changes."""
    write_view(tmp_path, "view1", seed=1, anomalous=-1e4)
    again = compare_embeddings(read_views(tmp_path), name="small", seed=7)
    for one, other in zip(again.scorers, comparison.scorers, strict=True):
        assert one.figures[0] == other.figures[0]


def test_json_has_each_view_and_their_mean(comparison: Comparison) -> None:
    said = json.loads(json.dumps(to_json(comparison), allow_nan=False))
    assert [v["learned_from"] for v in said["views"]] == [3 * ROWS] * 2
    for row in said["scorers"]:
        views = list(row["views"].values())
        assert row["micro_auc"] == pytest.approx(np.mean([v["micro_auc"] for v in views]))
        for view in views:
            each = [one["micro_auc"] for one in view["seeds"]]
            assert view["micro_auc"] == pytest.approx(np.mean(each))
            assert view["spread"] == pytest.approx(np.std(each))


def test_the_command(oddwatch: Runner, one_view: Path, tmp_path: Path) -> None:
    ran = oddwatch("evaluate", "embeddings", one_view, "--out", tmp_path / "out", "--seed", 7)
    assert (ran.code, ran.err) == (0, "")
    for word in ("view1", "mean", "blend", "autoencoder", "±", "what auto stands for", "30 of 40"):
        assert word in ran.out
    with (tmp_path / "out" / "scores.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 2 * ROWS
    assert rows[-1]["unusual_frames"] == "3"
    assert rows[-1]["scene"] == "test, scene 1"
    scores: FloatArray = np.array([float(r["blend"]) for r in rows]).repeat(FRAMES)
    with np.load(one_view / "test_view1.npz") as test:
        area = roc_auc_score(test["frame_labels"].ravel(), scores)
    assert f"{area:.3f}" in next(line for line in ran.out.splitlines() if line.startswith("blend"))
    figures = sorted(p.name for p in (tmp_path / "out" / "figures").iterdir())
    assert figures == ["roc-view1.png"]
    assert (tmp_path / "out" / "figures" / figures[0]).read_bytes().startswith(b"\x89PNG")


def test_the_command_as_json(oddwatch: Runner, one_view: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "find_spec", lambda name: None)  # as without torch
    ran = oddwatch("evaluate", "embeddings", one_view, "--out", tmp_path / "out", "--json")
    said = json.loads(ran.out)
    assert said["out"] == str(tmp_path / "out")
    missing = next(row for row in said["scorers"] if row["name"] == "autoencoder")
    assert missing["micro_auc"] is None
    assert "needs torch" in missing["note"]


def test_a_scorer_without_figures_has_dashes(oddwatch: Runner, one_view: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "find_spec", lambda name: None)
    ran = oddwatch("evaluate", "embeddings", one_view, "--out", one_view / "out")
    line = next(line for line in ran.out.splitlines() if line.startswith("autoencoder"))
    assert line.split()[1:3] == ["-", "-"]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--scorer", "knn"), "it takes --out, --seed and --json only", 2),
        (("--backbone", "r3d-18"), "it takes --out, --seed and --json only", 2),
        (("--no-compare",), "it takes --out, --seed and --json only", 2),
    ],
)
def test_options_of_videos_are_refused(
    oddwatch: Runner, one_view: Path, tmp_path: Path, arguments: tuple[str, ...], message: str, code: int
) -> None:
    ran = oddwatch("evaluate", "embeddings", one_view, "--out", tmp_path / "out", *arguments)
    assert ran.code == code
    assert message in ran.err
    assert not (tmp_path / "out").exists()


def test_a_bad_file_is_one_line(oddwatch: Runner, tmp_path: Path) -> None:
    (tmp_path / "train_a.npz").write_text("no")
    (tmp_path / "test_a.npz").write_text("no")
    ran = oddwatch("evaluate", "embeddings", tmp_path, "--out", tmp_path / "out")
    assert ran.code == 1
    assert ran.err.startswith(f"oddwatch: {tmp_path / 'train_a.npz'} ")
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_data_set_lists_embeddings_too(oddwatch: Runner, tmp_path: Path) -> None:
    ran = oddwatch("evaluate", "ped1", tmp_path, "--out", tmp_path / "out")
    assert ran.code == 2
    assert "choose one of avenue, embeddings, folder, " in ran.err


def test_out_that_is_a_file(oddwatch: Runner, one_view: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    ran = oddwatch("evaluate", "embeddings", one_view, "--out", tmp_path / "out")
    assert (ran.code, (tmp_path / "out").read_text()) == (2, "mine")


def test_auto_on_the_vectors_of_a_pretrained_network() -> None:
    assert (
        Detector(backbone="r3d-18", backbone_options={"weights": "random"}, on="vector").scorer_name == FOR_EMBEDDINGS
    )
    assert Detector(on="vector").scorer_name == "knn"
    assert Configuration("knn", (("normalise", "none"),)).name == "knn, normalise none"
