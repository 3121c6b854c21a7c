"""`oddwatch bench` on small rendered videos: figures are those of the detectors themselves, each row is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner
from small_videos import ODD_SECONDS, images, write
from video_files import write_frames

from oddwatch.cli import bench as cli_bench
from oddwatch.datasets import load_dataset
from oddwatch.detector import Detector
from oddwatch.embed import EmbeddingStore
from oddwatch.errors import UsageError
from oddwatch.evaluate import bench as bench_module
from oddwatch.evaluate.bench import SECTIONS, SENSITIVITY, BenchRow, bench, plan
from oddwatch.evaluate.choices import CHOICES
from oddwatch.evaluate.measure import describe, frame_scores
from oddwatch.evaluate.stages import STAGES, speed_of
from oddwatch.scorers.attributes import ATTRIBUTES
from oddwatch.scorers.autoencoder import AutoencoderScorer
from oddwatch.types import Dataset, Embeddings, Frame, ScoreTrack
from oddwatch.video import open_video

ROOT = Path(__file__).resolve().parent.parent
AUTOENCODER = AutoencoderScorer.__init__.__kwdefaults__ or {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the layout `folder`: a usual video, and one in which someone walks against the flow."""
    root = tmp_path_factory.mktemp("data")
    write(root / "train" / "usual.mp4", 10.0, seed=1)
    write(root / "test" / "odd.mp4", 7.0, seed=3, odd="left")
    start, end = ODD_SECONDS
    truth = {"events": [{"kind": "against", "start_seconds": start, "end_seconds": end}]}
    (root / "test" / "odd.json").write_text(json.dumps(truth))
    return root


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return load_dataset("folder", folder)


@pytest.fixture(name="oddwatch_")
def _oddwatch(capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capfd)


def small_plan(sections: Sequence[str]) -> list[bench_module.Setting]:
    """The default both ways, and one other setting of the scorer and of the backbone."""
    names = {"fine", "speed alone", "all but speed", "window_px 20"}
    chosen = [s for s in plan(SECTIONS) if s.section in sections and s.name in names]
    return [s for s in chosen if s.name == "fine" or not s.offline]


def test_the_plan_has_what_the_issue_asks_for() -> None:
    settings = plan(SECTIONS)
    main = [(s.name, s.offline) for s in settings if s.section == "main"]
    assert main == [("fine", False), ("fine", True), ("fast", False), ("fast", True)]
    assert all(s.calibrated == (s.section == "main") for s in settings)
    for name in ATTRIBUTES:
        for offline in (False, True):
            alone, without = (
                next(s for s in settings if s.name == label and s.offline == offline)
                for label in (f"{name} alone", f"all but {name}")
            )
            assert alone.only == (name,)
            assert set(without.only) == set(ATTRIBUTES) - {name}
    sensitivity = [s for s in settings if s.section == "sensitivity"]
    assert len(sensitivity) == 2 + len(SENSITIVITY) >= 20
    assert not any(s.offline for s in sensitivity)
    for setting in settings:
        Detector(backbone_options=setting.backbone, scorer=setting.scorer, on=setting.on)
    with pytest.raises(UsageError, match="unknown section 'all'"):
        bench(Dataset("x", ()), sections=("all",))  # type: ignore[arg-type]


@pytest.mark.slow
def test_rows_are_those_of_the_detector_and_flow_is_made_once_for_each_setting(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "plan", small_plan)
    embedded: list[str] = []
    really = EmbeddingStore.add_video

    def counted(self: EmbeddingStore, path: str, *arguments: Any, **options: Any) -> bool:
        embedded.append(Path(path).name)
        return really(self, path, *arguments, **options)

    monkeypatch.setattr(EmbeddingStore, "add_video", counted)
    kept: dict[str, BenchRow] = {}

    def run() -> list[BenchRow]:
        found = bench(dataset, sections=("main", "ablation"), budget="1/hour", known=dict(kept), keep=kept.__setitem__)
        assert not found.failures
        return list(found.rows)

    rows = run()
    assert sorted(embedded) == ["odd.mp4"] * 2 + ["usual.mp4"] * 2  # of four rows in two settings
    assert [(r.name, r.offline) for r in rows] == [
        ("fine", False),
        ("speed alone", False),
        ("all but speed", False),
        ("fine", True),
    ]
    assert len(kept) == 4
    assert [BenchRow.from_json(json.loads(json.dumps(row.to_json()))) for row in rows] == rows
    videos = [dataset.split("train")[0].path, dataset.split("test")[0].path]
    detector = Detector(budget="1/hour").learn(videos[0])
    track = detector.score(videos[1])
    with open_video(videos[1]) as source:
        times = np.array([frame.time_seconds for frame in source])
    odd = (times >= ODD_SECONDS[0]) & (times <= ODD_SECONDS[1])
    scores = track.at(times)
    above = scores[odd][:, None] - scores[~odd][None]
    assert rows[0].figures.micro_auc == pytest.approx((above > 0).mean() + (above == 0).mean() / 2, abs=1e-9)
    assert rows[0].events is not None
    assert rows[0].events.threshold == pytest.approx(detector.threshold.value)
    assert rows[0].events.found_events == min(len(detector.events(track)), 1)
    assert len({row.figures.micro_auc for row in rows}) == 4
    assert rows[1].events is None
    assert rows[0].speed is not None
    assert sum(rows[0].speed.shares.values()) == pytest.approx(1)

    # Started again, nothing is measured; without one of the rows, that one alone.
    embedded.clear()
    assert run() == rows
    assert not embedded
    gone = next(key for key, row in kept.items() if row.offline)
    del kept[gone]
    again = run()
    assert sorted(embedded) == ["odd.mp4", "usual.mp4"]
    assert gone in kept
    assert replace(again[-1], speed=None, seconds=0) == replace(rows[-1], speed=None, seconds=0)
    # Other videos, or another budget, are other rows.
    assert not kept.keys() & bench_keys(dataset, "2/day")


