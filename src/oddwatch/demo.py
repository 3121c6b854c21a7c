"""The demonstration: a rendered place, learned from usual video, watched while unusual things happen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from oddwatch.detector import Detector
from oddwatch.embed import Progress
from oddwatch.errors import OddwatchError
from oddwatch.evaluate import evaluate
from oddwatch.scenes import Scene, plan_events
from oddwatch.truth import write_truth
from oddwatch.types import Dataset, Event, Sample, TruthEvent
from oddwatch.video import VideoWriter, prefetch
from oddwatch.video.names import visible_entries

KINDS = ("cyclist", "runner", "cart", "against_flow", "on_grass", "fall", "object_left")
USUAL_SECONDS = 180.0
UNSEEN_SECONDS = 150.0
BUDGET = "1/hour"
ARTICLE_OPTIONS = {"max_rows": 300}
ARTICLE_FOLDS = 2
"""The article learns from 46 clips, augmented; to learn from all of these alike moments would take long."""
_NAMES = ("usual.mp4", "unseen.mp4", "unseen.json", "detector", "unseen-annotated.mp4", "report")


@dataclass(frozen=True)
class Side:
    """What one detector said of the unseen video. says: where its threshold comes from. note: how it was shortened."""

    name: str
    events: tuple[Event, ...]
    threshold: float
    says: str
    note: str = ""

    def matching(self, happened: TruthEvent) -> list[Event]:
        """Its events that overlap what happened."""
        return [e for e in self.events if e.overlaps(happened)]

    def false_alarms(self, truth: Iterable[TruthEvent]) -> list[Event]:
        """Its events that overlap nothing that happened."""
        happenings = list(truth)
        return [e for e in self.events if not any(e.overlaps(t) for t in happenings)]


@dataclass(frozen=True)
class DemoResult:
    """Paths of what was written, the truth, and the detectors side by side: the default, then the article's."""

    truth: tuple[TruthEvent, ...]
    sides: tuple[Side, ...]
    usual_video: Path
    unseen_video: Path
    detector: Path
    annotated: Path
    report: Path


def run_demo(out: Path, *, seed: int = 0, progress: Progress | None = None) -> DemoResult:
    """Render, learn, score, report; everything goes under `out`, which is new or holds an older demo.

    Raises OddwatchError, and MissingExtraError before any work.
    """
    from oddwatch.report import require_extra, write_report
    from oddwatch.report.annotate import annotate

    require_extra()
    default = Detector(budget=BUDGET)
    article = Detector(
        scorer="autoencoder", on="vector", budget=BUDGET, folds=ARTICLE_FOLDS, scorer_options=ARTICLE_OPTIONS
    )
    _make_room(out)
    usual, unseen, truth_file, saved, annotated, report = (out / name for name in _NAMES)
    render(usual, Scene(place_seed=seed, seed=2 * seed + 1, seconds=USUAL_SECONDS), progress=progress)
    plan = plan_events(KINDS, seconds=UNSEEN_SECONDS, seed=seed)
    truth = render(
        unseen, Scene(place_seed=seed, seed=2 * seed + 2, seconds=UNSEEN_SECONDS, events=plan), progress=progress
    )
    write_truth(truth_file, truth)
    samples = (
        Sample("usual", str(usual), "train", truth=()),
        Sample("unseen", str(unseen), "test", truth=truth),
    )
    dataset = Dataset("demo: a rendered walkway", samples)
    evaluation = evaluate(dataset, default, others=[article], floors=False, progress=progress)
    default.save(saved)
    page = write_report(evaluation, report)
    annotate(default, unseen, annotated, track=evaluation.samples[0].track, progress=progress)
    short = f"learned from at most {ARTICLE_OPTIONS['max_rows']} moments, threshold from {ARTICLE_FOLDS} folds"
    sides = tuple(
        Side(detector.name, row.found[0], detector.threshold.value, detector.threshold.says, note)
        for detector, row, note in zip((default, article), evaluation.rows, ("", short), strict=True)
    )
    return DemoResult(truth, sides, usual, unseen, saved, annotated, page)


def _make_room(out: Path) -> None:
    """Make the folder. Raises OddwatchError for one that holds anything else than a demo: it could be replaced."""
    try:
        if out.exists() and not out.is_dir():
            raise OddwatchError(f"{out} is a file: give --out a new folder")
        out.mkdir(parents=True, exist_ok=True)
        strange = next((path for path in visible_entries(out) if path.name not in _NAMES), None)
    except OSError as error:
        raise OddwatchError(f"{out} cannot be used: {error.strerror or error} (choose another --out)") from error
    if strange is not None:
        raise OddwatchError(f"{out} holds {strange.name}, which is not of a demo: give --out a new folder")


def render(path: Path, scene: Scene, *, progress: Progress | None = None) -> tuple[TruthEvent, ...]:
    """Encode a scene as mp4 and return its truth."""
    with VideoWriter(path, fps=scene.fps) as writer:
        for frame in prefetch(scene):
            writer.write(frame.image)
            if progress and frame.index % 50 == 0:
                progress(f"rendering {path.name}", frame.time_seconds, scene.seconds)
    return scene.truth
