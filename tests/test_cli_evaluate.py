"""`oddwatch evaluate` as people and scripts use it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Runner
from small_videos import ODD_SECONDS, images, write
from video_files import write_frames

import oddwatch
from oddwatch.cli import evaluate as cli_evaluate
from oddwatch.detector import Detector
from oddwatch.evaluate import to_json
from oddwatch.scorers import autoencoder
from oddwatch.types import Evaluation, FrameMetrics, LeaveOneOut, Row

FIGURES = {"micro_auc", "macro_auc", "average_precision", "eer"}


@pytest.fixture(name="oddwatch_")
def _oddwatch(capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capfd)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """usual.mp4 (20 s), quiet.mp4 (6 s, usual) and odd.mp4 (9 s, someone walks against the flow)."""
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "usual.mp4", 20.0, seed=1)
    write(folder / "quiet.mp4", 6.0, seed=2)
    write(folder / "odd.mp4", 9.0, seed=3, odd="left")
    return folder


@pytest.fixture(scope="module")
def door(videos: Path) -> Path:
    """A detector in a folder."""
    folder = videos / "door"
    Detector(scorer="gaussian", budget="1/hour").learn(videos / "usual.mp4").save(folder)
    return folder


@pytest.fixture(scope="module")
def data(videos: Path) -> Path:
    """A data set folder: two usual videos, one with truth, one without."""
    folder = videos / "data"
    for split, name in (("train", "usual"), ("test", "odd"), ("test", "quiet")):
        (folder / split).mkdir(parents=True, exist_ok=True)
        shutil.copy(videos / f"{name}.mp4", folder / split / f"{name}.mp4")
    start, end = ODD_SECONDS
    truth = {"events": [{"kind": "against", "start_seconds": start, "end_seconds": end}]}
    (folder / "test" / "odd.json").write_text(json.dumps(truth))
    (folder / "test" / "quiet.json").write_text('{"events": []}')
    return folder


@pytest.mark.slow
def test_evaluate_json_is_what_was_promised(oddwatch_: Runner, data: Path, tmp_path: Path) -> None:
    ran = oddwatch_("evaluate", "folder", data, "--out", "out", "--scorer", "gaussian", "--no-compare", "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert {"dataset", "causal", "offline", "events", "frames_per_second", "settings"} <= set(said)
    assert set(said["causal"]) == set(said["offline"]) >= FIGURES
    assert said["dataset"] == "data"
    assert 0.5 < said["causal"]["micro_auc"] <= 1
    assert said["frames_per_second"] > 0
    assert (said["events"]["truth_events"], said["failures"], said["leave_one_out"]) == (1, [], None)
    assert said["settings"]["scorer"]["name"] == "gaussian"
    assert said["settings"]["versions"]["oddwatch"] == oddwatch.__version__
    assert [row["name"] for row in said["rows"]] == ["motion, gaussian on grid"]
    assert said["report"] == "out/report.html"
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 1 + 90 + 60


@pytest.mark.slow
def test_evaluate_for_people(oddwatch_: Runner, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other scorers and floors are beside; one that is not installed says how to get it, and the rest goes on."""
    suits = ["gaussian", "centroid", "autoencoder"]
    monkeypatch.setattr(cli_evaluate, "suitable_scorers", lambda backbone, on: suits if on == "grid" else ["centroid"])
    monkeypatch.setattr(autoencoder, "find_spec", lambda name: None)
    ran = oddwatch_("evaluate", "folder", data, "--out", "out", "--scorer", "gaussian", "--budget", "6/hour")
    assert (ran.code, ran.err) == (0, "")
    figures, _, rest = ran.out.partition("Places and events")
    assert figures.startswith("data: frame level, causal; macro over the 1 of 2 videos with both classes")
    names = re.findall(r"^(\S.*?)  +[\d.-]+ ", figures, re.MULTILINE)
    assert names == [
        "motion, gaussian on grid",
        "motion, centroid on grid",
        "motion, centroid on vector",
        "frame difference, not learned",
        "largest optical flow, not learned",
        "motion, autoencoder on grid",
    ]
    assert 'the autoencoder scorer needs torch: pip install "oddwatch[torch]"' in rest
    assert re.search(r"^Events at it: 1 of 1 found, median delay [\d.]+ s; \d false alarms? in 0\.2 min", rest, re.M)
    assert rest.rstrip().endswith("Report: out/report.html")
    assert "Decode to score: " in rest


