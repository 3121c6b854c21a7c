"""`oddwatch score`: a detector and videos -> events, scores, annotated videos."""

from __future__ import annotations

import csv
import io
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from oddwatch.cli.commands import INTERRUPTED
from oddwatch.cli.options import Cache, Device, Fps, Precision, Quantized, Runtime, Videos, require_fps
from oddwatch.cli.output import (
    EVENT_COLUMNS,
    EVENT_NUMBERS,
    clock,
    event_json,
    event_row,
    failures_json,
    print_json,
    print_table,
    progress_bar,
    say,
    say_failures,
)
from oddwatch.detector import Detector
from oddwatch.detector.verdict import ClipVerdict
from oddwatch.embed import EmbeddingCache, Progress
from oddwatch.errors import OddwatchError, UsageError, VideoError
from oddwatch.files import write_text
from oddwatch.types import Event, Failure, ScoreTrack
from oddwatch.video import display_name, list_videos


class Unit(StrEnum):
    """What gets a verdict."""

    WINDOW = "window"
    CLIP = "clip"


def score(
    detector_folder: Annotated[Path, typer.Argument(metavar="DETECTOR", help="Folder made by oddwatch learn.")],
    videos: Videos,
    unit: Annotated[
        Unit,
        typer.Option(
            "--unit",
            metavar="window|clip",
            help="window: events over time; clip: one verdict per video, as in the article.",
        ),
    ] = Unit.WINDOW,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="BUDGET", help="Another budget than it learned with: 1/hour, 2/day; for clips 5%."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", metavar="SCORE", help="A score of your own from which to alert.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write every score to this file.")
    ] = None,
    annotate_folder: Annotated[
        Path | None,
        typer.Option(
            "--annotate", metavar="FOLDER", help="Write annotated videos, NAME-annotated.mp4, into this folder."
        ),
    ] = None,
    runtime: Runtime = None,
    precision: Precision = None,
    device: Device = None,
    quantized: Quantized = None,
    fps: Fps = None,
    cache_folder: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Find the unusual moments, or the unusual clips, in videos."""
    if budget is not None and threshold is not None:
        raise UsageError("give --budget or --threshold, not both")
    if threshold is not None and not (math.isfinite(threshold) and threshold > 0):
        raise UsageError(f"--threshold must be a positive number, got {threshold:g}")
    if unit is Unit.CLIP and annotate_folder is not None:
        raise UsageError("--annotate shows moments, so it does not go with --unit clip")
    if csv_file is not None and os.path.isfile(csv_file) and csv_file.suffix.lower() != ".csv":
        raise UsageError(f"--csv {csv_file} is a file already and does not end in .csv: give another name")
    detector = Detector.load(detector_folder, runtime=runtime, precision=precision, device=device, quantized=quantized)
    listing = list_videos(videos)
    require_fps(listing.videos, fps)
    cache = None if cache_folder is None else EmbeddingCache(cache_folder)
    results: _Results
    if unit is Unit.CLIP:
        results = _Clips(detector, cache, budget, threshold)
    else:
        results = _Windows(detector, cache, budget, threshold, annotate_folder)
    failures = list(listing.failures)
    stopped = False
    with progress_bar() as progress:
        try:
            for path in listing.videos:
                try:
                    results.add(path, fps, progress)
                except VideoError as error:
                    failures.append(Failure(error.source, error.reason))
                except OddwatchError as error:
                    failures.append(Failure(display_name(path), str(error)))
        except KeyboardInterrupt:
            stopped = True
    say_failures(failures)
    if as_json:
        print_json({**results.json(), "failures": failures_json(failures)})
    else:
        results.show()
    rows = results.csv_rows()
    finished = len(rows) > 1  # beside the names of the columns
    if csv_file is not None and (finished or not stopped):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_text(csv_file, text.getvalue())
        if finished and not as_json and os.path.isfile(csv_file):
            print(f"Scores: {csv_file}")
    if stopped:
        what = "the videos above are finished, the others were not scored" if finished else "no video was finished"
        say(f"oddwatch: interrupted; {what}")
        raise typer.Exit(INTERRUPTED)
    if failures:
        raise typer.Exit(1)


class _Results(ABC):
    """What was found in the videos so far, as rows, as JSON and as a table."""

    @abstractmethod
    def add(self, path: str, fps: float | None, progress: Progress | None) -> None:
        """Score one more video. Raises OddwatchError."""

    @abstractmethod
    def csv_rows(self) -> list[list[Any]]:
        """The header, then every score."""

    @abstractmethod
    def json(self) -> dict[str, Any]:
        """For machines."""

    @abstractmethod
    def show(self) -> None:
        """For people, on standard output."""


class _Windows(_Results):
    """Events over time."""

    def __init__(
        self,
        detector: Detector,
        cache: EmbeddingCache | None,
        budget: str | None,
        threshold: float | None,
        annotate_folder: Path | None,
    ) -> None:
        self._detector, self._cache = detector, cache
        if threshold is not None:
            self._threshold, self._says = threshold, "given by hand"
        else:
            level = detector.threshold if budget is None else detector.threshold_for(budget)
            self._threshold, self._says = level.value, level.says
        self._annotate_folder = annotate_folder
        self._found: list[tuple[ScoreTrack, Sequence[Event]]] = []
        self._annotated: list[Path] = []

    def add(self, path: str, fps: float | None, progress: Progress | None) -> None:
        track = self._detector.score(path, fps=fps, cache=self._cache, progress=progress)
        self._found.append((track, self._detector.events(track, threshold=self._threshold)))
        if self._annotate_folder is None:
            return
        from oddwatch.report.annotate import annotate

        try:
            self._annotate_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OddwatchError(f"{self._annotate_folder} cannot be made: {error.strerror} (choose another)") from error
        name = Path(track.source).stem
        out = self._annotate_folder / f"{name}-annotated.mp4"
        while out in self._annotated:
            out = out.with_name(f"{name}-{len(self._annotated) + 1}-annotated.mp4")
        annotate(self._detector, path, out, threshold=self._threshold, fps=fps, progress=progress)
        self._annotated.append(out)

    def csv_rows(self) -> list[list[Any]]:
        rows: list[list[Any]] = [["video", "start_seconds", "end_seconds", "score", "p_value"]]
        for track, _ in self._found:
            p = self._detector.calibration.p_value(track.scores)
            columns = zip(track.start_seconds, track.end_seconds, track.scores, p, strict=True)
            rows += [[track.source, f"{a:.4f}", f"{b:.4f}", f"{s:.6g}", f"{q:.4g}"] for a, b, s, q in columns]
        return rows

    def json(self) -> dict[str, Any]:
        videos = [
            {"video": t.source, "seconds": round(t.seconds, 3), "peak_score": float(t.scores.max()), "events": len(e)}
            for t, e in self._found
        ]
        return {
            "unit": "window",
            "threshold": {"value": self._threshold, "says": self._says},
            "videos": videos,
            "events": [event_json(track.source, event) for track, events in self._found for event in events],
            "annotated": [str(path) for path in self._annotated],
        }

    def show(self) -> None:
        if not self._found:
            return
        rows = [event_row(track.source, event) for track, events in self._found for event in events]
        seconds = sum(track.seconds for track, _ in self._found)
        if rows:
            print_table(f"Unusual events in {clock(seconds)} of video", EVENT_COLUMNS, rows, numbers=EVENT_NUMBERS)
        else:
            highest = max(float(track.scores.max()) for track, _ in self._found)
            short = ", for less than an event lasts" if highest > self._threshold else ""
            print(f"Nothing unusual in {clock(seconds)} of video (highest score {highest:.3g}{short}).")
        print(f"Threshold {self._threshold:.4g} ({self._says}).")
        for path in self._annotated:
            print(f"Annotated video: {path}")


class _Clips(_Results):
    """One verdict per clip."""

    def __init__(
        self, detector: Detector, cache: EmbeddingCache | None, budget: str | None, threshold: float | None
    ) -> None:
        self._detector, self._cache = detector, cache
        if threshold is not None:
            self._threshold, self._says = threshold, "given by hand"
        else:
            level = detector.clip_threshold(budget)
            self._threshold, self._says = level.value, level.says
        self._found: list[ClipVerdict] = []

    def add(self, path: str, fps: float | None, progress: Progress | None) -> None:
        self._found.append(
            self._detector.score_clip(path, fps=fps, threshold=self._threshold, cache=self._cache, progress=progress)
        )

    def csv_rows(self) -> list[list[Any]]:
        values = [[v.source, v.score, v.threshold, int(v.anomalous), v.nearest_class, v.distance] for v in self._found]
        return [list(_CLIP_KEYS), *values]

    def json(self) -> dict[str, Any]:
        clips = [(v.source, v.score, v.threshold, v.anomalous, v.nearest_class, v.distance) for v in self._found]
        return {
            "unit": "clip",
            "threshold": {"value": self._threshold, "says": self._says},
            "clips": [dict(zip(_CLIP_KEYS, clip, strict=True)) for clip in clips],
        }

    def show(self) -> None:
        if not self._found:
            return
        rows = []
        for v in self._found:
            verdict = "UNUSUAL" if v.anomalous else "usual"
            figures = (f"{v.score:.4g}", f"{v.threshold:.4g}")
            rows.append([v.source, *figures, verdict, v.nearest_class, f"{v.distance:.3g}"])
        columns = ("clip", "error", "threshold", "verdict", "nearest class", "distance")
        print_table("Clips", columns, rows, numbers=("error", "threshold", "distance"))
        print(f"Threshold {self._threshold:.4g} ({self._says}).")


_CLIP_KEYS = ("video", "error", "threshold", "anomalous", "nearest_class", "centroid_distance")
