"""The report on made-up evaluations of small real videos: what it says, what it shows, that it needs nothing else."""

from __future__ import annotations

import base64
import csv
import re
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_evaluations import COUNT, FPS, NO_FIGURES, THRESHOLD, evaluation, report, scored, write_video

from oddwatch.errors import MissingExtraError, OddwatchError
from oddwatch.report import figures as figures_module
from oddwatch.report import page as page_module
from oddwatch.report import write_report
from oddwatch.report.content import found_events, missed_events
from oddwatch.report.strips import FRAMES, event_strips, strip_times
from oddwatch.report.wording import NONE
from oddwatch.types import (
    Event,
    EventMetrics,
    Failure,
    Reason,
    Row,
    Sample,
    ScoredSample,
    ScoreTrack,
    TruthEvent,
)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4")


@pytest.fixture
def drawn() -> None:
    """Ask for this to have the figures drawn for real."""


@pytest.fixture(autouse=True)
def _no_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes nearly all of the time, and most tests are about words."""
    if "drawn" not in request.fixturenames:
        png = cv2.imencode(".png", np.zeros((1, 1, 3), dtype=np.uint8))[1].tobytes()
        monkeypatch.setattr(figures_module, "png_of", lambda figure: png)


def test_the_page_is_one_file_that_needs_nothing_else(video: Path, tmp_path: Path) -> None:
    page = report(evaluation(scored(video)), tmp_path / "new" / "folder")
    names = {name for name, _ in page.tags}
    assert names.isdisjoint({"script", "link", "iframe", "object"})
    for _, attributes in page.tags:
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    images = page.all("img")
    assert len(images) == 5  # timeline, strip, ROC, precision-recall, distribution
    for image in images:
        kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", image["src"]).groups()  # type: ignore[union-attr]
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None, kind
        assert decoded.shape[:2] == (int(image["height"]), int(image["width"]))
        assert len(image["alt"]) > 20
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"][1:] for attributes in page.all("a")} <= targets
    css = (tmp_path / "new" / "folder" / "report.html").read_text().split("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css


@pytest.mark.usefixtures("drawn")
def test_figures_are_the_pictures_of_the_page(video: Path, tmp_path: Path) -> None:
    page = report(evaluation(scored(video)), tmp_path)
    files = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert set(files) == {
        "distribution.png",
        "event-01.png",
        "precision-recall.png",
        "roc.png",
        "timeline-001-monday.png",
    }
    embedded = {base64.b64decode(i["src"].split(",")[1]) for i in page.all("img") if "image/png" in i["src"]}
    assert embedded == {data for name, data in files.items() if name != "event-01.png"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "report.html", "scores.csv"]


def test_scores_csv(video: Path, tmp_path: Path) -> None:
    write_report(evaluation(scored(video), scored(video, name="tue,sday", labels=False)), tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * COUNT
    assert rows[0] == {"video": "monday", "frame": "0", "seconds": "0.0000", "score": "2.0", "label": "0"}
    assert rows[12] == {"video": "monday", "frame": "12", "seconds": "1.2000", "score": "20.0", "label": "1"}
    assert rows[COUNT] == {"video": "tue,sday", "frame": "0", "seconds": "0.0000", "score": "2.0", "label": ""}


def test_the_summary_says_it_in_words(video: Path, tmp_path: Path) -> None:
    text = report(evaluation(scored(video)), tmp_path).text
    assert "(motion, gaussian on grid) learned what is usual from 1 usual video and then watched 1 test video" in text
    assert (
        "It raised 1 event. Of 1 unusual event known to have happened it found 1, and it gave 0 false alarms." in text
    )
    assert "reaches 10.00. Where this threshold comes from: 2/day: extrapolated from 7 peaks." in text
    assert "micro AUC 0.988 all frames together" in text
    assert "events found 1 of 1" in text
    assert "frames per second 123" in text
    assert "Data: Somebody, 2024" in text
    assert "Inputs not used" not in text
    assert "numpy 2.0" in text


def test_the_table_of_events(video: Path, tmp_path: Path) -> None:
    events = (
        Event(1.0, 2.0, 1.5, 20.0, 0.0123, (0.5, 0.6, 0.9, 0.9), Reason("speed", 2.0, "3.1x the usual speed here")),
        Event(3.0, 3.5, 3.2, 30.0, None, None),
    )
    page = report(evaluation(scored(video, events=events)), tmp_path)
    assert "2 monday 0:01.0 0:02.0 20.00 0.012 lower right 3.1x the usual speed here match: cyclist" in page.text
    assert f"1 monday 0:03.0 0:03.5 30.00 {NONE} {NONE} {NONE} false alarm" in page.text
    assert "found 1, and it gave 1 false alarm." in page.text
    assert "not found" not in page.text
    ranks = [a["id"] for name, a in page.tags if name == "figure" and "id" in a]
    assert ranks == ["event-1", "event-2"]


def test_an_event_that_was_missed_is_named(video: Path, tmp_path: Path) -> None:
    truth = (TruthEvent("cart", 3.0, 3.4), TruthEvent("cyclist", 2.0, 2.5))
    text = report(evaluation(scored(video, truth=truth)), tmp_path).text
    assert "Unusual events that were not found video what from to monday cart 0:03.0 0:03.4" in text
    assert "Of 2 unusual events known to have happened it found 1" in text


def test_matching_is_that_of_the_event_metrics() -> None:
    touching = TruthEvent("late", 2.0, 3.0)
    for truth, kinds in [
        ((touching,), ("late",)),
        ((TruthEvent("after", 2.01, 3.0),), ()),
        ((TruthEvent("a", 0.0, 1.0), touching, TruthEvent("a", 1.4, 1.5)), ("a", "late")),
        ((), ()),
    ]:
        sample = scored(Path("none.mp4"), truth=truth)
        assert [one.truth for one in found_events(evaluation(sample))] == [kinds]
    assert missed_events(evaluation(scored(Path("none.mp4"), truth=(touching,)))) == []


def test_labels_alone_are_truth_enough(video: Path, tmp_path: Path) -> None:
    text = report(evaluation(scored(video, truth=None)), tmp_path).text
    assert "Of 1 unusual event known to have happened it found 1" in text
    assert f"0.012 lower right {NONE} match" in text
    assert "monday : unusual 0:01.2 to 0:02.3" in text


def test_without_labels_there_is_no_roc(video: Path, tmp_path: Path) -> None:
    given = evaluation(
        scored(video, truth=None, labels=False), rows=(Row("motion, knn on vector", NO_FIGURES),), leave_one_out=None
    )
    page = report(given, tmp_path)
    assert "No ROC and no precision-recall curve: no test frame is labelled." in page.text
    assert "What really happened is not known" in page.text
    assert f"20.00 0.012 lower right {NONE} not known" in page.text
    assert "No figures per frame" in page.text
    assert "Leave one" not in page.text
    assert "false alarm" not in page.text
    assert not (tmp_path / "figures" / "roc.png").exists()


@pytest.mark.parametrize(("unusual", "kind"), [(True, "unusual"), (False, "usual")])
@pytest.mark.usefixtures("drawn")
def test_one_class_alone_gives_no_roc(unusual: bool, kind: str, video: Path, tmp_path: Path) -> None:
    sample = replace(scored(video), frame_labels=np.full(COUNT, unusual))
    assert f"all labelled test frames are {kind}." in report(evaluation(sample), tmp_path).text


def test_without_events(video: Path, tmp_path: Path) -> None:
    page = report(evaluation(scored(video, events=(), truth=())), tmp_path)
    assert "It raised no event. Nothing unusual is known to have happened: 0 false alarms." in page.text
    assert "There is no event to show." in page.text
    assert not list((tmp_path / "figures").glob("event-*"))


def test_without_maps_the_strip_shows_plain_frames(video: Path, tmp_path: Path) -> None:
    event = Event(1.0, 2.0, 1.5, 20.0)
    page = report(evaluation(scored(video, maps=False, events=(event,))), tmp_path)
    assert "there is no heat to show" in page.text
    strip = cv2.imread(str(tmp_path / "figures" / "event-01.png"))
    assert strip is not None
    assert (np.ptp(strip[:200].astype(int), axis=2) <= 3).all()  # gray video, so no colour but the label's


def test_a_strip_shows_five_moments_and_heat_where_the_map_is_high(video: Path) -> None:
    event = Event(1.0, 2.0, 1.6, 20.0, box=(0.5, 0.5, 1.0, 1.0))
    sample = scored(video)
    (strip,) = event_strips(str(video), sample.track, [event], threshold=THRESHOLD)
    tile = 384
    tiles = [strip[:256, i * (tile + 12) : i * (tile + 12) + tile] for i in range(FRAMES)]
    brightness = [int(t[20:60, 20:60].mean()) for t in tiles]
    assert np.abs(np.array(brightness) - (40 + 4 * np.array([10, 12, 15, 16, 20]))).max() <= 4
    for index, one in enumerate(tiles):
        hot = one[215:245, 340:370].reshape(-1, 3).mean(axis=0)
        assert hot[0] - hot[2] > 50, index
        assert np.ptp(one[:100, :100].astype(int), axis=2).max() <= 6
    assert strip.shape[1] == 5 * tile + 4 * 12


def test_strip_times_hold_the_peak_and_both_ends() -> None:
    assert strip_times(Event(2.0, 4.0, 4.0, 1.0)).tolist() == [2.0, 2.5, 3.0, 3.5, 4.0]
    assert strip_times(Event(2.0, 2.0, 2.0, 1.0)).tolist() == [2.0] * 5


def test_a_video_that_is_gone_costs_only_its_pictures(video: Path, tmp_path: Path) -> None:
    page = report(evaluation(scored(video), scored(tmp_path / "gone.mp4", name="tuesday")), tmp_path / "out")
    assert "No pictures of tuesday:" in page.text
    assert "gone.mp4" in page.text
    assert len([i for i in page.all("img") if "image/jpeg" in i["src"]]) == 1
    assert "2 tuesday 0:01.0" in page.text


def test_a_folder_of_frames_is_read_at_its_rate(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(COUNT):
        cv2.imwrite(str(folder / f"{index:03d}.png"), np.full((64, 96, 3), 40 + 4 * index, dtype=np.uint8))
    sample = scored(folder)
    page = report(evaluation(replace(sample, sample=replace(sample.sample, fps=float(FPS)))), tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "event-01.png").exists()
    assert "No pictures" not in page.text


@pytest.mark.usefixtures("drawn")
def test_everything_given_is_escaped(video: Path, tmp_path: Path) -> None:
    evil = "<b>$x_$&\"'{{ 1 }}<script>alert(1)</script>"
    sample = scored(video, name=evil, truth=(TruthEvent(evil, 1.2, 2.2),))
    given = evaluation(
        sample,
        dataset=evil,
        rows=(Row(evil, NO_FIGURES, note=evil, events=EventMetrics(1.0, 1, 1, 0, 1.0, 0.0, 1.0, 0.1)),),
        threshold_says=evil,
        failures=(Failure(evil, evil),),
        settings={evil: evil, "nested": {evil: [evil]}, "table": [{evil: evil}]},
        citation=evil,
    )
    page = report(given, tmp_path)
    names = {name for name, _ in page.tags}
    assert "script" not in names
    assert not any(name == "b" and page.pieces[0].startswith("alert") for name, _ in page.tags)
    assert page.text.count("<script>alert(1)</script>") >= 12
    assert len(list((tmp_path / "figures").glob("timeline-001-*.png"))) == 1


def test_failures_are_listed(video: Path, tmp_path: Path) -> None:
    failure = Failure("bad.mp4", "bad.mp4: it holds no frame (record it again)")
    text = report(evaluation(scored(video), failures=(failure,)), tmp_path).text
    assert "1 input could not be used" in text
    assert "input why bad.mp4 bad.mp4: it holds no frame (record it again)" in text


def test_many_videos_and_events_are_limited_and_said_so(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "MOST_TIMELINES", 3)
    monkeypatch.setattr(page_module, "MOST_STRIPS", 2)
    quiet = [scored(video, name=f"quiet{i}", events=(), truth=()) for i in range(97)]
    events = [(Event(1.0, 2.0, 1.5, 20.0 + i),) for i in range(3)]
    loud = [scored(video, name=f"loud{i}", events=one) for i, one in enumerate(events)]
    page = report(evaluation(*quiet, *loud), tmp_path)
    shown = {path.name for path in (tmp_path / "figures").glob("timeline-*")}
    assert shown == {"timeline-098-loud0.png", "timeline-099-loud1.png", "timeline-100-loud2.png"}
    assert "97 videos of 100 left out here. The scores of every frame are in scores.csv" in page.text
    assert {path.name for path in (tmp_path / "figures").glob("event-*")} == {"event-01.png", "event-02.png"}
    assert "1 event with lower peaks left out here." in page.text
    pictured = [a["href"] for a in page.all("a") if a["href"].startswith("#event-")]
    assert sorted(pictured) == ["#event-1", "#event-2"]


@pytest.mark.parametrize(
    ("scale", "threshold"), [(1e15, 1e16), (1e15, 10.0), (0.0, 0.0), (0.0, 5e-324), (1e-20, 1e-19)]
)
@pytest.mark.usefixtures("drawn")
def test_any_size_of_scores(scale: float, threshold: float, video: Path, tmp_path: Path) -> None:
    sample = scored(video, scale=scale)
    given = evaluation(sample, threshold=threshold, usual_scores=np.linspace(0, 9 * scale, 50))
    assert "nan" not in report(given, tmp_path).text


@pytest.mark.usefixtures("drawn")
def test_no_sample_and_empty_tracks(tmp_path: Path) -> None:
    assert "There are no scores to show." in report(evaluation(usual_scores=np.zeros(0)), tmp_path / "a").text
    nothing = np.zeros(0)
    track = ScoreTrack("empty.mp4", nothing, nothing, nothing)
    empty = ScoredSample(Sample("empty", "empty.mp4", "test"), track, (), nothing, nothing, None)
    assert "empty : what happens is not known" in report(evaluation(empty), tmp_path / "b").text


def test_an_older_report_is_replaced_and_other_files_stay(video: Path, tmp_path: Path) -> None:
    write_report(evaluation(scored(video)), tmp_path)
    (tmp_path / "figures" / "mine.png").write_bytes(b"kept")
    write_report(evaluation(scored(video, name="other", events=(), labels=False)), tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "distribution.png",
        "mine.png",
        "timeline-001-other.png",
    }


@pytest.mark.usefixtures("drawn")
def test_reports_of_equal_evaluations_are_equal(video: Path, tmp_path: Path) -> None:
    pages = [write_report(evaluation(scored(video)), tmp_path / name).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_an_output_that_cannot_be_written_is_one_line(video: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OddwatchError, match=r"taken.*cannot be written.*--out") as caught:
        write_report(evaluation(scored(video)), tmp_path / "taken")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_extra_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'the report needs {package}: pip install "oddwatch\[report\]"'):
        write_report(evaluation(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_leaves_the_old_page(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(evaluation(scored(video)), tmp_path)
    before = (tmp_path / "report.html").read_bytes()

    def full(source: object, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OddwatchError, match="the report cannot be written, No space left on device"):
        write_report(evaluation(scored(video, name="other")), tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert not list(tmp_path.rglob("*.tmp"))
