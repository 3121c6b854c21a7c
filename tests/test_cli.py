"""The command line as people and scripts use it. Bad input is in test_bad_input.py and test_bad_detector.py."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner, finish, start
from rich.console import Console
from small_videos import ODD_SECONDS, images, write
from video_files import write_frames

import oddwatch
from oddwatch.backbones import BACKBONES
from oddwatch.cli import main, output
from oddwatch.detector import Detector
from oddwatch.scorers import SCORERS, autoencoder
from oddwatch.video import open_video

WINDOW_JSON = {"unit", "threshold", "videos", "events", "annotated", "failures"}
ARTICLE = r"^ *(\S+) +([\d.]+) +([\d.]+) +(UNUSUAL|usual) +(\S+) +([\d.]+)$"


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


def read_csv(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


# learn


def test_learn_saves_a_detector_and_says_what_is_next(oddwatch_: Runner, videos: Path, tmp_path: Path) -> None:
    ran = oddwatch_("learn", videos / "usual.mp4", "--out", "door", "--scorer", "gaussian", "--budget", "1/hour")
    assert (ran.code, ran.err) == (0, "")
    first, second, third = ran.out.splitlines()
    assert first == "Learned from 1 video, 0.3 minutes: motion, gaussian on grid."
    assert re.fullmatch(r"Threshold [\d.]+ \(1/hour: extrapolated from .* of held-out usual video, .*\)\.", second)
    assert third == "Saved in door. Next: oddwatch score door VIDEO"
    same = Detector(scorer="gaussian", budget="1/hour").learn(videos / "usual.mp4")
    assert Detector.load(tmp_path / "door").threshold == same.threshold


def test_learn_json(oddwatch_: Runner, videos: Path) -> None:
    given = [videos / "usual.mp4", videos / "quiet.mp4"]
    ran = oddwatch_("learn", *given, "--out", "door", "--scorer", "centroid", "--on", "vector", "--seed", "7", "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert (said["backbone"], said["scorer"], said["on"]) == ("motion", "centroid", "vector")
    assert (said["detector"], said["videos"], said["failures"]) == ("door", 2, [])
    assert said["seconds"] == pytest.approx(19.9 + 5.9, abs=0.01)
    detector = Detector.load("door")
    assert said["threshold"]["value"] == detector.threshold.value
    assert (said["threshold"]["extrapolated"], detector.seed) == (True, 7)


def test_learn_replaces_a_detector(oddwatch_: Runner, videos: Path, door: Path, tmp_path: Path) -> None:
    shutil.copytree(door, tmp_path / "door")
    again = ("learn", videos / "usual.mp4", "--out", "door", "--scorer", "centroid", "--overwrite")
    assert oddwatch_(*again).code == 0
    assert Detector.load("door").scorer_name == "centroid"


@pytest.mark.slow
def test_folders_are_classes_and_the_clip_way_names_the_nearest(
    oddwatch_: Runner, videos: Path, tmp_path: Path
) -> None:
    """Class `walk` is the usual scene, class `rush` the same with someone fast in it."""
    for name, source in (("walk", "usual"), ("rush", "fast")):
        (tmp_path / name).mkdir()
        if source == "fast":
            write(tmp_path / name / "1.mp4", 10.0, seed=5, odd="fast")
        else:
            shutil.copy(videos / "usual.mp4", tmp_path / name / "1.mp4")
    options = ("--scorer", "gaussian", "--on", "vector")
    assert oddwatch_("learn", "walk/1.mp4", "rush/1.mp4", "--classes", "--out", "door", *options).code == 0
    said = json.loads(oddwatch_("score", "door", "walk/1.mp4", "rush/1.mp4", "--unit", "clip", "--json").out)
    assert [clip["nearest_class"] for clip in said["clips"]] == ["walk", "rush"]
    assert [clip["centroid_distance"] for clip in said["clips"]] == pytest.approx([0, 0], abs=1e-5)
    os.makedirs("all/rush/monday")
    shutil.copy("rush/1.mp4", "all/rush/monday/1.mp4")
    shutil.copytree("walk", "all/walk")
    shutil.copytree("rush", "other")
    Path("list.txt").write_text("all\nother/1.mp4\n")
    assert oddwatch_("learn", "list.txt", "--classes", "--out", "door", "--overwrite", *options).code == 0
    labels = {one["name"]: one["label"] for one in Detector.load("door").describe()["inputs"]}
    assert labels == {"all/rush/monday/1.mp4": "rush", "all/walk/1.mp4": "walk", "other/1.mp4": "other"}
    os.chdir("rush")
    assert oddwatch_("learn", "1.mp4", "--classes", "--out", "../door", "--overwrite", *options).code == 0
    assert {one["label"] for one in Detector.load("../door").describe()["inputs"]} == {"rush"}


# score


def test_score_finds_what_the_detector_finds(oddwatch_: Runner, videos: Path, door: Path) -> None:
    ran = oddwatch_("score", door, videos / "quiet.mp4", videos / "odd.mp4", "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert set(said) == WINDOW_JSON
    detector = Detector.load(door)
    tracks = [detector.score(videos / f"{name}.mp4") for name in ("quiet", "odd")]
    events = [detector.events(track) for track in tracks]
    assert [len(found) for found in events] == [0, 1]
    assert [video["events"] for video in said["videos"]] == [0, 1]
    assert [video["peak_score"] for video in said["videos"]] == [float(track.scores.max()) for track in tracks]
    (event,) = said["events"]
    assert event["video"] == str(videos / "odd.mp4")
    assert event["start_seconds"] == pytest.approx(events[1][0].start_seconds, abs=1e-3)
    assert ODD_SECONDS[0] - 2 <= event["start_seconds"] <= ODD_SECONDS[1]
    assert (event["peak_score"], event["p_value"]) == (events[1][0].peak_score, events[1][0].p_value)
    assert event["place"] == events[1][0].place
    assert len(event["box"]) == 4
    assert said["threshold"]["value"] == detector.threshold.value


def test_score_prints_a_table_of_events(
    oddwatch_: Runner, videos: Path, door: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(videos)
    ran = oddwatch_("score", door, "odd.mp4", "quiet.mp4")
    title, head, line, row, empty, threshold = ran.out.splitlines()
    assert title.strip() == "Unusual events in 0:14.8 of video"
    assert head.split() == ["video", "from", "to", "peak", "p-value", "place", "why"]
    assert set(line) == {"─"}
    assert re.fullmatch(r"odd\.mp4 +0:0\d\.\d +0:0\d\.\d +[\d.]+ +[\d.]+ +\S+ +-", row.strip())
    assert (empty, threshold.startswith("Threshold ")) == ("", True)


def test_score_says_when_there_is_nothing(oddwatch_: Runner, videos: Path, door: Path) -> None:
    ran = oddwatch_("score", door, videos / "quiet.mp4")
    assert ran.code == 0
    detector = Detector.load(door)
    above = detector.score(videos / "quiet.mp4").scores.max() > detector.threshold.value
    short = ", for less than an event lasts" if above else ""
    assert re.match(rf"Nothing unusual in 0:05\.9 of video \(highest score [\d.]+{short}\)\.\nThreshold ", ran.out)


def test_a_threshold_or_another_budget(oddwatch_: Runner, videos: Path, door: Path) -> None:
    detector = Detector.load(door)
    peak = float(detector.score(videos / "odd.mp4").scores.max())

    def said(*options: object) -> dict[str, Any]:
        ran = oddwatch_("score", door, videos / "odd.mp4", "--json", *options)
        assert ran.code == 0
        answer: dict[str, Any] = json.loads(ran.out)
        return answer

    high = said("--threshold", peak * 2)
    assert (high["threshold"], high["events"]) == ({"value": peak * 2, "says": "given by hand"}, [])
    assert len(said("--threshold", peak / 2)["events"]) == 1
    share = said("--budget", "20%")
    assert share["threshold"]["value"] == detector.threshold_for("20%").value < detector.threshold.value
    assert share["threshold"]["says"].startswith("20% of ")


def test_csv_has_every_score(oddwatch_: Runner, videos: Path, door: Path) -> None:
    ran = oddwatch_("score", door, videos / "odd.mp4", videos / "quiet.mp4", "--csv", "new/scores.csv")
    assert ran.code == 0
    rows = read_csv("new/scores.csv")
    assert list(rows[0]) == ["video", "start_seconds", "end_seconds", "score", "p_value"]
    detector = Detector.load(door)
    for name in ("odd", "quiet"):
        track = detector.score(videos / f"{name}.mp4")
        mine = [row for row in rows if row["video"] == str(videos / f"{name}.mp4")]
        for column, values in (
            ("start_seconds", track.start_seconds),
            ("end_seconds", track.end_seconds),
            ("score", track.scores),
            ("p_value", detector.calibration.p_value(track.scores)),
        ):
            np.testing.assert_allclose([float(row[column]) for row in mine], values, rtol=1e-3, atol=1e-4)
    assert len(rows) == 89 + 59


def test_csv_never_replaces_anything_but_a_csv(oddwatch_: Runner, videos: Path, door: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.mp4"
    shutil.copy(videos / "quiet.mp4", mine)
    before = mine.read_bytes()
    ran = oddwatch_("score", door, mine, "--csv", mine)
    assert (ran.code, mine.read_bytes()) == (2, before)
    assert "is a file already and does not end in .csv" in ran.err
    for _ in range(2):
        ran = oddwatch_("score", door, mine, "--csv", tmp_path / "scores.csv")
        assert ran.code == 0
        assert ran.out.endswith(f"Scores: {tmp_path}/scores.csv\n")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_while_everything_is_still_imported(tmp_path: Path) -> None:
    process = start("score", "door", "a.mp4", cwd=tmp_path)
    while "numpy" not in Path(f"/proc/{process.pid}/maps").read_text():  # the first of what is large
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    ran = finish(process)
    assert "Traceback" not in ran.err
    assert ran.code == 130


def test_csv_can_go_into_a_pipe(videos: Path, door: Path) -> None:
    ran = finish(start("score", door, videos / "quiet.mp4", "--csv", "/dev/stdout"))
    assert (ran.code, ran.err) == (0, "")
    assert len(list(csv.reader(io.StringIO(ran.out.partition("\nvideo,")[2])))) == 60


def test_annotate_writes_a_video_beside_the_events(oddwatch_: Runner, videos: Path, door: Path, tmp_path: Path) -> None:
    """Two videos of one name get two files, and neither replaces a video."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    shutil.copy(videos / "odd.mp4", tmp_path / "a" / "1.mp4")
    shutil.copy(videos / "quiet.mp4", tmp_path / "b" / "1.mp4")
    ran = oddwatch_("score", door, "a", "b", "--annotate", "a")
    assert ran.code == 0
    assert ran.out.splitlines()[-2:] == ["Annotated video: a/1-annotated.mp4", "Annotated video: a/1-2-annotated.mp4"]
    assert (tmp_path / "a" / "1.mp4").read_bytes() == (videos / "odd.mp4").read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["1-2-annotated.mp4", "1-annotated.mp4", "1.mp4"]
    for name, frames in (("1-annotated.mp4", 90), ("1-2-annotated.mp4", 60)):
        with open_video(tmp_path / "a" / name) as video:
            assert video.info.width_px == 640
            assert sum(1 for _ in video) == frames