def bench_keys(dataset: Dataset, budget: str) -> set[str]:
    depends = {
        "data": bench_module._data_sha256(dataset),
        "code": bench_module._code_sha256(),
        "budget": budget,
        "folds": 5,
        "seed": 42,
    }
    return {bench_module._key(depends, setting) for setting in small_plan(("main", "ablation"))}


def test_what_looks_ahead_knows_its_first_score_from_the_start(dataset: Dataset) -> None:
    (video,), failures = describe(dataset.split("test"))
    assert not failures
    ends = np.array([0.3, 0.6])
    track = ScoreTrack("x", ends - 0.1, ends, np.array([5.0, 7.0]))
    causal, ahead = (frame_scores(video, track, ahead=ahead) for ahead in (False, True))
    assert causal[:6].tolist() == [0, 0, 0, 5, 5, 5]
    assert ahead[:6].tolist() == [5, 5, 5, 5, 5, 5]
    assert (causal[6:] == 7).all()
    assert (ahead[6:] == 7).all()


def test_the_command_goes_on_where_it_was(
    oddwatch_: Runner, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "plan", lambda sections: [s for s in small_plan(sections) if not s.offline])
    out = tmp_path / "rows.jsonl"
    ran = oddwatch_("bench", "folder", folder, "--out", out, "--sections", "ablation,floors")
    assert ran.code == 0
    lines = out.read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == [
        "speed alone",
        "all but speed",
        "frame difference, not learned",
        "largest optical flow, not learned",
    ]
    assert "ablation: speed alone" in ran.err
    for said in ("speed alone", "largest optical flow", "Which choices were made on what", CHOICES[0][:40]):
        assert said in ran.out
    # Killed after the first row: the rest is measured, and the first is not.
    out.write_text(lines[0] + "\n")
    again = oddwatch_("bench", "folder", folder, "--out", out, "--sections", "ablation,floors")
    assert again.code == 0
    assert again.out == ran.out
    assert "speed alone" not in again.err
    assert out.read_text().splitlines()[0] == lines[0]
    for arguments, says in (
        (("bench", "folder", folder, "--out", folder / "train" / "usual.mp4"), "is no file of this command"),
        (("bench", "folder", folder, "--out", out, "--sections", "mian"), "unknown section 'mian'"),
        (("bench", "pets", folder, "--out", out), "unknown data set 'pets'"),
    ):
        refused = oddwatch_(*arguments)
        assert refused.code == 2
        assert says in refused.err


def test_stages_add_up(folder: Path) -> None:
    with open_video(str(folder / "test" / "odd.mp4")) as source:
        frames: list[Frame] = [frame for frame, _ in zip(source, range(40), strict=False)]
    seen: list[Embeddings] = []
    fine, fast = (speed_of([frames], {"quality": quality}, seen.append) for quality in ("fine", "fast"))
    assert fine.frames == fast.frames == 40
    assert tuple(fine.shares) == STAGES
    assert sum(fine.shares.values()) == pytest.approx(1)
    assert fine.shares["flow"] == max(fine.shares.values())
    assert 0 < fine.measured <= 1
    assert sum(map(len, seen)) == 2 * (39 + 20)  # every pair, every second one; once as a whole, once in stages


def test_the_choices_are_in_the_documents() -> None:
    text = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    for choice in CHOICES:
        assert choice in text


@pytest.mark.slow
def test_all_of_it_on_a_small_data_set(
    oddwatch_: Runner, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AutoencoderScorer.__init__, "__kwdefaults__", {**AUTOENCODER, "epochs": 2})
    root = tmp_path / "data"
    shutil.copytree(folder, root)
    for i in range(2):
        write_frames(root / "train" / f"more{i}", list(images(3.0, seed=5 + i)))
    ran = oddwatch_(
        "bench", "folder", root, "--fps", "10", "--out", tmp_path / "rows.jsonl", "--budget", "1/hour", "--folds", "2"
    )
    assert ran.code == 0, ran.err
    for title in (
        "Events at the budget 1/hour",
        "Speed of one core",
        "Other scorers",
        "Attributes",
        "settings, causal",
    ):
        assert title in ran.out
    assert "each usual video in turn" in ran.out
    assert cli_bench.AREAS[0] in ran.out
