"""`oddwatch watch`: a site, day and night, until a signal ends it."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.commands import INTERRUPTED
from oddwatch.cli.opening import SiteFile
from oddwatch.errors import OddwatchError

if TYPE_CHECKING:
    from oddwatch.addresses import Redactor
    from oddwatch.config.site import Site

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
_SCHEDULE_SECONDS = 1.0


def watch(
    file: SiteFile,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log one JSON object per line.")] = False,
) -> None:
    """Watch the cameras of a site, keep what is unusual and send alerts, until it is stopped."""
    from oddwatch.addresses import Redactor
    from oddwatch.cli.watching import Watch
    from oddwatch.config.secret import secrets_of
    from oddwatch.config.site import read_site

    def read() -> tuple[Site, Redactor]:
        site = read_site(file)
        return site, Redactor(secrets_of(site))

    site, redactor = read()
    with _signals() as signals, _logging(redactor, json_logs) as handler:
        with Watch(site) as watched:
            _log.info("%s: watching, cameras: %s", site.name, ", ".join(one.name for one in site.cameras))
            schedule_at = 0.0
            while True:
                while signals and signals[0] == signal.SIGHUP:
                    signals.popleft()
                    try:
                        site, redactor = read()
                        handler.filters = [redactor]
                        watched.reload(site)
                        _log.info("%s: read again", file)
                    except OddwatchError as error:
                        _log.error("%s is not used, all goes on as before: %s", file, error)
                if signals:
                    break
                watched.check()
                if watched.is_over:
                    _log.info("%s: all replays are over", site.name)
                    return
                if time.monotonic() >= schedule_at:
                    watched.follow_schedule()
                    schedule_at = time.monotonic() + _SCHEDULE_SECONDS
                time.sleep(_LOOK_SECONDS)
            _log.info("%s: ending: %s", site.name, signal.Signals(signals[0]).name)
        _log.info("%s: ended", site.name)
    if signals[0] == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _signals() -> Iterator[deque[int]]:
    """The signals that have come. A handler does nothing but append, so that it may interrupt anything; a second Ctrl-C
    ends at once.
    """
    come: deque[int] = deque()

    def note(number: int, frame: object) -> None:
        come.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield come
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _logging(redactor: Redactor, as_json: bool) -> Iterator[logging.Handler]:
    """All logs to standard error, without secrets, instead of the lines that other commands print."""
    handler = logging.StreamHandler()
    handler.addFilter(redactor)
    handler.setFormatter(_Json() if as_json else _Text())
    root, own = logging.getLogger(), logging.getLogger("oddwatch")
    lines, level, propagates = own.handlers[:], own.level, own.propagate
    own.handlers, own.propagate = [], True
    own.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        own.handlers, own.propagate = lines, propagates
        own.setLevel(level)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {super().format(record)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"at": _time(record), "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if record.exc_text:
            line["traceback"] = record.exc_text
        return json.dumps(line)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
