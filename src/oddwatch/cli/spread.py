"""The cameras of a site, spread over the machines of a Ray cluster: each in a process of its own that writes to the
store itself. What decides is here: who is watched when and told to whom.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from oddwatch.addresses import Redactor, may_hide
from oddwatch.cli.cameras import Cameras, LocalCameras, Told
from oddwatch.config.site import Site
from oddwatch.errors import OddwatchError, StoreError, UsageError
from oddwatch.files import write_bytes
from oddwatch.monitor import CameraStatistics, Plan
from oddwatch.scale import AwayError, Cluster
from oddwatch.store import Store
from oddwatch.video import CameraCounts

_log = logging.getLogger(__name__)
_CPUS = 0.1
"""Of a machine, that Ray counts for a camera."""
_ASK_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
_BEGIN_SECONDS = 60.0
_TROUBLE_SECONDS = 40.0
"""For so long a camera may not begin at the start: a process of before that is cut off has let go of it by then."""
_END_SECONDS = 15.0
_NOTE_SECONDS = 10.0
_AGAIN_SECONDS = 1.0
_FORGOTTEN_SECONDS = 30.0
"""A process that nobody asks for so long ends itself: its machine was cut off, or the one that asks is gone."""
_MOST_LINES = 1000
_MARK = "shared-"
BEGINS = "it begins"
LOST = "its machine or its process was lost"


def require_spreadable(site: Site) -> None:
    """Raises UsageError for a site whose cameras cannot be watched by several machines."""
    database = site.storage.database
    if database is None or not database.get_secret_value().startswith("postgres"):
        raise UsageError(
            "--engine ray needs a database that all machines reach: give storage.database a postgresql:// address "
            "(SQLite is a file of one machine)"
        )
    for camera in site.cameras:
        if camera.url.get_secret_value().startswith("/dev/"):
            raise UsageError(f"{camera.name}: a device is on one machine: watch it there, without --engine ray")


@dataclass(frozen=True)
class Orders:
    """What is to be done with a camera. on: whether it is watched now."""

    told: Told
    on: bool


@dataclass(frozen=True)
class Line:
    """Of a log, without secrets."""

    name: str
    level: int
    created: float
    message: str


@dataclass(frozen=True)
class Report:
    """From the process of a camera. where: which one it is. problem: why it has not begun, empty when it has.
    statistics: None while it is not on.
    """

    where: str
    problem: str
    statistics: CameraStatistics | None
    undelivered: int
    over: bool
    lines: tuple[Line, ...]


class Post:
    """One camera, where it is watched. before: how often it was begun before, in processes that are lost.

    mark: a file that shows that the folder of the store is the same everywhere.
    """

    def __init__(self, plan: Plan, folder: Path, database: str, mark: str, before: int) -> None:
        self._plan, self._folder, self._database, self._mark = plan, folder, database, mark
        self._successor, self._again = before > 0, before > 0
        self._asked_at = time.monotonic()
        self._orders: Orders | None = None
        self._cameras: LocalCameras | None = None
        self._problem = BEGINS
        self._changed, self._stopping = threading.Event(), False
        self._kept = _Kept([plan.camera.url, database] if may_hide(plan.camera.url) else [database])
        self._thread = threading.Thread(target=self._run, name="oddwatch-post", daemon=True)
        self._thread.start()

    def report(self, orders: Orders) -> Report:
        """How it goes. Comes back at once; what is ordered is done soon."""
        self._asked_at = time.monotonic()
        if orders != self._orders:
            self._orders = orders
            self._changed.set()
        return self._report()

    def close(self) -> Report:
        """End, with all written that was seen."""
        self._stopping = True
        self._changed.set()
        self._thread.join()
        logging.getLogger().removeHandler(self._kept)
        return self._report()

    def _report(self) -> Report:
        cameras = self._cameras
        found = cameras.statistics() if cameras is not None else []
        return Report(
            f"{socket.gethostname()}, process {os.getpid()}",
            self._problem,
            found[0] if found else None,
            cameras.undelivered if cameras is not None else 0,
            cameras is not None and bool(found) and cameras.is_over,
            self._kept.taken(),
        )

    def _run(self) -> None:
        while not self._stopping and not self._forgotten:
            try:
                self._watch()
            except OddwatchError as error:
                self._problem = str(error)
            except Exception as error:
                _log.exception("%s: it failed", self._plan.name)
                self._problem = repr(error)
            self._changed.clear()
            if not self._stopping:
                self._changed.wait(_AGAIN_SECONDS)
        if not self._stopping:
            os._exit(1)  # cut off: Ray has begun another one long ago, or does now

    @property
    def _forgotten(self) -> bool:
        """Whether nobody asks any more."""
        return time.monotonic() - self._asked_at > _FORGOTTEN_SECONDS

    def _watch(self) -> None:
        """Until the end. Raises OddwatchError, for what may pass, and when another process took over."""
        if self._orders is None:
            return
        if not (self._folder / self._mark).is_file():
            raise StoreError(
                f"storage.folder {self._folder} is not the same on {socket.gethostname()}: it has to be one that all "
                f"machines see, at the same path"
            )
        with Store(self._folder, database=self._database, create=False) as store:
            cameras = LocalCameras(store, lambda: None, successor=self._successor)
            try:
                cameras.take(self._plan, self._orders.told)
                if self._again:
                    cameras.note_lost(self._plan.name, LOST)
                self._successor, self._again = False, True
                self._cameras, self._problem = cameras, ""
                self._obey(cameras)
            finally:
                cameras.close()
                self._cameras = None

    def _obey(self, cameras: LocalCameras) -> None:
        note_at = time.monotonic() + _NOTE_SECONDS
        done: Orders | None = None
        while not self._stopping and not self._forgotten:
            self._changed.clear()
            orders = self._orders
            assert orders is not None
            if orders != done:
                cameras.take(self._plan, orders.told)
                cameras.turn(self._plan.name, orders.on)
                done = orders
            if time.monotonic() >= note_at:
                cameras.note()
                note_at = time.monotonic() + _NOTE_SECONDS
            if cameras.lost is not None:
                raise cameras.lost
            self._changed.wait(_AGAIN_SECONDS)


class _Kept(logging.Handler):
    """Keeps what this process logs until it is asked for; nothing of it gets into the files of Ray."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__(logging.INFO)
        self.addFilter(Redactor(secrets))
        self._lines: deque[Line] = deque(maxlen=_MOST_LINES)
        logging.getLogger().addHandler(self)
        logging.getLogger("oddwatch").setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage() + (f"\n{record.exc_text}" if record.exc_text else "")
        self._lines.append(Line(record.name, record.levelno, record.created, message))

    def taken(self) -> tuple[Line, ...]:
        """What was logged since this was called last."""
        return tuple(self._lines.popleft() for _ in range(len(self._lines)))


