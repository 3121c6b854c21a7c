"""What a report says: an `Evaluation` in words and table cells. Plain text, no markup, no pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.metrics import intervals_from_labels
from oddwatch.report.wording import NONE, clock, count, duration, number, p_value, share
from oddwatch.types import Evaluation, Event, FloatArray, FrameMetrics, LeaveOneOut, Row, ScoredSample, TruthEvent

MOST_EVENTS = 300
_NO_KIND = "unusual"
"""Kind of what is known from frame labels alone."""


@dataclass(frozen=True)
class FoundEvent:
    """An event with its video. rank: 1 is the highest peak. truth: kinds of what happened meanwhile, empty for a false
    alarm, None when it is not known what happened.
    """

    video: int
    event: Event
    rank: int
    truth: tuple[str, ...] | None

    @property
    def is_false(self) -> bool:
        """Whether it is known that nothing unusual happened."""
        return self.truth == ()


@dataclass(frozen=True)
class Cell:
    """Text of a table cell; best: whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """groups: (title, number of columns) above the columns, the first column (names) not counted. rows: name, note,
    cells.
    """

    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]


def truth_of(sample: ScoredSample) -> tuple[TruthEvent, ...] | None:
    """What is known to have happened in a video: its truth events, or else the stretches of its frame labels."""
    if sample.sample.truth is not None:
        return sample.sample.truth
    if sample.frame_labels is None:
        return None
    stretches = intervals_from_labels(sample.frame_labels, sample.frame_seconds)
    return tuple(TruthEvent(_NO_KIND, start, end) for start, end in stretches)


def found_events(evaluation: Evaluation) -> list[FoundEvent]:
    """All events, in the order of videos and time. One that touches a truth event is right, as in `event_metrics`."""
    found = []
    for index, sample in enumerate(evaluation.samples):
        truth = truth_of(sample)
        for event in sample.events:
            kinds = None if truth is None else tuple(dict.fromkeys(t.kind for t in truth if event.overlaps(t)))
            found.append(FoundEvent(index, event, 0, kinds))
    order = sorted(range(len(found)), key=lambda i: -found[i].event.peak_score)
    ranks = {index: rank for rank, index in enumerate(order, start=1)}
    return [replace(one, rank=ranks[i]) for i, one in enumerate(found)]


def missed_events(evaluation: Evaluation) -> list[tuple[str, TruthEvent]]:
    """(video, what happened) for all that no event touches."""
    return [
        (sample.sample.name, truth)
        for sample in evaluation.samples
        for truth in truth_of(sample) or ()
        if not any(event.overlaps(truth) for event in sample.events)
    ]


def labelled_frames(evaluation: Evaluation) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Scores (N,) and labels (N,) of all frames of all videos that have labels."""
    known = [(s.frame_scores, s.frame_labels) for s in evaluation.samples if s.frame_labels is not None]
    if not known:
        return np.zeros(0), np.zeros(0, dtype=bool)
    return np.concatenate([s for s, _ in known]), np.concatenate([np.asarray(y, dtype=bool) for _, y in known])


def summary(evaluation: Evaluation, events: Sequence[FoundEvent]) -> list[str]:
    """The report in a few sentences."""
    watched = sum(s.track.seconds for s in evaluation.samples)
    inputs = evaluation.settings.get("inputs")
    taught = f" from {count(len(inputs), 'usual video')}" if isinstance(inputs, list) and inputs else ""
    name = evaluation.rows[0].name if evaluation.rows else "The detector"
    sentences = [
        f"The detector ({name}) learned what is usual{taught} and then watched "
        f"{count(len(evaluation.samples), 'test video')}, {duration(watched)} in all.",
        _outcome(evaluation, events),
        f"An event is raised where the score reaches {number(evaluation.threshold)}{_lasting(evaluation)}. "
        f"Where this threshold comes from: {evaluation.threshold_says}.",
    ]
    if evaluation.failures:
        sentences.append(f"{count(len(evaluation.failures), 'input')} could not be used; see “Inputs not used”.")
    return sentences


def _lasting(evaluation: Evaluation) -> str:
    seconds = evaluation.settings.get("grouping", {}).get("min_seconds")
    return f" and stays near it for at least {seconds:g} s" if seconds else ""


def _outcome(evaluation: Evaluation, events: Sequence[FoundEvent]) -> str:
    raised = f"It raised {count(len(events), 'event')}" if events else "It raised no event"
    truths = [truth for s in evaluation.samples if (truth := truth_of(s)) is not None]
    if not truths:
        return f"{raised}. What really happened is not known, so nothing here can be called right or wrong."
    happened = sum(map(len, truths))
    false = sum(one.is_false for one in events)
    if not happened:
        return f"{raised}. Nothing unusual is known to have happened: {count(false, 'false alarm')}."
    found = happened - len(missed_events(evaluation))
    return (
        f"{raised}. Of {count(happened, 'unusual event')} known to have happened it found {found:,}, "
        f"and it gave {count(false, 'false alarm')}."
    )


def highlights(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(figure, what it is, detail) of the configuration asked for; nothing that is not known."""
    tiles: list[tuple[str, str, str]] = []
    row = evaluation.rows[0] if evaluation.rows else None
    if row and row.causal.micro_auc is not None:
        tiles.append((share(row.causal.micro_auc), "micro AUC", "all frames together"))
    if row and row.causal.macro_auc is not None:
        tiles.append((share(row.causal.macro_auc), "macro AUC", f"mean of {count(row.causal.macro_videos, 'video')}"))
    if row and row.events:
        found = row.events
        tiles.append((f"{found.found_events} of {found.truth_events}", "events found", ""))
        tiles.append(
            (f"{found.false_alarms}", "false alarms", f"in {duration(found.normal_hours * 3600)} of usual video")
        )
        if found.median_delay_seconds is not None:
            tiles.append((f"{found.median_delay_seconds:.1f} s", "median delay", "from start to alert"))
    if evaluation.frames_per_second is not None:
        tiles.append((f"{evaluation.frames_per_second:,.0f}", "frames per second", "from decoding to score"))
    return tiles