@pytest.mark.slow
def test_evaluate_with_a_saved_detector(oddwatch_: Runner, data: Path, door: Path) -> None:
    """It needs no usual video, compares with nothing that would have to learn, and scores as the detector does."""
    shutil.copytree(data / "test", "only/test")
    ran = oddwatch_("evaluate", "folder", "only", "--out", "out", "--detector", door, "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert [row["name"].partition(",")[0] for row in said["rows"]] == [
        "motion",
        "frame difference",
        "largest optical flow",
    ]
    detector = Detector.load(door)
    assert said["threshold"]["value"] == detector.threshold.value
    found = sum(len(detector.events(detector.score(data / "test" / f"{name}.mp4"))) for name in ("odd", "quiet"))
    assert said["events"]["found_events"] + said["events"]["false_alarms"] == found == 1
    ran = oddwatch_("evaluate", "folder", "only", "--out", "out", "--detector", door, "--scorer", "knn")
    assert ran.code == 2
    assert "--detector" in ran.err


def test_evaluate_ped2(oddwatch_: Runner, tmp_path: Path) -> None:
    """The published layout, in small."""
    data = tmp_path / "ped2"
    labels = {}
    masks = {}
    size = (360, 240)
    for name in ("01", "02", "03"):
        write_frames(data / "training" / "frames" / name, images(6, seed=int(name), size_px=size), extension=".jpg")
    for name in ("01", "02"):
        count = 30
        odd = "left" if name == "01" else None
        write_frames(data / "testing" / "frames" / name, images(3, seed=10 + int(name), odd=odd, size_px=size))
        unusual = (np.arange(count) >= 20) & (name == "01")
        labels[name] = unusual.astype(int).tolist()
        mask = np.zeros((count, 240, 360), dtype=bool)
        mask[unusual, 50:80, 300:340] = True
        masks[name] = np.packbits(mask, axis=-1)
    (data / "frame_labels.json").write_text(json.dumps(labels))
    np.savez(data / "pixel_masks_packbits.npz", allow_pickle=False, **masks)
    ran = oddwatch_("evaluate", "ped2", data, "--out", "out", "--scorer", "gaussian", "--no-compare", "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert (said["dataset"], said["causal"]["macro_videos"]) == ("ped2", 1)
    assert 0 <= said["causal"]["rbdc"] <= 1
    assert said["causal"]["regions_derived"] is True
    assert (said["leave_one_out"]["hours"], said["events"]["truth_events"]) == (pytest.approx(3 * 5.9 / 3600), 1)
    assert "Mahadevan" in said["citation"]


@pytest.mark.parametrize(
    ("interval", "expected", "says"),
    [
        ((0.03, 5.57), 0.0059, "the budget 2/day allows 0.0059, so the count is more than the budget allows."),
        ((0.03, 5.57), 1.5, "the budget 2/day allows 1.5, so the count agrees with the budget."),
        ((0.03, 5.57), 9.0, "the budget 2/day allows 9, so the count is less than the budget allows."),
        ((0.03, 5.57), None, "the budget 2/day is a share of scores, not a rate."),
    ],
)
def test_the_count_of_leaving_one_out_is_judged(
    interval: tuple[float, float], expected: float | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = FrameMetrics(None, None, None, 0, None, None)
    derived = replace(nothing, rbdc=0.5, tbdc=0.25, regions_derived=True)
    loo = LeaveOneOut("2/day", 0.07, 1, interval, expected)
    found = Evaluation("data", (Row("a", derived),), (), np.ones(3), 2.0, "a test", None, loo, (), {})
    cli_evaluate.show(found)
    printed = capsys.readouterr().out
    assert says in printed
    assert to_json(found)["leave_one_out"]["verdict"] == loo.verdict
    derived_line = "RBDC and TBDC: nobody annotated regions and tracks here, they are derived from pixel masks.\n"
    assert derived_line in printed
    cli_evaluate.show(replace(found, rows=(Row("a", replace(derived, regions_derived=False)),)))
    assert derived_line not in capsys.readouterr().out


@pytest.mark.slow
def test_figures_are_shown_when_the_report_cannot_be_written(oddwatch_: Runner, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.csv").mkdir()
    ran = oddwatch_("evaluate", "folder", data, "--out", "out", "--scorer", "gaussian", "--no-compare", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["report"] is None
    assert re.fullmatch(r"oddwatch: .*scores\.csv: the report cannot be written, .*\n", ran.err)


def test_evaluate_says_that_it_was_interrupted(oddwatch_: Runner, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Detector, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    ran = oddwatch_("evaluate", "folder", data, "--out", "out")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "oddwatch: interrupted; what was not finished has not been written\n"
