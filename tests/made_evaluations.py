"""Made-up evaluations of a small real video, and a reader of the page that reports them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.report import write_report
from oddwatch.types import (
    Evaluation,
    Event,
    EventMetrics,
    FrameMetrics,
    LeaveOneOut,
    Row,
    Sample,
    ScoredSample,
    ScoreTrack,
    TruthEvent,
)
from oddwatch.video import VideoWriter

FPS = 10
COUNT = 40
THRESHOLD = 10.0
NO_FIGURES = FrameMetrics(None, None, None, 0, None, None)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Checks that tags match and collects what the tests look at."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        """All words of the page, with single spaces."""
        return " ".join(" ".join(self.pieces).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write_video(path: Path, *, frames: int = COUNT, size: tuple[int, int] = (96, 64)) -> Path:
    """A gray picture that gets brighter with every frame, so that a frame can be told by its brightness."""
    with VideoWriter(path, fps=FPS) as video:
        for index in range(frames):
            video.write(np.full((size[1], size[0], 3), 40 + 4 * index, dtype=np.uint8))
    return path


def scored(
    video: Path,
    *,
    name: str = "monday",
    events: Sequence[Event] = (Event(1.0, 2.0, 1.5, 20.0, 0.0123, (0.5, 0.6, 0.9, 0.9)),),
    truth: tuple[TruthEvent, ...] | None = (TruthEvent("cyclist", 1.2, 2.2),),
    labels: bool = True,
    maps: bool = True,
    scale: float = 1.0,
) -> ScoredSample:
    """A video whose scores are 2, but 20 from second 1 to 2; frames from 1.2 s to 2.2 s are labelled unusual."""
    ends = np.arange(1, COUNT) / FPS
    scores = np.where((ends >= 1.0) & (ends <= 2.0), 20.0, 2.0) * scale
    grid = np.zeros((len(ends), 4, 6), dtype=np.float32)
    grid[:, 3, 5] = scores
    seconds = np.arange(COUNT) / FPS
    track = ScoreTrack(str(video), ends - 1 / FPS, ends, scores, maps=grid if maps else None)
    return ScoredSample(
        sample=Sample(name, str(video), "test", truth=truth),
        track=track,
        events=tuple(events),
        frame_seconds=seconds,
        frame_scores=np.concatenate([scores[:1], scores]),
        frame_labels=(seconds >= 1.2) & (seconds <= 2.2) if labels else None,
    )


def evaluation(*samples: ScoredSample, **changes: Any) -> Evaluation:
    given = Evaluation(
        dataset="yard",
        rows=(
            Row(
                "motion, gaussian on grid",
                FrameMetrics(0.98765, 0.9, 0.95, 3, 0.8, 0.0712, rbdc=0.5),
                FrameMetrics(0.99, None, None, 0, 0.81, 0.07),
                EventMetrics(THRESHOLD, 1, 1, 0, 0.5, 0.0, 1.0, 0.3),
            ),
            Row("frame difference, not learned", FrameMetrics(0.7, 0.6, 0.65, 3, 0.5, 0.3), note="a floor"),
        ),
        samples=samples,
        usual_scores=np.linspace(1.0, 9.0, 200),
        threshold=THRESHOLD,
        threshold_says="2/day: extrapolated from 7 peaks",
        frames_per_second=123.4,
        leave_one_out=LeaveOneOut("2/day", 0.5, 0, (0.0, 3.69), 0.04),
        failures=(),
        settings={"seed": 42, "inputs": [{"name": "usual.mp4", "seconds": 60.0}], "versions": {"numpy": "2.0"}},
        citation="Somebody, 2024",
    )
    return replace(given, **changes)


def report(given: Evaluation, out: Path) -> Reader:
    path = write_report(given, out)
    assert path == out / "report.html"
    return Reader(path.read_text(encoding="utf-8"))
