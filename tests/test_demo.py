"""The demonstration; a short one and the real one are slow tests."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Runner, finish, start

from oddwatch import demo
from oddwatch.cli.demo import show
from oddwatch.demo import DemoResult, Side, render, run_demo
from oddwatch.detector import Detector
from oddwatch.errors import OddwatchError
from oddwatch.scenes import Scene
from oddwatch.scorers.autoencoder import AutoencoderScorer
from oddwatch.truth import read_truth
from oddwatch.types import Event, TruthEvent
from oddwatch.video import open_video

DEFAULTS = AutoencoderScorer.__init__.__kwdefaults__ or {}
FILES = {"usual.mp4", "unseen.mp4", "unseen.json", "detector", "unseen-annotated.mp4", "report"}


def frames(path: Path) -> int:
    """How many frames can be decoded; each must show something."""
    with open_video(path) as video:
        return sum(bool(np.ptp(frame.image) > 50) for frame in video)


def event(start_seconds: float, end_seconds: float) -> Event:
    return Event(start_seconds, end_seconds, start_seconds, 2.0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifteen seconds to learn from, one unusual event, an autoencoder that hardly learns."""
    monkeypatch.setattr(demo, "USUAL_SECONDS", 15.0)
    monkeypatch.setattr(demo, "UNSEEN_SECONDS", 21.0)
    monkeypatch.setattr(demo, "KINDS", ("cart",))
    monkeypatch.setattr(AutoencoderScorer.__init__, "__kwdefaults__", {**DEFAULTS, "epochs": 2})


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_a_short_demo_where_an_older_one_was(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out, usual = tmp_path / "out", tmp_path / "usual.mp4"
    render(usual, Scene(place_seed=1, seed=2, seconds=12.0))
    (out / "report").mkdir(parents=True)
    for name in FILES - {"detector", "report"}:
        (out / name).write_text("older")
    older = Detector(scorer="centroid", on="vector", budget="2%").learn(usual)
    older.save(out / "detector")
    told: list[str] = []
    result = run_demo(out, seed=1, progress=lambda name, done, total: told.append(name))
    assert {path.name for path in out.iterdir()} == FILES
    assert [happened.kind for happened in result.truth] == ["cart"]
    assert read_truth(out / "unseen.json") == result.truth
    assert (frames(result.usual_video), frames(result.unseen_video), frames(result.annotated)) == (150, 210, 210)
    assert [side.name for side in result.sides] == ["motion, attributes on grid", "motion, autoencoder on vector"]
    detector = Detector.load(result.detector)
    assert result.sides[0].threshold == detector.threshold.value
    assert result.sides[0].events == detector.events(detector.score(result.unseen_video))
    assert "motion, autoencoder on vector" in result.report.read_text()
    assert {"rendering usual.mp4", "rendering unseen.mp4", str(result.unseen_video)} <= set(told)
    capfd.readouterr()
    show(result)
    check_what_is_printed(capfd.readouterr().out, out)


def test_the_command_runs_it_and_shows_it(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, int]] = []
    path = Path("x")

    def run(out: Path, *, seed: int, progress: object) -> DemoResult:
        asked.append((out, seed))
        side = Side("motion, attributes on grid", (event(2, 3),), 2, "a")
        short = replace(side, note="learned from little")
        return DemoResult((TruthEvent("cart", 1.0, 2.5),), (side, short), path, path, path, path, path)

    monkeypatch.setattr(demo, "run_demo", run)
    ran = Runner(capfd)("demo", "--out", "here", "--seed", "5")
    assert (ran.code, ran.err, asked) == (0, "", [(Path("here"), 5)])
    assert "The default: 1 of 1 found, 0 false alarms." in ran.out
    assert ran.out.count("\n  To save time: ") == 1
    assert "  Threshold 2 (a).\n  To save time: learned from little.\n" in ran.out


def check_what_is_printed(printed: str, out: Path) -> None:
    """A table that fits 80 columns, a summary, and paths that exist."""
    table, summary, paths = printed.rstrip("\n").split("\n\n")
    assert max(map(len, table.splitlines())) <= 80
    assert "motion, attributes" in table
    assert "motion, autoencoder" in table
    assert re.search(r"^The default: \d of \d found, \d+ false alarms?\.\n  Threshold .*\.$", summary, re.MULTILINE)
    assert re.search(r"^The article's method: \d of \d found, \d+ false", summary, re.MULTILINE)
    assert summary.endswith("\n  To save time: learned from at most 300 moments, threshold from 2 folds.")
    listed = dict(re.findall(r"^(.+?): +(\S+)$", paths, re.MULTILINE))
    assert list(listed) == ["Usual video", "Unseen video", "Detector", "Annotated video", "Report"]
    assert all((out.parent / path).exists() for path in listed.values())


def test_the_table_sets_what_was_found_beside_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    truth = (TruthEvent("against_flow", 52.5, 60.0), TruthEvent("fall", 107.5, 117.5))
    default = Side(
        "motion, attributes on grid", (event(53, 59), event(70, 71), event(108, 109), event(112, 113)), 2, "a"
    )
    article = Side("motion, autoencoder on vector", (event(117.5, 119),), 3, "b")
    path = Path("out")
    show(DemoResult(truth, (default, article), path, path, path, path, path))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    table = [re.split(r" {2,}", line) for line in lines[lines.index(next(x for x in lines if x.startswith("─"))) + 1 :]]
    assert table[:5] == [
        ["against flow", "0:52.5 to 1:00.0", "0:53.0 to 0:59.0", "missed"],
        ["fall", "1:47.5 to 1:57.5", "1:48.0 to 1:49.0", "1:57.5 to 1:59.0"],
        ["", "1:52.0 to 1:53.0"],
        ["false alarms", "1:10.0 to 1:11.0", "none"],
        [""],
    ]
    assert "The default: 2 of 2 found, 1 false alarm." in lines
    assert "The article's method: 1 of 2 found, 0 false alarms." in lines


def test_the_same_scene_gives_the_same_video(tmp_path: Path) -> None:
    truth = [render(tmp_path / f"{i}.mp4", Scene(place_seed=1, seed=2, seconds=2.0)) for i in (1, 2)]
    assert truth[0] == truth[1]
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "2.mp4").read_bytes()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    """A video of one's own could have the name of one that the demo writes."""
    (tmp_path / "holiday.mp4").write_bytes(b"x")
    with pytest.raises(OddwatchError, match=r"holds holiday\.mp4, which is not of a demo: give --out a new folder"):
        run_demo(tmp_path)
    with pytest.raises(OddwatchError, match=r"holiday\.mp4 is a file: give --out a new folder"):
        run_demo(tmp_path / "holiday.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path) -> None:
    """As a newcomer runs it."""
    ran = finish(start("demo", cwd=tmp_path), limit_seconds=600)
    assert (ran.code, ran.err) == (0, "")
    out = tmp_path / "demo"
    check_what_is_printed(ran.out, out)
    assert {path.name for path in out.iterdir()} == FILES
    assert [happened.kind for happened in read_truth(out / "unseen.json")] == list(demo.KINDS)
    found, kinds, false = map(int, re.findall(r"The default: (\d) of (\d) found, (\d+) false", ran.out)[0])
    assert found >= kinds - 1
    assert false <= 1
    assert frames(out / "unseen-annotated.mp4") == frames(out / "unseen.mp4") == round(demo.UNSEEN_SECONDS * 10)
    record = json.loads((out / "detector" / "detector.json").read_text())
    assert record["inputs"][0]["seconds"] == pytest.approx(demo.USUAL_SECONDS, abs=0.5)
