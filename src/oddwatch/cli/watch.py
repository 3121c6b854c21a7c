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
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.cli.commands import INTERRUPTED
from oddwatch.cli.opening import SiteFile
from oddwatch.cli.options import Engine
from oddwatch.errors import OddwatchError
from oddwatch.scale import Cluster
from oddwatch.service import Endpoint, tell_systemd, watchdog_seconds

if TYPE_CHECKING:
    from oddwatch.addresses import Redactor
    from oddwatch.cli.vitals import Vitals
    from oddwatch.cli.watching import Watch
    from oddwatch.config.site import Site

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
_SCHEDULE_SECONDS = 1.0


def watch(
    file: SiteFile,
    engine: Annotated[
        Engine,
        typer.Option("--engine", metavar="local|ray", help="Watch here, or on the machines of a Ray cluster."),
    ] = Engine.LOCAL,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log one JSON object per line.")] = False,
) -> None:
    """Watch the cameras of a site and tell what is unusual."""
    from oddwatch.cli.spread import require_spreadable
    from oddwatch.cli.watching import Watch

    site, redactor = _read(file)
    if engine is Engine.RAY:
        require_spreadable(site)
    with _signals() as signals, _logging(redactor, json_logs) as handler, _cluster(engine) as cluster:
        with Watch(site, cluster=cluster) as watched, _answers(watched) as vitals:
            _log.info("%s: watching, cameras: %s", site.name, ", ".join(one.name for one in site.cameras))
            tell_systemd("READY=1")
            ended_by = _follow(file, watched, vitals, signals, handler)
            tell_systemd("STOPPING=1")
            _log.info("%s: ending: %s", site.name, ended_by.name if ended_by else "all replays are over")
        _log.info("%s: ended", site.name)
    if ended_by == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


def _read(file: Path) -> tuple[Site, Redactor]:
    from oddwatch.addresses import Redactor
    from oddwatch.config.site import hidden, read_site

    site = read_site(file)
    return site, Redactor(hidden(site))


def _follow(
    file: Path, watched: Watch, vitals: Vitals, signals: deque[int], handler: logging.Handler
) -> signal.Signals | None:
    """Until a signal ends it, which is returned, or all cameras were replays that are over. Raises LockLostError."""
    schedule_at = alive_at = 0.0
    alive_seconds = watchdog_seconds()
    while True:
        while signals:
            came = signal.Signals(signals.popleft())
            if came != signal.SIGHUP:
                return came
            try:
                site, redactor = _read(file)
                handler.filters = [redactor]
                watched.reload(site)
                _log.info("%s: read again", file)
            except OddwatchError as error:
                _log.error("%s is not used, all goes on as before: %s", file, error)
        watched.check()
        if watched.cameras.is_over:
            return None
        now = time.monotonic()
        if now >= schedule_at:
            watched.follow_schedule()
            schedule_at = now + _SCHEDULE_SECONDS
        if alive_seconds is not None and now >= alive_at and vitals.health()[0]:
            tell_systemd("WATCHDOG=1")
            alive_at = now + alive_seconds / 3
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _cluster(engine: Engine) -> Iterator[Cluster | None]:
    if engine is Engine.LOCAL:
        yield None
        return
    with Cluster() as cluster:
        yield cluster


@contextmanager
def _answers(watched: Watch) -> Iterator[Vitals]:
    """Metrics and health, over HTTP where the site says so."""
    from oddwatch.cli.vitals import Vitals

    vitals, where = Vitals(watched), watched.site.metrics
    if where is None:
        yield vitals
        return
    with Endpoint(where.host, where.port, health=vitals.health, ready=vitals.ready, metrics=vitals.metrics):
        yield vitals


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
