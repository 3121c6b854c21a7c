"""Annotated videos: what they show at which moment, that they are causal, and that any video gives one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from oddwatch.backbones import EmbeddingStream
from oddwatch.calibration import Calibration, Threshold
from oddwatch.detector import Detector
from oddwatch.embed import BATCH_FRAMES
from oddwatch.errors import UsageError, VideoError
from oddwatch.grouping import Grouping, group
from oddwatch.report.annotate import annotate
from oddwatch.report.canvas import LEAST_WIDTH_PX, Canvas, Seen
from oddwatch.report.overlay import ALARM
from oddwatch.types import Embeddings, Event, Frame, Image, ScoreTrack
from oddwatch.video import VideoWriter, open_video

FPS = 20
BANNER, PANEL = 34, 76
BASE = 120


class Script(EmbeddingStream):
    """Stands in for a detector: scores that a test writes down, every second frame, one grid cell of 4 x 4 hot."""

    def __init__(self, scores: Sequence[float], *, maps: bool = True, calibrated: bool = True) -> None:
        self.scores = scores
        self.maps = maps
        self.calibrated = calibrated
        self.threshold = Threshold(10.0, "written down")
        self.grouping = Grouping(min_seconds=0.3, merge_seconds=0.45)
        steps = np.arange(99.0)
        self.calibration = Calibration([ScoreTrack("usual", steps, steps + 1, steps / 10)])
        self.backbone = self
        self.batches: list[int] = []

    def stream(self) -> Script:
        self._pushed: list[float] = []
        return self

    def push(self, frames: Sequence[Frame]) -> Embeddings | None:
        self.batches.append(len(frames))
        ends = [f.time_seconds for f in frames if f.index % 2 == 0 and f.index > 0]
        if not ends:
            return None
        end = np.array(ends)
        return Embeddings(np.zeros((len(end), 1), np.float32), None, end - 2 / FPS, end)

    def score_embeddings(self, embeddings: Embeddings, source: str, *, maps: bool = True) -> ScoreTrack:
        ends = embeddings.end_seconds
        scores = np.array([self.scores[round(t * FPS)] for t in ends])
        grid = np.zeros((len(ends), 4, 4), np.float32)
        grid[:, 1, 2] = scores
        boxes = np.tile(np.array([0.5, 0.25, 0.75, 0.5], np.float32), (len(ends), 1))
        hot = (boxes, grid) if self.maps and maps else (None, None)
        return ScoreTrack(source, embeddings.start_seconds, ends, scores, *hot)

    def track(self) -> ScoreTrack:
        """All scores at once."""
        ends = np.arange(2, len(self.scores), 2) / FPS
        embeddings = Embeddings(np.zeros((len(ends), 1), np.float32), None, ends - 2 / FPS, ends)
        return self.score_embeddings(embeddings, "all")


def write_video(path: Path, frames: int, *, size: tuple[int, int] = (160, 120)) -> Path:
    with VideoWriter(path, fps=FPS) as video:
        for _ in range(frames):
            video.write(np.full((size[1], size[0], 3), BASE, dtype=np.uint8))
    return path


def run(script: Script, video: Path, out: Path, **options: float) -> tuple[tuple[Event, ...], list[Frame]]:
    events = annotate(cast(Detector, script), video, out, **options)  # type: ignore[arg-type]
    with open_video(out) as source:
        return events, list(source)


def is_alarm(image: Image) -> bool:
    """Whether the banner has the colour of an alarm, at a place without text."""
    place = image[4:8, LEAST_WIDTH_PX // 2 : LEAST_WIDTH_PX // 2 + 20].reshape(-1, 3).mean(axis=0)
    return bool(np.abs(place - np.array(ALARM)).max() < 25)


def picture(image: Image) -> NDArray[np.int64]:
    return image[BANNER:-PANEL].astype(np.int64)


def unlike_the_ground(image: NDArray[np.int64]) -> int:
    """How far the pixels of a picture, or of a part of it, are from the plain gray that was filmed; its upper and lower
    edges left out, where the encoder mixes in the colours of banner and panel.
    """
    return int(np.abs(image[20:-20] - BASE).max())


@pytest.fixture(scope="module")
def scores() -> list[float]:
    """3 seconds: quiet, from frame 20 on above the threshold, from frame 36 on quiet again."""
    return [3.0] * 20 + [16.0] * 16 + [3.0] * 24


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", 60)


def test_every_frame_is_there_at_its_time(scores: list[float], video: Path, tmp_path: Path) -> None:
    _, frames = run(Script(scores), video, tmp_path / "out.mp4")
    with open_video(video) as source:
        times = [frame.time_seconds for frame in source]
    assert [frame.time_seconds for frame in frames] == pytest.approx(times, abs=1e-4)
    assert frames[0].image.shape == (BANNER + 480 + PANEL, 640, 3)


def test_the_events_are_those_of_the_track(scores: list[float], video: Path, tmp_path: Path) -> None:
    script = Script([*scores[:50], 30.0, 30.0, 30.0, 30.0, 30.0, 30.0, 30.0, 30.0, 12.0, 12.0])
    events, _ = run(script, video, tmp_path / "out.mp4")
    plain = group(script.track(), 10.0, script.grouping)
    assert [(e.start_seconds, e.end_seconds, e.peak_score, e.box) for e in events] == [
        (e.start_seconds, e.end_seconds, e.peak_score, e.box) for e in plain
    ]
    assert [e.peak_score for e in events] == [16.0, 30.0]
    assert [e.p_value for e in events] == [1 / 100, 1 / 100]


def test_the_banner_shows_what_was_known_then(scores: list[float], video: Path, tmp_path: Path) -> None:
    _, frames = run(Script(scores), video, tmp_path / "out.mp4")
    alarms = [frame.index for frame in frames if is_alarm(frame.image)]
    # Scores are of even frames and look back over 2. The first high one, at 20, begins at 18: 0.3 s are full at 24. The
    # last ends at 34: the first that begins more than 0.45 s later is that of frame 46, which begins at 44.
    assert alarms == list(range(24, 46))


def test_the_heat_is_where_and_when_the_map_is_high(scores: list[float], video: Path, tmp_path: Path) -> None:
    _, frames = run(Script(scores), video, tmp_path / "out.mp4")
    for index in (0, 1, 10, 19, 38, 59):
        assert unlike_the_ground(picture(frames[index].image)) <= 4, index
    for index in (22, 23, 30, 35):
        image = picture(frames[index].image)
        inside = image[160:200, 380:420].reshape(-1, 3).mean(axis=0)
        assert inside[0] - inside[2] > 30, index
        assert unlike_the_ground(image[:, :240]) <= 4, index
        assert unlike_the_ground(image[320:]) <= 4, index


def test_the_box_is_there_while_the_event_goes_on(scores: list[float], video: Path, tmp_path: Path) -> None:
    _, frames = run(Script(scores), video, tmp_path / "out.mp4")

    def edge(index: int) -> float:
        """How much bluer than red the left edge of the box is, away from the heat of its middle."""
        line = picture(frames[index].image)[130:230, 318:323].mean(axis=(0, 1))
        return float(line[2] - line[0])

    assert edge(28) > 30
    for index in (10, 42, 55):  # before; the event is kept open, but nothing is seen any more; after
        assert abs(edge(index)) < 8


def test_skipped_frames_keep_the_last_score(scores: list[float], video: Path, tmp_path: Path) -> None:
    _, frames = run(Script(scores), video, tmp_path / "out.mp4")
    for index in (27, 29, 31):
        assert np.abs(picture(frames[index].image) - picture(frames[index - 1].image)).mean() < 2


def test_an_own_threshold_and_no_calibration(scores: list[float], video: Path, tmp_path: Path) -> None:
    script = Script(scores, calibrated=False)
    assert run(script, video, tmp_path / "high.mp4", threshold=20.0)[0] == ()
    events, frames = run(script, video, tmp_path / "low.mp4", threshold=1.0)
    assert [event.p_value for event in events] == [None]
    assert is_alarm(frames[-1].image)


def test_a_detector_without_maps(scores: list[float], video: Path, tmp_path: Path) -> None:
    events, frames = run(Script(scores, maps=False), video, tmp_path / "out.mp4")
    assert [event.box for event in events] == [None]
    assert is_alarm(frames[30].image)
    assert unlike_the_ground(picture(frames[30].image)) <= 4


def test_the_video_is_read_in_batches(scores: list[float], video: Path, tmp_path: Path) -> None:
    script = Script(scores)
    told: list[float] = []
    annotate(cast(Detector, script), video, tmp_path / "out.mp4", progress=lambda _, done, total: told.append(done))
    assert script.batches == [BATCH_FRAMES] * 3 + [60 - 3 * BATCH_FRAMES]
    assert told == pytest.approx([i * BATCH_FRAMES / FPS for i in range(4)])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2, 2), (640, 640)),
        ((1000, 20), (1000, 20)),
        ((20, 1000), (640, 1000)),
        ((100, 300), (640, 720)),
        ((1280, 720), (1280, 720)),
        ((321, 241), (640, 482)),
    ],
)
def test_any_size_of_video(size: tuple[int, int], expected: tuple[int, int], tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4", 3, size=size)
    _, frames = run(Script([20.0] * 3), video, tmp_path / "out.mp4")
    assert len(frames) == 3
    unit = max(expected[0] / LEAST_WIDTH_PX, 1.0)
    height = round(BANNER * unit) + expected[1] + round(PANEL * unit)
    assert frames[0].image.shape[1] == expected[0]
    assert abs(frames[0].image.shape[0] - height) <= 3


def test_a_video_of_one_frame_has_no_score_and_still_gives_a_video(tmp_path: Path) -> None:
    video = write_video(tmp_path / "in.mp4", 1)
    events, frames = run(Script([20.0]), video, tmp_path / "out.mp4")
    assert events == ()
    assert len(frames) == 1
    assert not is_alarm(frames[0].image)


def test_a_folder_of_frames(scores: list[float], tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(60):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((60, 80, 3), BASE, dtype=np.uint8))
    events, frames = run(Script(scores), folder, tmp_path / "out.mp4", fps=FPS)
    assert len(events) == 1
    assert frames[-1].time_seconds == pytest.approx(59 / FPS, abs=1e-4)


def test_the_video_itself_is_not_replaced(scores: list[float], video: Path, tmp_path: Path) -> None:
    before = video.read_bytes()
    (tmp_path / "link.mp4").symlink_to(video)
    for out in (video, tmp_path / "link.mp4"):
        with pytest.raises(UsageError, match="would replace the video"):
            annotate(cast(Detector, Script(scores)), video, out)
    assert video.read_bytes() == before


def test_nothing_is_left_behind_when_it_fails(scores: list[float], video: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"missing\.mp4"):
        annotate(cast(Detector, Script(scores)), tmp_path / "missing.mp4", tmp_path / "out.mp4")
    with pytest.raises(IndexError):
        annotate(cast(Detector, Script(scores[:30])), video, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_with_a_real_detector_the_events_are_its_own(tmp_path: Path) -> None:
    """A square walks to and fro; in the second video another one falls through the picture, four times as fast."""

    def walk(path: Path, frames: int, *, falls: bool = False) -> Path:
        texture = np.random.default_rng(3).integers(60, 200, (30, 20), dtype=np.uint8)
        ground = cv2.GaussianBlur(np.random.default_rng(4).integers(80, 140, (96, 128), dtype=np.uint8), (5, 5), 0)
        with VideoWriter(path, fps=10) as writer:
            for index in range(frames):
                image = ground.copy()
                x = int(50 + 40 * np.sin(index / 12))
                image[50:80, x : x + 20] = texture
                if falls and 30 <= index < 38:
                    y = 8 * (index - 30)
                    image[y : y + 30, 100:120] = texture
                writer.write(np.dstack([image] * 3))
        return path

    detector = Detector(budget="1%").learn(walk(tmp_path / "usual.mp4", 150))
    video = walk(tmp_path / "odd.mp4", 60, falls=True)
    events = annotate(detector, video, tmp_path / "out.mp4")
    assert events == detector.events(detector.score(video))
    assert any(e.start_seconds <= 3.7 and e.end_seconds >= 3.0 for e in events)
    with open_video(tmp_path / "out.mp4") as source:
        assert sum(1 for _ in source) == 60
    assert annotate(detector, video, tmp_path / "again.mp4", track=detector.score(video, maps=True)) == events
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "out.mp4").read_bytes()


def test_the_history_reaches_back_twenty_seconds() -> None:
    canvas = Canvas(np.zeros((480, 640, 3), dtype=np.uint8), 1.0)
    frame = Frame(np.zeros((480, 640, 3), dtype=np.uint8), 0.0, 0)

    def left_and_right(seconds: float) -> tuple[bool, bool]:
        """Whether the lower half of the graph has a line in its left and in its right part."""
        image = canvas.draw(Frame(frame.image, seconds, 0), Seen(ratio=0.5))
        graph = image[-PANEL + 42 : -12, 195:620].max(axis=2) > 120
        return bool(graph[:, :100].any()), bool(graph[:, -100:].any())

    shown = [left_and_right(t / 10) for t in range(400)]
    assert shown[30] == (False, True)
    assert shown[-1] == (True, True)
    assert left_and_right(80.0) == (False, False)  # a gap longer than the history: a single point


def test_the_history_does_not_grow() -> None:
    canvas = Canvas(np.zeros((48, 64, 3), dtype=np.uint8), 1.0)
    for index in range(5000):
        canvas._history.append((index / 1000, 0.5, False))
    assert len(canvas._history) == 2000
