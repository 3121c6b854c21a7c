"""What a monitor is asked for, and what it hands to its sinks. Times ending in `_wall` are seconds since 1970."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from oddwatch.detector import Detector
from oddwatch.errors import UsageError
from oddwatch.grouping import Grouping
from oddwatch.health import Finding, Patience
from oddwatch.types import Box, Embeddings, FloatArray, Image
from oddwatch.video import CameraCounts, CameraOptions, Unobserved

Phase = Literal["waiting", "learning", "armed", "blind", "stopped", "lost"]
"""lost: the process that watched it is gone, and another one is on its way."""
EvidenceKind = Literal["clip", "thumbnail", "heatmap", "usual-1", "usual-2", "usual-3"]
USUAL: tuple[EvidenceKind, ...] = ("usual-1", "usual-2", "usual-3")
"""Pictures of usual moments that are most like an event."""
Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Learning:
    """How a camera learns its own detector. seconds: of video that it sees before. trim: whether what stands out far
    from all else of that time is left out. pictures: keep small ones of usual moments.
    """

    seconds: float = 86_400.0
    backbone: str = "motion"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    scorer: str = "auto"
    budget: str = "2/day"
    trim: bool = True
    pictures: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise UsageError(f"the time to learn is above 0 s, got {self.seconds}")

    def detector(self) -> Detector:
        """One that has not learned yet. Raises UsageError for options that cannot work."""
        return Detector(
            backbone=self.backbone,
            backbone_options=dict(self.backbone_options),
            scorer=self.scorer,
            budget=self.budget,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Plan:
    """One camera to watch. folder: of its detector; where there is none yet, it is learned as `learning` says.

    zones: polygons (fractions of the frame); with any, only what touches one counts. pre_seconds, post_seconds: of the
    clip around an event. most_seconds: of an event that the clip shows. grouping: instead of the detector's.
    """

    name: str
    camera: CameraOptions
    folder: Path
    learning: Learning | None = None
    zones: tuple[Polygon, ...] = ()
    pre_seconds: float = 5.0
    post_seconds: float = 5.0
    most_seconds: float = 30.0
    cooldown_seconds: float = 10.0
    grouping: Grouping | None = None
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if min(self.pre_seconds, self.post_seconds, self.most_seconds, self.cooldown_seconds) < 0:
            raise UsageError(f"{self.name}: seconds before, of, after and between events are 0 or more")
        longest = self.pre_seconds + self.most_seconds + self.post_seconds
        if longest > self.camera.evidence_seconds:
            raise UsageError(
                f"{self.name}: a clip of up to {longest:g} s needs evidence_seconds of as many, got "
                f"{self.camera.evidence_seconds:g}"
            )


@dataclass(frozen=True)
class SimilarMoment:
    """A usual moment that resembles what was seen: of which recording, and when in it. distance: how unlike it is, in
    standard deviations of usual video. thumbnail: which of the event's files shows it; None when no picture was at hand
    while it was learned, and while the event lasts.
    """

    source: str
    seconds: float
    at_wall: float | None = None
    distance: float = 0.0
    thumbnail: EvidenceKind | None = None


@dataclass(frozen=True)
class EventRecord:
    """An unusual event. state: `open` when it is told first, `closed` when it is over and its evidence is complete; the
    uid is the same. why: which parts of the description are unusual, JSON types. similar: the usual moments that are
    most like its peak, three at most. files: paths of the evidence that is
    there. clip_from_wall: when the clip begins. problem: why evidence is missing, empty when none is.
    """

    camera: str
    uid: str
    state: Literal["open", "closed"]
    start_wall: float
    end_wall: float
    peak_wall: float
    peak_score: float
    threshold: float
    p_value: float | None
    box: Box | None
    place: str
    detector: str
    why: Mapping[str, Any] = field(default_factory=dict)
    similar: tuple[SimilarMoment, ...] = ()
    files: Mapping[EvidenceKind, str] = field(default_factory=dict)
    clip_from_wall: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class FindingRecord:
    """A camera that does not see as it should (raised), or does again. uid: the same for both."""

    camera: str
    uid: str
    finding: Finding
    since_wall: float
    known_wall: float


@dataclass(frozen=True)
class GapRecord:
    """A camera was not observed."""

    camera: str
    gap: Unobserved


@dataclass(frozen=True)
class Readiness:
    """How far a camera is with learning. seconds: seen. moments: embeddings. certified: the rarest budget that so much
    video can certify, such as `1/hour`. stable: how alike the scores of the first and the second half of the time are,
    0..1, None before it has learned. left_out: (from, to) wall times that stood out and were left out. armed: done.
    """

    camera: str
    seconds: float
    wanted_seconds: float
    moments: int
    certified: str
    stable: float | None = None
    left_out: tuple[tuple[float, float], ...] = ()
    armed: bool = False
    says: str = ""


Record = EventRecord | FindingRecord | GapRecord | Readiness
"""What a monitor tells."""


@dataclass(frozen=True)
class CameraStatistics:
    """Of one camera, now. lag_seconds: from a picture to its score. score_quantiles, seconds_per_frame: (50%, 99%,
    highest) of late, None before any. observed_seconds of watched_seconds: coverage. queue: pictures that wait.
    why_unseen: of a camera that is offline, as far as is known.
    """

    camera: str
    phase: Phase
    counts: CameraCounts
    scored: int = 0
    events: int = 0
    queue: int = 0
    lag_seconds: float | None = None
    score_quantiles: tuple[float, float, float] | None = None
    seconds_per_frame: tuple[float, float, float] | None = None
    threshold: float | None = None
    blind: tuple[str, ...] = ()
    why_unseen: str = ""
    last_frame_wall: float | None = None
    observed_seconds: float = 0.0
    watched_seconds: float = 0.0
    failures: int = 0


@dataclass(frozen=True)
class Sinks:
    """Where everything goes. Each is called again, later, when it fails, and never stops the watching.

    evidence_path: (camera, uid, kind) -> where to write it; its folder exists; raises OSError where nothing can be
    written. heat: (picture, anomaly map, threshold) -> picture. box: draws a box into a picture. why: what else the
    detector can say of an embedding.
    """

    event: Callable[[EventRecord], None]
    finding: Callable[[FindingRecord], None]
    gap: Callable[[GapRecord], None]
    readiness: Callable[[Readiness], None]
    evidence_path: Callable[[str, str, EvidenceKind], Path]
    heat: Callable[[Image, FloatArray, float], Image] | None = None
    box: Callable[[Image, Box], None] | None = None
    why: Callable[[Detector, Embeddings], Mapping[str, Any]] | None = None


def new_uid() -> str:
    """32 hexadecimal digits that nothing else has."""
    return uuid.uuid4().hex