class SpreadCameras(Cameras):
    """Cameras on the machines of a cluster. Ray begins one anew, elsewhere, when its machine is lost."""

    def __init__(self, cluster: Cluster, site: Site) -> None:
        assert site.storage.database is not None
        self._cluster, self._database = cluster, site.storage.database.get_secret_value()
        self._folder = Path(site.storage.folder).absolute()
        self._mark = f"{_MARK}{os.urandom(8).hex()}"
        self._far: dict[str, _Far] = {}

    def take(self, plan: Plan, told: Told) -> None:
        if not self._far:
            self._show_folder()
        plan = _anywhere(plan)
        far = self._far.get(plan.name)
        if far is not None and far.plan != plan:
            self.leave(plan.name)
            far = None
        if far is None:
            make = partial(Post, plan, self._folder, self._database, self._mark)
            self._far[plan.name] = _Far(plan, self._cluster, make, told)
        else:
            far.told = told

    def _show_folder(self) -> None:
        """Raises StoreError."""
        try:
            for old in self._folder.glob(f"{_MARK}*"):
                old.unlink()
            write_bytes(self._folder / self._mark, b"this folder is the same on all machines\n")
        except OSError as error:
            raise StoreError(f"{self._folder} cannot be written: {error.strerror}") from error

    def leave(self, name: str) -> None:
        far = self._far.pop(name)
        far.stop()
        far.join()

    def turn(self, name: str, on: bool) -> None:
        self._far[name].on = on

    def settle(self) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < _BEGIN_SECONDS:
            if not any(far.problem for far in self._far.values()):
                return
            for far in self._far.values():
                if far.trouble and passed > _TROUBLE_SECONDS:
                    raise OddwatchError(far.trouble)
            time.sleep(0.1)
        for far in self._far.values():
            if far.problem:
                _log.warning("%s: it is not watched yet: %s", far.plan.name, far.problem)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._far)

    @property
    def off(self) -> frozenset[str]:
        return frozenset(name for name, far in list(self._far.items()) if far.on is False)

    def statistics(self) -> list[CameraStatistics]:
        return [far.statistics for far in list(self._far.values()) if far.on]

    @property
    def undelivered(self) -> int:
        return sum(far.undelivered for far in list(self._far.values()))

    @property
    def is_over(self) -> bool:
        return not self.off and all(far.over for far in list(self._far.values()))

    def note(self) -> None:
        """Each process notes what it sees."""

    def close(self) -> None:
        for far in self._far.values():
            far.stop()
        for far in self._far.values():
            far.join()
        (self._folder / self._mark).unlink(missing_ok=True)