_Getter = Callable[[FrameMetrics], float | None]
_FRAME_COLUMNS: tuple[tuple[str, _Getter], ...] = (
    ("micro AUC", lambda m: m.micro_auc),
    ("macro AUC", lambda m: m.macro_auc),
    ("macro, padded", lambda m: m.macro_auc_padded),
    ("average precision", lambda m: m.average_precision),
    ("EER", lambda m: m.eer),
    ("RBDC", lambda m: m.rbdc),
    ("TBDC", lambda m: m.tbdc),
)


def frame_table(rows: Sequence[Row]) -> Table | None:
    """Frame-level figures of all configurations; columns without any figure are left out, None when all are."""
    groups: list[tuple[str, int]] = []
    columns: list[tuple[str, list[Cell]]] = []
    modes: list[tuple[str, Callable[[Row], FrameMetrics | None]]] = [
        ("causal: nothing from the future", lambda row: row.causal),
        ("smoothed over past and future", lambda row: row.offline),
    ]
    for title, mode in modes:
        kept = []
        for name, get in _FRAME_COLUMNS:
            values = [None if (m := mode(row)) is None else get(m) for row in rows]
            if any(v is not None for v in values):
                kept.append((name, _cells(values, share, low_is_good=name == "EER")))
        if kept:
            groups.append((title, len(kept)))
            columns += kept
    return _table(rows, groups, columns)


def event_table(rows: Sequence[Row]) -> Table | None:
    """Event-level figures of all configurations that have them, None when none has."""
    rows = [row for row in rows if row.events is not None]
    events = [row.events for row in rows if row.events is not None]
    found = [Cell(f"{e.found_events} of {e.truth_events}", best=False) for e in events]
    columns = [
        ("found", found),
        ("recall", _cells([e.recall for e in events], share)),
        ("false alarms", _cells([e.false_alarms for e in events], lambda v: f"{v:.0f}", low_is_good=True)),
        ("per hour of usual video", _cells([e.false_alarms_per_hour for e in events], number, low_is_good=True)),
        ("median delay, s", _cells([e.median_delay_seconds for e in events], lambda v: f"{v:.1f}", low_is_good=True)),
        ("threshold", [Cell(number(e.threshold)) for e in events]),
    ]
    return _table(rows, [("at each configuration's own alert threshold", len(columns))], columns) if rows else None


def _cells(values: Sequence[float | None], write: Callable[[float], str], *, low_is_good: bool = False) -> list[Cell]:
    """Cells of one column, the best marked (all that read the same), unless there is nothing to compare."""
    texts = [NONE if v is None else write(v) for v in values]
    known = [v for v in values if v is not None]
    best = texts[values.index(min(known) if low_is_good else max(known))] if len(known) > 1 else None
    differ = len({t for t, v in zip(texts, values, strict=True) if v is not None}) > 1
    return [Cell(t, best=differ and v is not None and t == best) for t, v in zip(texts, values, strict=True)]


def _table(
    rows: Sequence[Row], groups: Sequence[tuple[str, int]], columns: Sequence[tuple[str, list[Cell]]]
) -> Table | None:
    if not columns:
        return None
    body = tuple((row.name, row.note, tuple(cells[i] for _, cells in columns)) for i, row in enumerate(rows))
    return Table(tuple(groups), tuple(name for name, _ in columns), body)


def event_rows(evaluation: Evaluation, events: Sequence[FoundEvent]) -> list[dict[str, Any]]:
    """Cells of the table of events; of very many, those with the highest peaks."""
    return [
        {
            "rank": one.rank,
            "video": evaluation.samples[one.video].sample.name,
            "start": clock(one.event.start_seconds),
            "end": clock(one.event.end_seconds),
            "peak": number(one.event.peak_score),
            "p": p_value(one.event.p_value),
            "place": one.event.place if one.event.box is not None else NONE,
            "why": one.event.reason.says if one.event.reason is not None else NONE,
            "verdict": verdict(one),
            "is_false": one.is_false,
        }
        for one in events
        if one.rank <= MOST_EVENTS
    ]


def verdict(found: FoundEvent) -> str:
    """Whether it matches the truth, in words."""
    if found.truth is None:
        return "not known"
    if not found.truth:
        return "false alarm"
    return "match" if found.truth == (_NO_KIND,) else f"match: {', '.join(found.truth)}"


def leave_one_out_says(result: LeaveOneOut) -> list[str]:
    """The leave-one-out result in sentences."""
    low, high = result.interval
    sentences = [
        "Each usual video was scored by a detector that had learned only from the others, at the threshold of the "
        f"budget {result.budget}.",
        f"In {duration(result.hours * 3600)} of usual video this gave {count(result.false_alarms, 'false alarm')} "
        f"(95% interval of the true mean: {number(low)} to {number(high)}, exact Poisson).",
    ]
    if result.expected is None:
        return [
            *sentences,
            "The budget is a share of scores and not a rate, so it says nothing about how many to expect.",
        ]
    return [*sentences, f"The budget allows {number(result.expected)} in that time, so the count {result.verdict}."]
