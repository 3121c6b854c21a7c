"""What goes into the store and what comes out of it. Times are aware; they come back in UTC."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from oddwatch.types import Box

Label = Literal["usual", "unusual"]
"""What a person says of an event: `usual` is a false alarm."""
LABELS: tuple[Label, ...] = ("usual", "unusual")
AlertState = Literal["waiting", "sent", "dead", "digested"]
ALERT_STATES: tuple[AlertState, ...] = ("waiting", "sent", "dead", "digested")
AlertKind = Literal["event", "health", "digest"]


def new_uid() -> str:
    """32 hexadecimal digits that nothing else has."""
    return uuid.uuid4().hex


def _aware(record: object, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{name} must be an aware time, got {value}")


@dataclass(frozen=True)
class NewEvent:
    """Something unusual that a camera saw, as it is first known.

    end: as far as is known. peak: when score, the highest, was reached. box: fractions of the picture. why: attribute,
    level and says of a `Reason`, and problem, why evidence is missing: as much as there is. detector: its version.
    similar: usual moments that are most like it, JSON types: source, seconds, at, distance, thumbnail (the kind of its
    evidence, or None). uid: makes recording it twice the same as once.
    """

    camera: str
    start: datetime
    end: datetime
    peak: datetime
    score: float
    p_value: float | None = None
    box: Box | None = None
    place: str = "-"
    why: dict[str, Any] = field(default_factory=dict)
    detector: str | None = None
    uid: str = field(default_factory=new_uid)
    similar: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        _aware(self, "start", "end", "peak")
        if not self.start <= self.end:
            raise ValueError(f"an event ends after it starts, got {self.start} to {self.end}")


@dataclass(frozen=True)
class Evidence:
    """A file that shows an event. kind: `clip`, `thumbnail`, `heatmap`, `usual-1`... path: relative to the store's
    folder.
    """

    kind: str
    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class StoredEvent:
    """An event of the store. state: `open` while it lasts, then `closed`; `interrupted` when the process that saw it
    ended first, and `end` is then the last that is known.
    """

    id: int
    uid: str
    camera: str
    start: datetime
    end: datetime
    peak: datetime
    score: float
    p_value: float | None
    box: Box | None
    place: str
    why: dict[str, Any]
    detector: str | None
    state: str
    label: Label | None
    note: str
    similar: tuple[dict[str, Any], ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it lasted, as far as is known."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True)
class Finding:
    """A camera that does not see as it should. kind: `offline`, `frozen`, `dark`... end: None while it lasts."""

    id: int
    uid: str
    camera: str
    kind: str
    start: datetime
    end: datetime | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class Alert:
    """A row of the outbox. key: the same whenever it is sent. held: why it waits for a digest, empty when it does not.
    members: of a digest, the ids of its alerts.
    """

    id: int
    key: str
    kind: AlertKind
    sink: str
    state: AlertState
    event_id: int | None
    finding_id: int | None
    made_at: datetime
    held: str = ""
    attempts: int = 0
    next_try_at: datetime | None = None
    sent_at: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True)
class Detector:
    """A version of a camera's detector. version: names its content. hours: of usual video that it learned from."""

    camera: str
    version: str
    folder: str
    learned_at: datetime
    hours: float
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Gap:
    """A stretch in which a camera was not observed, and why."""

    start: datetime
    end: datetime
    reason: str


@dataclass(frozen=True)
class Removed:
    """What retention removed. labelled: how many of the files were of events that a person had labelled."""

    files: int = 0
    bytes: int = 0
    labelled: int = 0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recovered:
    """What was mended at a start. interrupted: events that had been left open. missing: rows whose file is gone.
    adopted: files of an event that got their row. removed: half-written ones. unknown: files of no event, which stay.
    """

    interrupted: int = 0
    missing: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """Where rows and files disagree. missing: rows without a file. damaged: files that are not what was written.
    orphans: files without a row. busy: cameras that are being watched, whose files without a row were not looked for.
    """

    rows: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    orphans: tuple[str, ...]
    busy: tuple[str, ...]
    repaired: bool

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.missing or self.damaged or self.orphans)