class _Far:
    """A camera that is watched elsewhere: asks how it is, and passes on what is ordered. In a thread of its own."""

    def __init__(self, plan: Plan, cluster: Cluster, make: Callable[[int], Post], told: Told) -> None:
        self.plan, self.told = plan, told
        self.on: bool | None = None
        self.problem = BEGINS
        self.trouble = ""
        self._placed = cluster.place(make, cpus=_CPUS)
        self._last: Report | None = None
        self._away = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"oddwatch-{plan.name}", daemon=True)
        self._thread.start()

    @property
    def statistics(self) -> CameraStatistics:
        last = self._last.statistics if self._last is not None else None
        found = last or CameraStatistics(self.plan.name, "waiting", CameraCounts())
        if self._away:
            found = replace(found, phase="lost")
        return replace(found, failures=found.failures + max(self._placed.made - 1, 0))

    @property
    def undelivered(self) -> int:
        return self._last.undelivered if self._last is not None else 0

    @property
    def over(self) -> bool:
        return self._last is not None and self._last.over

    def stop(self) -> None:
        self._stopping.set()

    def join(self) -> None:
        """After `stop`: until it has ended, or longer than that takes."""
        self._thread.join(_END_SECONDS + _ANSWER_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(_ASK_SECONDS):
            if self.on is not None:
                self._ask("report", Orders(self.told, self.on), seconds=_ANSWER_SECONDS)
        if self._last is not None and not self._away:
            self._ask("close", seconds=_END_SECONDS)
        self._placed.remove()

    def _ask(self, method: str, *arguments: object, seconds: float) -> None:
        name = self.plan.name
        try:
            report = self._placed.ask(method, *arguments, seconds=seconds)
        except AwayError as error:
            self.problem = str(error)
            if not self._away and self._last is not None:
                _log.warning("%s: %s (%s)", name, error, self._last.where)
            self._away = True
            return
        except Exception as error:  # whatever a machine lacks
            self._trouble(f"{type(error).__name__}: {error}")
            return
        if self._last is None or self._last.where != report.where:
            _log.info("%s: on %s", name, report.where)
        self._last, self._away, self.problem = report, False, report.problem
        if report.problem not in ("", BEGINS):
            self._trouble(report.problem)
        else:
            self.trouble = ""
        for line in report.lines:
            logger = logging.getLogger(line.name)
            if logger.isEnabledFor(line.level):
                record = logger.makeRecord(line.name, line.level, "", 0, line.message, (), None)
                record.created = line.created
                logger.handle(record)

    def _trouble(self, says: str) -> None:
        self.problem = says
        if self.trouble != says:
            _log.error("%s: %s", self.plan.name, says)
        self.trouble = says


def _anywhere(plan: Plan) -> Plan:
    """With paths that do not depend on the folder that a process runs in."""
    camera = plan.camera
    if not camera.is_live:
        camera = replace(camera, url=os.path.abspath(camera.url))
    return replace(plan, folder=plan.folder.absolute(), camera=camera)
