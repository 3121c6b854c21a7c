"""Monitors on replays: events with their evidence, zones, cold start, sinks that fail, cameras that fail."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_detectors import USUAL_SECONDS, detector_videos, small_detector
from small_videos import ODD_SECONDS, images
from watched_cameras import Kept, until

from oddwatch.detector import Detector
from oddwatch.errors import DetectorError, UsageError, VideoError
from oddwatch.health import Patience
from oddwatch.monitor import CameraMonitor, Learning, Plan, Supervisor, detector_version
from oddwatch.monitor.cold_start import Collection, certified, learn
from oddwatch.monitor.delivery import Delivery
from oddwatch.monitor.records import USUAL
from oddwatch.monitor.scoring import Change, Scoring
from oddwatch.types import Embeddings, Frame, Image
from oddwatch.video import CameraCounts, CameraFrame, CameraOptions, CameraState, Clocks, open_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = detector_videos(tmp_path_factory.mktemp("videos"))
    small_detector(folder).save(folder / "detector")
    return folder


def plan(videos: Path, video: str, **others: object) -> Plan:
    camera = CameraOptions(str(videos / video), replay="fast")
    known: dict[str, object] = {"name": "door", "camera": camera, "folder": videos / "detector", "pre_seconds": 1.0}
    return Plan(**{**known, "post_seconds": 1.0, **others})  # type: ignore[arg-type]


def watched(kept: Kept, *plans: Plan) -> None:
    with Supervisor(plans, kept.sinks()) as supervisor:
        assert supervisor.wait(60)


@pytest.mark.slow
@pytest.mark.allow_error_logs
def test_an_event_in_which_watching_fails_is_closed(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    score = Scoring.push

    def push(self: Scoring, frames: Sequence[Frame], source: str) -> list[Change]:
        if self.is_raised:
            raise VideoError("door", "it broke")
        return score(self, frames, source)

    monkeypatch.setattr(Scoring, "push", push)
    with Supervisor([plan(videos, "left.mp4")], kept.sinks()) as supervisor:
        until(lambda: supervisor.statistics()[0].failures == 1, seconds=60)
        until(kept.closed)
    opened, closed = kept.events[:2]
    assert (opened.state, closed.state, opened.uid) == ("open", "closed", closed.uid)
    assert "thumbnail" in closed.files


@pytest.mark.slow
def test_an_event_is_told_twice_with_all_that_shows_it(videos: Path, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    watched(kept, plan(videos, "left.mp4"))
    opened, closed = kept.events
    assert (opened.state, closed.state, opened.uid) == ("open", "closed", closed.uid)
    assert opened.end_wall <= closed.end_wall
    assert opened.peak_score <= closed.peak_score
    assert 0 < closed.peak_wall - closed.start_wall <= closed.end_wall - closed.start_wall
    assert ODD_SECONDS[1] - ODD_SECONDS[0] - 1 < closed.end_wall - closed.start_wall < 5
    assert closed.p_value is not None
    assert closed.p_value < 0.01
    assert closed.detector == detector_version(videos / "detector")
    assert closed.problem == ""
    assert set(closed.files) == {"clip", "thumbnail", "heatmap", *USUAL}
    assert [one.thumbnail for one in opened.similar] == [None] * 3  # written when the peak is known
    assert [one.thumbnail for one in closed.similar] == [*USUAL]
    for one in closed.similar:
        assert (one.source, one.at_wall) == (str(videos / "usual.mp4"), None)
        assert 0 < one.seconds < USUAL_SECONDS
        assert one.thumbnail is not None
        usual = cv2.imread(closed.files[one.thumbnail])
        assert usual is not None
        assert usual.shape == (120, 160, 3)
    assert closed.why["moment"] > 0
    assert closed.box is not None
    left, top, right, bottom = closed.box
    picture = cv2.imread(closed.files["thumbnail"])
    heat = cv2.imread(closed.files["heatmap"])
    assert picture is not None
    assert heat is not None
    assert picture.shape == heat.shape == (120, 160, 3)
    warmer = np.abs(picture.astype(int) - heat).sum(axis=2)
    y, x = np.unravel_index(int(cv2.GaussianBlur(warmer.astype(np.float32), (0, 0), 8).argmax()), warmer.shape)
    assert left - 0.1 < x / 160 < right + 0.1
    assert top - 0.1 < y / 120 < bottom + 0.1
    with open_video(closed.files["clip"]) as clip:
        frames = list(clip)
    assert closed.clip_from_wall is not None
    assert closed.clip_from_wall <= closed.start_wall - 1 + 0.2
    assert closed.clip_from_wall + frames[-1].time_seconds > closed.end_wall + 0.6  # the recording ends there


@pytest.mark.slow
def test_usual_video_is_no_event(videos: Path, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    watched(kept, plan(videos, "unseen.mp4"))
    assert kept.events == []
    assert kept.findings == []


@pytest.mark.slow
def test_the_same_events_as_the_detector_finds(videos: Path, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    watched(kept, plan(videos, "fast.mp4", cooldown_seconds=0.0))
    detector = Detector.load(videos / "detector")
    expected = detector.events(detector.score(videos / "fast.mp4"))
    assert [one.peak_score for one in kept.closed()] == pytest.approx([one.peak_score for one in expected], rel=0.02)
    assert [one.box for one in kept.closed()] == [one.box for one in expected]


@pytest.mark.slow
def test_only_what_touches_a_zone_counts(videos: Path, tmp_path: Path) -> None:
    below = ((0.0, 0.9), (1.0, 0.9), (1.0, 1.0), (0.0, 1.0))
    middle = ((0.0, 0.3), (1.0, 0.3), (1.0, 0.8), (0.0, 0.8))
    for zone, count in ((below, 0), (middle, 1)):
        kept = Kept(tmp_path)
        watched(kept, plan(videos, "left.mp4", zones=(zone,)))
        assert len(kept.closed()) == count


@pytest.mark.slow
def test_masks_hide_what_is_under_them_everywhere(videos: Path, tmp_path: Path) -> None:
    mask = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.3), (0.0, 0.3))
    camera = CameraOptions(str(videos / "left.mp4"), replay="fast", masks=(mask,))
    kept = Kept(tmp_path)
    watched(kept, plan(videos, "left.mp4", camera=camera))
    (closed,) = kept.closed()
    picture = cv2.imread(closed.files["thumbnail"])
    assert picture is not None
    assert picture[:30].mean() < 12
    assert [one.thumbnail for one in closed.similar] == [*USUAL]
    for kind in USUAL:  # what was learned from had no masks
        usual = cv2.imread(closed.files[kind])
        assert usual is not None
        assert usual[:30].mean() < 12 < usual[60:].mean()
    with open_video(closed.files["clip"]) as clip:
        assert all(frame.image[:30].max() < 24 for frame in clip)


def test_a_camera_without_detector_and_lesson_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no detector"):
        CameraMonitor(plan(tmp_path, "left.mp4"), Kept(tmp_path).sinks(), Delivery()).run()


def test_clips_longer_than_what_is_kept_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="evidence_seconds"):
        plan(tmp_path, "left.mp4", most_seconds=300.0)


def test_two_cameras_of_one_name_are_refused(tmp_path: Path) -> None:
    one = plan(tmp_path, "left.mp4")
    with pytest.raises(UsageError, match="two cameras are called 'door'"):
        Supervisor([one, one], Kept(tmp_path).sinks())


@pytest.mark.slow
@pytest.mark.allow_error_logs
def test_a_camera_that_fails_stops_no_other(videos: Path, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    broken = plan(videos, "no such.mp4", name="broken")
    with Supervisor([broken, plan(videos, "left.mp4")], kept.sinks()) as supervisor:
        until(lambda: kept.closed("door"))
        until(lambda: supervisor.statistics()[0].failures >= 1)
        assert not supervisor.is_over
        supervisor.remove("broken")
        assert list(supervisor.plans) == ["door"]
        assert supervisor.wait(10)


@pytest.mark.slow
def test_statistics_add_up(videos: Path, tmp_path: Path) -> None:
    with Supervisor([plan(videos, "left.mp4")], Kept(tmp_path).sinks()) as supervisor:
        assert supervisor.wait(60)
        (found,) = supervisor.statistics()
    assert (found.camera, found.phase, found.scored, found.counts.frames) == ("door", "stopped", 80, 80)
    assert (found.counts.dropped, found.counts.restarts, found.events, found.failures) == (0, 0, 1, 0)
    assert found.score_quantiles is not None
    assert found.threshold is not None
    assert found.score_quantiles[2] > found.threshold
    assert found.watched_seconds == pytest.approx(8.0, abs=2.0)


def test_a_sink_that_fails_is_asked_again_and_order_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []
    tries: list[int] = []

    def sink(record: int) -> None:
        tries.append(record)
        if len(tries) < 3:
            raise OSError("the disk is full")
        told.append(record)

    delivery = Delivery()
    for number in range(3):
        delivery.put(sink, number)
    until(lambda: len(told) == 3)
    assert (tries, told) == ([0, 0, 0, 1, 2], [0, 1, 2])
    assert delivery.close() == 0
    assert "the disk is full" in caplog.text


@pytest.mark.allow_error_logs
def test_what_cannot_be_delivered_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    def sink(record: int) -> None:
        raise OSError("never")

    delivery = Delivery(most=2)
    for number in range(4):
        delivery.put(sink, number)
    assert delivery.close(seconds=0.3) == 2
    assert "records were not delivered" in caplog.text


# the first day


@pytest.mark.slow
def test_a_camera_learns_arms_itself_and_finds(videos: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    (both / "1.mp4").write_bytes((videos / "usual.mp4").read_bytes())
    (both / "2.mp4").write_bytes((videos / "left.mp4").read_bytes())
    learning = Learning(seconds=25.0, scorer="gaussian", budget="1/hour")
    camera = CameraOptions(str(both), replay="fast")
    kept = Kept(tmp_path / "evidence")
    watched(kept, plan(videos, "", camera=camera, folder=tmp_path / "new", learning=learning))
    ready = kept.readiness[-1]
    assert ready.armed
    assert ready.seconds >= 25
    assert ready.certified == "none yet"
    assert "1/hour" in ready.says
    (closed,) = kept.closed()
    assert [one.thumbnail for one in closed.similar] == [*USUAL]
    for similar in closed.similar:
        assert similar.source == "session 1"
        assert similar.at_wall is not None
        assert 0 < closed.start_wall - similar.at_wall < 40
    assert Detector.load(tmp_path / "new").moments.pictured > 20
    assert not (tmp_path / "new.learning").exists()


def embeddings_of(video: Path) -> Embeddings:
    with open_video(video) as source:
        found = Detector().backbone.stream().push(list(source))
    assert found is not None
    return found


@pytest.mark.slow
def test_what_was_collected_survives_the_process(videos: Path, tmp_path: Path) -> None:
    usual = embeddings_of(videos / "usual.mp4")
    backbone = Detector().backbone
    for start in range(0, len(usual), 100):
        collection = Collection(tmp_path / "c", backbone)
        assert collection.moments == start
        collection.add(usual[start : start + 100], wall_offset=1000.0)
        collection.flush()
    collection = Collection(tmp_path / "c", backbone)
    assert collection.seconds == pytest.approx(float(usual.end_seconds[-1] - usual.start_seconds[0]), abs=0.5)
    whole = [part.embeddings for _, parts in collection.sessions() for part in parts]
    np.testing.assert_array_equal(np.concatenate([part.vector for part in whole]), usual.vector)
    assert usual.grid is not None
    np.testing.assert_array_equal(np.concatenate([part.grid for part in whole if part.grid is not None]), usual.grid)


def test_pictures_of_what_was_collected_survive_the_process(tmp_path: Path) -> None:
    backbone = Detector().backbone
    collection = Collection(tmp_path / "c", backbone, wanted_seconds=120.0)
    usual = made_up(200.0, seed=1, start=50.0)
    for second in range(200):
        image: Image = np.full((120, 160, 3), second, np.uint8)
        collection.see(Frame(image, 50.25 + second, second))
        collection.add(usual[2 * second : 2 * second + 2], wall_offset=1000.0)
    collection.flush()
    _, found = next(Collection(tmp_path / "c", backbone).sessions())
    parts = list(found)
    assert len(parts) == 4
    shown = [(part, row, jpeg) for part in parts for row, jpeg in part.pictures.items()]
    assert 150 < len(shown) <= 200
    for part, row, jpeg in shown:
        decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert decoded is not None
        assert part.embeddings.start_seconds[row] - 50 <= decoded.mean() + 1
        assert decoded.mean() - 1 <= part.embeddings.end_seconds[row] - 50
    learning = Learning(scorer="gaussian", budget="1/hour")
    detector, _ = learn(collection, learning, tmp_path / "d", camera="door")
    assert detector.moments.pictured > 100
    (first, *_) = detector.similar(usual[240:241])
    assert first.picture is not None
    assert first.wall_seconds == pytest.approx(first.seconds + 1050)


def test_another_backbone_does_not_go_on_with_it(videos: Path, tmp_path: Path) -> None:
    Collection(tmp_path / "c", Detector().backbone)
    with pytest.raises(DetectorError, match="another backbone"):
        Collection(tmp_path / "c", Detector(backbone_options={"height_px": 120}).backbone)


def made_up(seconds: float, *, seed: int, start: float = 0.0, odd: tuple[float, float] = (0.0, 0.0)) -> Embeddings:
    """Two a second, on a grid of 2 x 3; between two times something else is in one cell."""
    rng = np.random.default_rng(seed)
    end = start + np.arange(1, int(2 * seconds) + 1) / 2
    grid = 1 + 0.1 * rng.normal(size=(len(end), 2, 3, 9))
    grid[(end > odd[0]) & (end <= odd[1]), 1, 1] += 2
    return Embeddings(grid.mean(axis=(1, 2)).astype(np.float32), grid.astype(np.float32), end - 0.5, end)


def test_a_few_unusual_moments_do_no_harm(tmp_path: Path) -> None:
    """Ten minutes with something odd for four seconds: left out, and found when it happens again."""
    again = made_up(20.0, seed=3, odd=(8.0, 12.0))
    found = {}
    for trim in (True, False):
        collection = Collection(tmp_path / f"c{trim}", Detector().backbone)
        collection.add(made_up(600.0, seed=1, start=50.0, odd=(300.0, 304.0)), wall_offset=1000.0)
        learning = Learning(scorer="gaussian", budget="1/hour", trim=trim)
        detector, ready = learn(collection, learning, tmp_path / f"d{trim}", camera="door")
        alarms = detector.events(detector.score_embeddings(again, "again"))
        found[trim] = (ready.left_out, len(alarms), detector.threshold.value)
    left_out, events, threshold = found[True]
    assert 1 <= len(left_out) <= 2
    assert all(start < 1304 and end > 1300 for start, end in left_out)
    assert events == 1
    assert found[False][:2] == ((), 0)
    assert threshold < found[False][2]


def test_what_can_be_certified() -> None:
    assert [certified(3600.0 * hours) for hours in (0.9, 1, 23, 25, 200)] == [
        "none yet",
        "1/hour",
        "1/hour",
        "1/day",
        "1/week",
    ]


@pytest.mark.slow
def test_ending_in_the_middle_leaves_nothing_behind(videos: Path, tmp_path: Path) -> None:
    camera = CameraOptions(str(videos / "left.mp4"))
    kept = Kept(tmp_path)
    before = threading.active_count()
    with Supervisor([plan(videos, "", camera=camera)], kept.sinks()) as supervisor:
        until(lambda: kept.opened())
    assert [one.state for one in kept.events] == ["open", "closed"]
    assert "thumbnail" in kept.events[-1].files
    assert supervisor.statistics()[0].phase == "stopped"
    assert threading.active_count() <= before + 2  # pools of the backbone end with it


@dataclass
class FakeTime:
    """seconds: on both clocks. Held as a turn, it passes work_seconds, once."""

    seconds: float = 100.0
    work_seconds: float = 0.0

    @property
    def clocks(self) -> Clocks:
        return Clocks(wall=lambda: self.seconds, monotonic=lambda: self.seconds)

    def __enter__(self) -> None:
        self.seconds, self.work_seconds = self.seconds + self.work_seconds, 0.0

    def __exit__(self, *error: object) -> None:
        pass


class LateCamera:
    """Stands for the process of a camera: pictures of so many seconds, ten a second, each told to be of some time
    before; then none comes. kept_seconds: older ones are dropped.
    """

    def __init__(
        self, time: FakeTime, *, late_seconds: float, seconds: float = 10.0, kept_seconds: float = 100.0
    ) -> None:
        self._time, self._pictures = time, enumerate(images(seconds, seed=1), 1)
        self._start, self._kept = time.seconds - late_seconds, kept_seconds
        self.counts = CameraCounts()

    def __call__(self, options: CameraOptions, *, clocks: Clocks) -> LateCamera:
        return self

    def __enter__(self) -> LateCamera:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def read(self, timeout: float) -> list[CameraFrame | CameraState]:
        self._time.seconds += 0.1
        if self._time.seconds > 120:
            return [CameraState("ended", self._time.seconds, self._time.seconds)]
        for number, image in self._pictures:
            taken = self._start + number / 10
            if taken < self._time.seconds - self._kept:
                self.counts = replace(self.counts, dropped=self.counts.dropped + 1)
                continue
            return [CameraFrame(Frame(image, taken, number), taken)]
        return []

    def clip(self, *wanted: object, **times: float) -> int:
        raise AssertionError("nothing happens")


def watched_late(videos: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch, time: FakeTime, **options: float) -> None:
    """With a patience of four seconds. options: of `LateCamera`."""
    monkeypatch.setattr("oddwatch.monitor.camera.CameraProcess", LateCamera(time, **options))
    camera = plan(videos, "left.mp4", camera=CameraOptions(str(videos / "left.mp4")), patience=Patience(offline=4.0))
    delivery = Delivery()
    CameraMonitor(camera, kept.sinks(), delivery, clocks=time.clocks, turn=time).run()
    delivery.close()


def test_pictures_that_are_late_are_pictures(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera whose clock runs slow."""
    kept = Kept(tmp_path)
    watched_late(videos, kept, monkeypatch, FakeTime(), late_seconds=6.0)
    (found,) = kept.findings
    assert (found.finding.kind, found.finding.raised) == ("offline", True)
    assert found.since_wall == pytest.approx(104.0, abs=0.2)
    (gap,) = kept.gaps
    assert gap.gap.from_wall == pytest.approx(104.0, abs=0.2)
    assert gap.gap.seconds == pytest.approx(10.0, abs=0.3)  # and not sixteen


def test_work_that_takes_long_is_no_silence(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)
    watched_late(videos, kept, monkeypatch, FakeTime(work_seconds=9.0), late_seconds=0.0)
    assert kept.findings == []


def test_what_was_dropped_meanwhile_is_no_silence(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not observed, but the camera was not offline."""
    kept = Kept(tmp_path)
    options = {"late_seconds": 0.0, "seconds": 20.0, "kept_seconds": 2.0}
    watched_late(videos, kept, monkeypatch, FakeTime(work_seconds=9.0), **options)
    assert kept.findings == []
    (gap,) = kept.gaps
    assert gap.gap.seconds == pytest.approx(7.0, abs=0.3)
    assert gap.gap.says == "this machine was too busy, pictures were dropped"