def test_the_clip_way_is_one_line_per_clip(
    oddwatch_: Runner, videos: Path, door: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(videos)
    budget = ("--unit", "clip", "--budget", "1%")
    ran = oddwatch_("score", door, "odd.mp4", "quiet.mp4", *budget, "--csv", tmp_path / "clips.csv")
    assert (ran.code, ran.err) == (0, "")
    found = re.findall(ARTICLE, ran.out, re.MULTILINE)
    assert [(clip[0], clip[3], clip[4]) for clip in found] == [
        ("odd.mp4", "UNUSUAL", "usual"),
        ("quiet.mp4", "usual", "usual"),
    ]
    verdict = Detector.load(door).score_clip("odd.mp4", budget="1%")
    assert float(found[0][1]) == pytest.approx(verdict.score, rel=1e-3)
    assert float(found[0][2]) == pytest.approx(verdict.threshold, rel=1e-3)
    rows = read_csv(tmp_path / "clips.csv")
    assert [row["anomalous"] for row in rows] == ["1", "0"]
    said = json.loads(oddwatch_("score", door, "odd.mp4", "--unit", "clip", "--threshold", "1e9", "--json").out)
    assert (said["unit"], said["threshold"]["says"], said["failures"]) == ("clip", "given by hand", [])
    (clip,) = said["clips"]
    assert list(clip) == ["video", "error", "threshold", "anomalous", "nearest_class", "centroid_distance"]
    assert (clip["error"], clip["anomalous"]) == (verdict.score, False)


def test_a_folder_of_frames_is_scored_like_its_video(oddwatch_: Runner, door: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "frames", images(9.0, seed=3, odd="left"))
    said = json.loads(oddwatch_("score", door, "frames", "--fps", "10", "--json").out)
    assert (len(said["events"]), said["videos"][0]["seconds"]) == (1, 8.9)


def test_any_file_name_can_be_shown(oddwatch_: Runner, videos: Path, door: Path) -> None:
    """Names with what Rich takes for markup, and bytes that are no text."""
    names = [b"[red]a.mp4", b"[b].mp4", b"caf\xe9 :smile:.mp4"]
    for name in names:
        shutil.copy(os.fsencode(videos / "odd.mp4"), name)
    ran = oddwatch_("score", door, *map(os.fsdecode, names), "missing[red].mp4", "--csv", "out.csv")
    assert ran.code == 1
    for shown in ("[red]a.mp4", "[b].mp4", "caf\\udce9 :smile:.mp4"):
        assert re.search(rf"^{re.escape(shown)} +0:0", ran.out, re.MULTILINE), ran.out
    assert "missing[red].mp4" in ran.err
    assert b"caf\xe9 :smile:.mp4" in Path("out.csv").read_bytes()
    said = json.loads(oddwatch_("score", door, *map(os.fsdecode, names), "--json").out)
    assert [os.fsencode(video["video"]) for video in said["videos"]] == names


def test_progress_on_a_terminal_goes_to_standard_error(
    oddwatch_: Runner, videos: Path, door: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(videos / "quiet.mp4", "a[b].mp4")
    terminal = Console(stderr=True, force_terminal=True, width=100, markup=False, highlight=False)
    monkeypatch.setattr(output, "errors", terminal)
    ran = oddwatch_("score", door, "a[b].mp4", "--json")
    assert ran.code == 0
    json.loads(ran.out)
    assert "a[b].mp4" in ran.err
    assert "%" in ran.err


# names


def test_backbones_and_scorers(oddwatch_: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.loads(oddwatch_("backbones", "--json").out)["backbones"]
    assert [one["name"] for one in said] == list(BACKBONES)
    assert [one["name"] for one in said if one["weights"] is None] == ["motion", "histograms", "pixels"]
    said = json.loads(oddwatch_("scorers", "--json").out)["scorers"]
    assert [one["name"] for one in said] == list(SCORERS)
    assert next(one for one in said if one["name"] == "autoencoder")["options"]["hidden"] == [512, 256, 128]
    for command, name, width in (("backbones", "motion", 100), ("scorers", "autoencoder", 80)):
        ran = oddwatch_(command)
        assert (ran.code, ran.err) == (0, "")
        assert re.search(rf"^{name}  ", ran.out, re.MULTILINE)
        assert max(map(len, ran.out.splitlines())) <= width
    monkeypatch.setattr(autoencoder, "find_spec", lambda name: None)
    ran = oddwatch_("scorers")
    assert ran.code == 0
    assert 'pip install "oddwatch[torch]"' in ran.out
    said = json.loads(oddwatch_("scorers", "--json").out)["scorers"]
    assert next(one for one in said if one["name"] == "autoencoder")["options"] is None


# ending early


def raise_at(call: int, of: Callable[..., Any]) -> Callable[..., Any]:
    """`of`, which is interrupted when it is called for the `call`th time."""
    calls = []

    def wrapped(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return of(*arguments, **options)

    return wrapped


def test_what_is_scored_is_kept_when_interrupted(
    oddwatch_: Runner, videos: Path, door: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detector, "score", raise_at(2, Detector.score))
    ran = oddwatch_("score", door, videos / "odd.mp4", videos / "quiet.mp4", "--csv", "out.csv", "--json")
    assert ran.code == 130
    assert [video["video"] for video in json.loads(ran.out)["videos"]] == [str(videos / "odd.mp4")]
    assert ran.err == "oddwatch: interrupted; the videos above are finished, the others were not scored\n"
    assert len(Path("out.csv").read_text().splitlines()) == 1 + 89


def test_demo_says_that_it_was_interrupted(oddwatch_: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddwatch.demo.render", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    ran = oddwatch_("demo", "--out", "out")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "oddwatch: interrupted; what was not finished has not been written\n"


def wait_for(found: Callable[[], bool]) -> None:
    until = time.monotonic() + 40
    while not found():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_ctrl_c_while_scoring_the_second_video(videos: Path, door: Path, tmp_path: Path) -> None:
    """A real process and a real signal, sent when the first video has been annotated."""
    with (tmp_path / "list.txt").open("w") as listed:
        print(videos / "odd.mp4", file=listed)
        for number in range(20):
            os.link(videos / "usual.mp4", tmp_path / f"{number}.mp4")
            print(f"{number}.mp4", file=listed)
    process = start("score", door, "list.txt", "--annotate", "seen", cwd=tmp_path, temporary=tmp_path)
    wait_for(lambda: (tmp_path / "seen" / "odd-annotated.mp4").exists())
    process.send_signal(signal.SIGINT)
    ran = finish(process)
    assert ran.code == 130
    assert ran.err == "oddwatch: interrupted; the videos above are finished, the others were not scored\n"
    assert re.search(r"odd\.mp4 +0:0", ran.out)
    assert "Annotated video: seen/odd-annotated.mp4" in ran.out
    assert not list((tmp_path / "seen").glob(".*"))


def test_a_reader_that_goes_away_is_no_error(door: Path) -> None:
    """As in `oddwatch scorers | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    process = start("scorers", stdout=writing)
    os.close(writing)
    ran = finish(process)
    assert (ran.code, ran.err) == (1, "")


def test_main_is_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["oddwatch", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().out.strip()) == (0, oddwatch.__version__)


def test_python_offers_the_same_names() -> None:
    for name in oddwatch.__all__:
        assert getattr(oddwatch, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        oddwatch.nothing  # noqa: B018
