"""How the command line speaks: tables and progress for people on a terminal, one JSON object for machines."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from oddwatch.embed import Progress as ProgressCallback
from oddwatch.types import Event, Failure, FrameMetrics, Row

# What is printed can be the name of a file: nothing in it is markup.
console = Console(markup=False, highlight=False, emoji=False)
errors = Console(stderr=True, markup=False, highlight=False, emoji=False)

_unbounded = Console(markup=False, highlight=False, emoji=False, width=1000)
EVENT_COLUMNS = ("video", "from", "to", "peak", "p-value", "place", "why")
EVENT_NUMBERS = ("from", "to", "peak", "p-value")


def print_json(value: Any) -> None:
    """One JSON object on standard output, nothing else."""
    print(json.dumps(value, indent=1, allow_nan=False))


def say(text: str) -> None:
    """A line for people, on standard error, so that standard output stays for results."""
    errors.print(text, soft_wrap=True)


def say_failures(failures: Iterable[Failure]) -> None:
    """Each input that could not be used, a line each."""
    for failure in failures:
        say(f"skipped: {failure}")


def failures_json(failures: Iterable[Failure]) -> list[dict[str, str]]:
    """The same as JSON types."""
    return [{"source": f.source, "reason": f.reason} for f in failures]


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """What oddwatch logs as a warning becomes a line for people: once, however often the video is read."""
    handler = _Lines()
    logger = logging.getLogger("oddwatch")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            say(f"warning: {text}")


@contextmanager
def progress_bar() -> Iterator[ProgressCallback | None]:
    """A progress bar per video or step on a terminal; None where standard error is not one."""
    if not errors.is_terminal:
        yield None
        return
    name = TextColumn("{task.description}", markup=False)
    with Progress(name, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=errors, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: float, total: float | None) -> None:
            if name not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[name] = bar.add_task(name[-48:], total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield report


def clock(seconds: float) -> str:
    """h:mm:ss.s as in a player, without the hours when there are none.

    >>> clock(75.25), clock(3675), clock(59.97)
    ('1:15.2', '1:01:15.0', '1:00.0')
    """
    minutes, rest = divmod(round(max(seconds, 0.0), 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "video"), counted(2, "video")
    ('1 video', '2 videos')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")


def number(value: float | None, *, digits: int = 3) -> str:
    """A figure, or a dash when it is not defined."""
    return "-" if value is None else f"{value:.{digits}f}"


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[str] = ()
) -> None:
    """A table, and an empty line: as wide as the terminal, in a file or a pipe as wide as it needs to be.

    numbers: names of the columns that hold figures, which go to the right.
    """
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    made.show_edge = False
    for column in columns:
        right = column in numbers
        made.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for row in rows:
        made.add_row(*row)
    bounded = console.is_terminal or "COLUMNS" in os.environ
    (console if bounded else _unbounded).print(made)
    print()


def print_descriptions(entries: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Names with some lines of text beside each."""
    made = Table.grid(padding=(0, 2, 0, 0))
    for name, lines in entries:
        for place, line in enumerate(filter(None, lines)):
            made.add_row("" if place else name, line)
    console.print(made)


def event_row(source: str, event: Event) -> list[str]:
    """One line of a table with `EVENT_COLUMNS`."""
    p = "-" if event.p_value is None else f"{event.p_value:.2g}"
    times = clock(event.start_seconds), clock(event.end_seconds)
    return [source, *times, f"{event.peak_score:.3g}", p, event.place, event.reason.says if event.reason else "-"]


def event_json(source: str, event: Event) -> dict[str, Any]:
    """An event as JSON types; times in seconds, box as fractions of the frame."""
    return {
        "video": source,
        "start_seconds": round(event.start_seconds, 3),
        "end_seconds": round(event.end_seconds, 3),
        "peak_seconds": round(event.peak_seconds, 3),
        "peak_score": event.peak_score,
        "p_value": event.p_value,
        "place": event.place,
        "box": None if event.box is None else [round(side, 4) for side in event.box],
        "reason": None if event.reason is None else asdict(event.reason),
    }


def print_comparison(title: str, rows: Sequence[Row]) -> None:
    """Every configuration: how it ranks frames, then places, events and what there is to say about it."""
    areas = ("micro", "macro", "padded", "AP", "EER", "smoothed micro", "smoothed padded")
    figures = [
        [row.name, *_aucs(row.causal), number(row.causal.average_precision), number(row.causal.eer)]
        + (_aucs(row.offline)[::2] if row.offline else ["-", "-"])
        for row in rows
    ]
    print_table(title, ("configuration", *areas), figures, numbers=areas)
    places = ("pixel AUC", "RBDC", "TBDC", "found", "false alarms")
    others = []
    for row in rows:
        e = row.events
        found = ["-", "-"] if e is None else [f"{e.found_events} of {e.truth_events}", str(e.false_alarms)]
        cells = [number(row.causal.pixel_auc), number(row.causal.rbdc), number(row.causal.tbdc), *found]
        if row.note or set(cells) != {"-"}:
            others.append([row.name, *cells, row.note])
    if others:
        print_table("Places and events", ("configuration", *places, "note"), others, numbers=places)


def _aucs(figures: FrameMetrics) -> list[str]:
    return [number(figures.micro_auc), number(figures.macro_auc), number(figures.macro_auc_padded)]
