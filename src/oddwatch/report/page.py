"""The page of a report: which pictures it shows, what it leaves out, and the template filled in. Writes no file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from oddwatch.errors import OddwatchError
from oddwatch.report import content, figures
from oddwatch.report.content import FoundEvent, truth_of
from oddwatch.report.html import Picture, data_uri, picture_of, render
from oddwatch.report.strips import event_strips
from oddwatch.report.wording import clock, count, number, p_value
from oddwatch.types import Evaluation, Image, ScoredSample

FIGURES = "figures"
MOST_TIMELINES = 24
MOST_STRIPS = 12
_MOST_ROWS = 60


@dataclass(frozen=True)
class Page:
    """html: the whole page. figures: PNG bytes by file name. prefixes: with which the names of all figures begin."""

    html: str
    figures: dict[str, bytes]
    prefixes: tuple[str, ...] = ("roc", "precision-recall", "distribution", "timeline-", "event-")


def build_page(evaluation: Evaluation) -> Page:
    """Draw all figures and fill the template. Needs matplotlib and Jinja2."""
    filled = _Content(evaluation)
    return Page(render("report.html.j2", **filled.context()), filled.figures)


class _Content:
    """Collects the context of the template and, on the way, the figures as files."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._events = content.found_events(evaluation)
        self.figures: dict[str, bytes] = {}

    def context(self) -> dict[str, Any]:
        """All names that the template uses."""
        evaluation = self._evaluation
        missed = content.missed_events(evaluation)
        first = evaluation.rows[0] if evaluation.rows else None
        shown = content.event_rows(evaluation, self._events)
        simple = {k: v for k, v in evaluation.settings.items() if not isinstance(v, Mapping | list | tuple)}
        return {
            "dataset": evaluation.dataset,
            "citation": evaluation.citation,
            "summary": content.summary(evaluation, self._events),
            "highlights": content.highlights(evaluation),
            "frame_table": content.frame_table(evaluation.rows),
            "event_table": content.event_table(evaluation.rows),
            "macro_videos": first.causal.macro_videos if first else 0,
            "events": shown,
            "events_left_out": len(self._events) - len(shown),
            "missed": [
                {
                    "video": video,
                    "kind": truth.kind,
                    "start": clock(truth.start_seconds),
                    "end": clock(truth.end_seconds),
                }
                for video, truth in missed[: content.MOST_EVENTS]
            ],
            "missed_left_out": max(len(missed) - content.MOST_EVENTS, 0),
            **self._timelines(),
            **self._strips(),
            **self._curves(),
            "distribution": self._distribution(),
            "leave_one_out": content.leave_one_out_says(evaluation.leave_one_out) if evaluation.leave_one_out else None,
            "failures": evaluation.failures,
            "simple_settings": simple,
            "nested_settings": {k: v for k, v in evaluation.settings.items() if k not in simple},
            "most_rows": _MOST_ROWS,
        }

    def _timelines(self) -> dict[str, Any]:
        evaluation = self._evaluation
        samples = evaluation.samples
        # Of very many videos, those in which something happened or was raised come first.
        order = sorted(range(len(samples)), key=lambda i: not (samples[i].events or truth_of(samples[i])))
        chosen = sorted(order[:MOST_TIMELINES])
        scale = figures.score_scale([s.frame_scores for s in samples], evaluation.threshold)
        left_out = len(samples) - len(chosen)
        return {
            "timelines": [self._timeline(i, scale) for i in chosen],
            "is_log": scale.is_log,
            "truth_known": any(truth_of(s) is not None for s in samples),
            "timelines_left_out": f"{count(left_out, 'video')} of {len(samples)} left out here." if left_out else "",
        }

    def _timeline(self, index: int, scale: figures.Scale) -> Picture:
        sample = self._evaluation.samples[index]
        events = [one for one in self._events if one.video == index]
        truth = truth_of(sample)
        png = figures.timeline(
            sample.frame_seconds,
            sample.frame_scores,
            truth=[(t.start_seconds, t.end_seconds) for t in truth or ()],
            events=[(one.event, one.is_false) for one in events],
            threshold=self._evaluation.threshold,
            scale=scale,
        )
        highest = number(float(sample.frame_scores.max())) if len(sample.frame_scores) else "no score"
        raised = ", ".join(
            f"{clock(e.event.start_seconds)} to {clock(e.event.end_seconds)} ({content.verdict(e)})" for e in events
        )
        return self._picture(
            f"timeline-{index + 1:03d}{_slug(sample.sample.name)}.png",
            png,
            alt=f"Scores of {sample.sample.name} over time, highest {highest}, threshold "
            f"{number(self._evaluation.threshold)}. Events: {raised or 'none'}.",
            title=sample.sample.name,
            caption=_what_happens(sample),
        )

    def _strips(self) -> dict[str, Any]:
        chosen = [one for one in self._events if one.rank <= MOST_STRIPS]
        pictures, failed = [], []
        for index in sorted({one.video for one in chosen}):
            events = [one for one in chosen if one.video == index]
            sample = self._evaluation.samples[index]
            try:
                strips = event_strips(
                    sample.sample.path,
                    sample.track,
                    [one.event for one in events],
                    threshold=self._evaluation.threshold,
                    fps=sample.sample.fps,
                )
            except OddwatchError as error:
                failed.append(f"No pictures of {sample.sample.name}: {error}")
                continue
            pictures += [self._strip(one, strip) for one, strip in zip(events, strips, strict=True)]
        left_out = len(self._events) - len(chosen)
        return {
            "strips": sorted(pictures, key=lambda p: p.rank),
            "strips_failed": failed,
            "strips_left_out": f"{count(left_out, 'event')} with lower peaks left out here." if left_out else "",
            "has_maps": any(self._evaluation.samples[one.video].track.maps is not None for one in chosen),
            "has_boxes": any(one.event.box is not None for one in chosen),
            "pictured": {p.rank for p in pictures},
        }

    def _strip(self, found: FoundEvent, strip: Image) -> Picture:
        event = found.event
        name = self._evaluation.samples[found.video].sample.name
        parts = [f"peak {number(event.peak_score)} at {clock(event.peak_seconds)}"]
        if event.p_value is not None:
            parts.append(f"p = {p_value(event.p_value)}")
        if event.box is not None:
            parts.append(event.place)
        if event.reason is not None:
            parts.append(event.reason.says)
        parts.append("what happened is not known" if found.truth is None else content.verdict(found))
        caption = ", ".join(parts)
        bgr = strip[..., ::-1]
        self.figures[f"event-{found.rank:02d}.png"] = cv2.imencode(".png", bgr)[1].tobytes()
        # Photographs take a tenth of the bytes as JPEG, and the page travels as one file.
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        return Picture(
            source=data_uri(jpeg, "jpeg"),
            width_px=strip.shape[1],
            height_px=strip.shape[0],
            alt=f"Five frames of {name} from {clock(event.start_seconds)} to {clock(event.end_seconds)}: {caption}.",
            title=f"{name}, {clock(event.start_seconds)} to {clock(event.end_seconds)}",
            caption=caption,
            rank=found.rank,
        )

    def _curves(self) -> dict[str, Any]:
        scores, labels = content.labelled_frames(self._evaluation)
        if not len(labels):
            return {"curves": [], "no_curves": "no test frame is labelled."}
        if labels.all() or not labels.any():
            kind = "unusual" if labels.all() else "usual"
            return {"curves": [], "no_curves": f"all labelled test frames are {kind}."}
        says = f"{len(labels):,} frames, {labels.mean():.0%} of them unusual, causal scores"
        threshold = self._evaluation.threshold
        above = scores >= threshold
        at = f"At the threshold {above[labels].mean():.1%} of the unusual and {above[~labels].mean():.1%} of the usual"
        curves = [
            self._picture(
                "roc.png",
                figures.roc(scores, labels, threshold),
                alt=f"ROC curve of {says}. {at} frames alarm.",
                title="ROC",
                caption=says,
            ),
            self._picture(
                "precision-recall.png",
                figures.precision_recall(scores, labels, threshold),
                alt=f"Precision-recall curve of {says}. {at} frames alarm.",
                title="Precision and recall",
                caption=says,
            ),
        ]
        return {"curves": curves, "no_curves": ""}

    def _distribution(self) -> Picture | None:
        evaluation = self._evaluation
        scores, labels = content.labelled_frames(evaluation)
        unknown = [s.frame_scores for s in evaluation.samples if s.frame_labels is None]
        groups = [
            figures.Group("Usual video, held out while learning", evaluation.usual_scores, figures.USUAL),
            figures.Group("Test frames, usual", scores[~labels], figures.SCORE),
            figures.Group("Test frames, unusual", scores[labels], figures.ALARM),
            figures.Group("Test frames without labels", np.concatenate([np.zeros(0), *unknown]), figures.GROUND),
        ]
        groups = [group for group in groups if len(group.scores)]
        if not groups:
            return None
        threshold = evaluation.threshold
        medians = "; ".join(
            f"{g.name}: {len(g.scores):,} scores, median {number(float(np.median(g.scores)))}" for g in groups
        )
        return self._picture(
            "distribution.png",
            figures.distribution(groups, threshold),
            alt=f"Histograms of scores. {medians}. Alert threshold {number(threshold)}.",
            caption="Share of scores at each height, each group by itself. Dashed: the alert threshold.",
        )

    def _picture(self, name: str, png: bytes, *, alt: str, title: str = "", caption: str = "") -> Picture:
        self.figures[name] = png
        return picture_of(png, alt=alt, title=title, caption=caption)


def _what_happens(sample: ScoredSample) -> str:
    truth = truth_of(sample)
    if truth is None:
        return "what happens is not known"
    if not truth:
        return "nothing unusual happens"
    spoken = [f"{t.kind} {clock(t.start_seconds)} to {clock(t.end_seconds)}" for t in truth[:4]]
    return ", ".join(spoken) + (f" and {len(truth) - 4} more" if len(truth) > 4 else "")


def _slug(name: str) -> str:
    """The part of a file name that tells which video it is."""
    ascii_only = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-40:]
    return f"-{ascii_only}" if ascii_only else ""
