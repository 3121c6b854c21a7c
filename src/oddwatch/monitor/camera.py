"""One camera from its pictures to its events: health, learning, scoring, evidence."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from oddwatch.backbones import EmbeddingStream
from oddwatch.detector import Detector
from oddwatch.errors import DetectorError, NotEnoughVideoError, OddwatchError, UsageError
from oddwatch.health import Finding, Health
from oddwatch.monitor.batching import Networks
from oddwatch.monitor.cold_start import Collection, certified, learn
from oddwatch.monitor.delivery import Outgoing
from oddwatch.monitor.evidence import asked, write_pictures, write_usual
from oddwatch.monitor.records import (
    USUAL,
    CameraStatistics,
    EventRecord,
    EvidenceKind,
    FindingRecord,
    GapRecord,
    Phase,
    Plan,
    Readiness,
    Sinks,
    new_uid,
)
from oddwatch.monitor.scoring import Change, Scoring
from oddwatch.types import Frame
from oddwatch.video import (
    CameraClip,
    CameraCounts,
    CameraFrame,
    CameraItem,
    CameraProcess,
    CameraState,
    Clocks,
    Gaps,
    Unobserved,
)

_log = logging.getLogger(__name__)
_READ_SECONDS = 0.5
_READINESS_SECONDS = 60.0
_CLIP_SECONDS = 30.0
_MORE = 1.25
"""What is too little to learn from becomes so many times as much."""


def detector_version(folder: Path) -> str:
    """12 hexadecimal digits that tell a saved detector from any other. Raises DetectorError."""
    try:
        return hashlib.sha256((folder / "detector.json").read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise DetectorError(f"{folder} is not a detector that can be read: {error.strerror}") from error


@dataclass
class _Told:
    """An event that was told. until_seconds: when its clip can be asked for; closed: whether it is over; asked_seconds:
    when the clip was asked for, None before.
    """

    record: EventRecord
    start_seconds: float
    until_seconds: float
    closed: bool = False
    request: int | None = None
    asked_seconds: float = 0.0
    answered: bool = False


class CameraMonitor:
    """Watches one camera until `stop`, or until a replay is over. `run` it in a thread of its own; it raises what the
    camera, the detector or the learning cannot go on from. networks: those that it shares with other cameras. turn:
    held while it computes: threads that do so side by side in Python disturb each other. began: wall and monotonic time
    from which on it was to be watched; now without.
    """

    def __init__(
        self,
        plan: Plan,
        sinks: Sinks,
        delivery: Outgoing,
        *,
        clocks: Clocks | None = None,
        networks: Networks | None = None,
        turn: AbstractContextManager[object] | None = None,
        began: tuple[float, float] | None = None,
    ) -> None:
        self.plan, self._sinks, self._delivery = plan, sinks, delivery
        self._turn = turn or nullcontext()
        self._clocks = clocks or Clocks()
        self._networks = networks or Networks()
        self._stopped = threading.Event()
        self._health = Health(plan.patience)
        self._phase: Phase = "waiting"
        self._scoring: Scoring | None = None
        self._version = ""
        self._collection: Collection | None = None
        self._stream: EmbeddingStream | None = None
        self._wanted_seconds = plan.learning.seconds if plan.learning else 0.0
        self._lesson: threading.Thread | None = None
        self._lesson_result: tuple[Detector, Readiness] | OddwatchError | None = None
        self._readiness_at = -np.inf
        self._told: list[_Told] = []
        self._findings: dict[str, str] = {}
        self._said_lost: set[str] = set()
        self._restarted: CameraState | None = None
        self._why = ""
        self._events = 0
        self._lag: float | None = None
        self._wall_offset = self._clocks.wall() - self._clocks.monotonic()
        self._last_wall: float | None = None
        self._began_wall, self._began = began or (self._clocks.wall(), self._clocks.monotonic())
        self._last_seconds = self._arrived = self._began
        self._unobserved = 0.0
        self._counts = CameraCounts()
        self._queue = 0
        self._replays_fast = not plan.camera.is_live and plan.camera.replay == "fast"

    def stop(self) -> None:
        """End `run` within a second or two."""
        self._stopped.set()

    def accept_view(self) -> None:
        """The camera was moved on purpose: what it shows from now on is its usual view."""
        self._health.accept_view()

    def run(self) -> None:
        """Watch. Raises OddwatchError."""
        self._prepare()
        gaps = Gaps(started_wall=self._began_wall, started_seconds=self._began)
        wall, read = self._began_wall, self._began
        try:
            with CameraProcess(self.plan.camera, clocks=self._clocks) as camera:
                ended = False
                while not self._stopped.is_set() and not ended:
                    items = camera.read(timeout=_READ_SECONDS)
                    wall, read = self._clocks.wall(), self._clocks.monotonic()
                    lost = camera.counts.dropped > self._counts.dropped
                    self._counts = camera.counts
                    self._take(items, gaps, read, lost=lost)
                    self._why = gaps.why
                    ended = any(isinstance(item, CameraState) and item.kind == "ended" for item in items)
                    if not self._replays_fast and (found := self._health.tick(self._seen_until(read))):
                        self._tell_findings(found)
                        self._interrupt()  # an event does not go on while nothing is seen
                    self._ask_for_clips(camera, self._seen_until(read))
                    self._look_after_lesson()
                if ended:
                    self._await_lesson()
                    self._look_after_lesson()
                    self._say_too_short()
                self._finish(camera)
            if not self._replays_fast and self._phase != "waiting":
                end = self._seen_until(read)
                self._tell_gap(gaps.close(wall - (read - end), end))
        finally:
            self._phase = "stopped"
            self._close_all()  # what it failed in the middle of
            if self._collection is not None:
                self._collection.flush()

    @property
    def statistics(self) -> CameraStatistics:
        """How it goes; may be asked for from another thread."""
        scoring = self._scoring
        watched = max(self._last_seconds - self._began, 0.0)
        return CameraStatistics(
            camera=self.plan.name,
            phase="blind" if self._phase in ("armed", "learning") and not self._health.sees else self._phase,
            counts=self._counts,
            scored=scoring.scored if scoring else 0,
            events=self._events,
            queue=self._queue,
            lag_seconds=self._lag,
            score_quantiles=_quantiles(list(scoring.scores)) if scoring else None,
            seconds_per_frame=_quantiles(list(scoring.seconds_per_frame)) if scoring else None,
            threshold=scoring.threshold if scoring else None,
            blind=self._health.raised,
            why_unseen=(self._why or "no picture arrived") if "offline" in self._health.raised else "",
            last_frame_wall=self._last_wall,
            observed_seconds=max(watched - self._unobserved, 0.0),
            watched_seconds=watched,
        )

    @property
    def collected_seconds(self) -> float:
        """Of video that it has collected to learn from, 0 when it learns no more."""
        collection = self._collection
        return collection.seconds if collection is not None else 0.0

    # what arrives

    def _seen_until(self, now: float) -> float:
        """What time it is for the pictures. They may be shown late, and be judged later: what counts is how long none
        came.
        """
        return self._last_seconds + (0.0 if self._replays_fast else now - self._arrived)

    def _take(self, items: Sequence[CameraItem], gaps: Gaps, read: float, *, lost: bool) -> None:
        """read: monotonic time at which they were. lost: whether there were pictures before them."""
        batch: list[Frame] = []
        self._queue = sum(isinstance(item, CameraFrame) for item in items)
        lost = lost and not any(isinstance(item, CameraState) and item.kind in ("lost", "restarted") for item in items)
        if lost:
            gaps.explain("this machine was too busy, pictures were dropped")
        for item in items:
            self._tell_gap(gaps.push(item))
            if isinstance(item, CameraState):
                self._say(item)
            if isinstance(item, CameraClip):
                self._clip_is_there(item)
            if not isinstance(item, CameraFrame):
                continue
            frame = item.frame
            self._said_lost.clear()
            self._wall_offset = item.wall_seconds - frame.time_seconds
            self._last_wall, self._last_seconds = item.wall_seconds, frame.time_seconds
            self._arrived = read
            saw = self._health.sees
            if lost:
                self._health.resume(frame.time_seconds)
                lost = False
            with self._turn:
                found = self._health.look(frame.image, frame.time_seconds)
            self._tell_findings(found)
            if self._health.sees:
                batch.append(frame)
            elif saw:
                self._judge(batch)
                batch = []
                self._interrupt()
        self._judge(batch)

    def _say(self, state: CameraState) -> None:
        """Why there is no picture once, however often attempts fail in that way before the next one."""
        self._restarted = state if state.kind == "restarted" else self._restarted
        if state.kind == "lost" and state.says not in self._said_lost:
            _log.warning("%s: lost: %s", self.plan.name, state.says)
            self._said_lost.add(state.says)
        elif state.kind in ("connected", "changed"):
            _log.info("%s: %s: %s", self.plan.name, state.kind, state.says)

    def _judge(self, frames: list[Frame]) -> None:
        if not frames:
            return
        if self._scoring is not None:
            with self._turn:
                changes = self._scoring.push(frames, self.plan.name)
            self._changes(changes)
            if not self._replays_fast:
                self._lag = self._clocks.monotonic() - frames[-1].time_seconds
        elif self._collection is not None and self._stream is not None and self._lesson is None:
            for frame in frames if self.plan.learning and self.plan.learning.pictures else ():
                self._collection.see(frame)
            with self._turn:
                embeddings = self._stream.push(frames)
            if embeddings is not None and len(embeddings):
                self._collection.add(embeddings, wall_offset=self._wall_offset)

    def _interrupt(self) -> None:
        """What the camera shows cannot be judged any more."""
        if self._scoring is not None:
            self._changes(self._scoring.interrupt())
        if self._collection is not None:
            self._stream = self._backbone_stream()

    # events

    def _changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            told = next((one for one in self._told if not one.closed), None)
            if told is None:
                told = self._begin(change)
            told.record = self._described(change, told.record.uid)
            if not change.over:
                self._delivery.put(self._sinks.event, told.record)
                continue
            told.closed = True
            told.until_seconds = min(told.until_seconds, change.event.end_seconds + self.plan.post_seconds)
            self._close_if_complete(told)

    def _begin(self, change: Change) -> _Told:
        self._events += 1
        start = change.event.start_seconds
        uid = new_uid()
        until = start + self.plan.most_seconds + self.plan.post_seconds
        told = _Told(self._described(change, uid), start, until)
        self._told.append(told)
        return told

    def _described(self, change: Change, uid: str) -> EventRecord:
        assert self._scoring is not None
        event, peak, threshold = change.event, change.peak, self._scoring.threshold
        name, detector = self.plan.name, self._scoring.detector
        files, problem = write_pictures(self._sinks, name, uid, peak, box=event.box, threshold=threshold)
        found = detector.similar(peak.embedding, anomaly_map=peak.anomaly_map, most=len(USUAL))
        if not change.over:  # written once, when the peak is known: they delay no alert, and none has to go again
            found = tuple(replace(one, picture=None) for one in found)
        similar, usual, trouble = write_usual(self._sinks, name, uid, found, masks=self.plan.camera.masks)
        problem, files = problem or trouble, {**files, **usual}
        reason = {} if event.reason is None else asdict(event.reason)
        before = next((one.record for one in self._told if one.record.uid == uid), None)
        clip: dict[EvidenceKind, str] = {"clip": before.files["clip"]} if before and "clip" in before.files else {}
        return EventRecord(
            camera=name,
            uid=uid,
            state="closed" if change.over else "open",
            start_wall=event.start_seconds + self._wall_offset,
            end_wall=event.end_seconds + self._wall_offset,
            peak_wall=event.peak_seconds + self._wall_offset,
            peak_score=event.peak_score,
            threshold=threshold,
            p_value=event.p_value,
            box=event.box,
            place=event.place,
            detector=self._version,
            why={**reason, **asked(self._sinks.why, detector, peak.embedding, otherwise={})},
            similar=similar,
            files={**files, **clip},
            clip_from_wall=before.clip_from_wall if before else None,
            problem=problem or (before.problem if before else ""),
        )

    def _ask_for_clips(self, camera: CameraProcess, latest: float) -> None:
        """Of what is over, or has lasted as long as a clip is, at a time of the pictures."""
        for told in self._told:
            if told.request is None and not told.answered and latest >= told.until_seconds:
                try:
                    path = self._sinks.evidence_path(self.plan.name, told.record.uid, "clip")
                except OSError as error:  # the event is told all the same
                    problem = f"the clip cannot be written: {error.strerror or error}"
                    told.answered, told.record = True, replace(told.record, problem=problem)
                    continue
                start = told.start_seconds - self.plan.pre_seconds
                told.request = camera.clip(path, from_seconds=start, to_seconds=told.until_seconds)
                told.asked_seconds = self._clocks.monotonic()
            elif told.request is not None and self._clocks.monotonic() - told.asked_seconds > _CLIP_SECONDS:
                self._clip_is_there(CameraClip(told.request, "", problem="the clip was not written in time"))
        for told in list(self._told):
            self._close_if_complete(told)

    def _clip_is_there(self, clip: CameraClip) -> None:
        told = next((one for one in self._told if one.request == clip.request), None)
        if told is None or told.answered:
            return
        told.answered = True
        if clip.problem:
            died = self._restarted
            why = f"{died.says}: " if died and died.seconds >= told.start_seconds else ""  # what it kept went with it
            told.record = replace(told.record, problem=why + clip.problem)
        else:
            files: dict[EvidenceKind, str] = {**told.record.files, "clip": clip.path}
            told.record = replace(told.record, files=files, clip_from_wall=clip.from_wall)
        self._close_if_complete(told)

    def _close_if_complete(self, told: _Told) -> None:
        if told.closed and told.answered and told in self._told:
            self._told.remove(told)
            self._delivery.put(self._sinks.event, told.record)

    def _finish(self, camera: CameraProcess) -> None:
        """It is over: close what is open, with what there is of clips."""
        if self._scoring is not None:
            self._changes(self._scoring.interrupt())
        if self._told:
            self._ask_for_clips(camera, np.inf)
            end = self._clocks.monotonic() + _CLIP_SECONDS / 3
            while self._told and self._clocks.monotonic() < end:
                for item in camera.read(timeout=0.1):
                    if isinstance(item, CameraClip):
                        self._clip_is_there(item)
        self._close_all()

    def _close_all(self) -> None:
        for told in list(self._told):
            told.closed = told.answered = True
            told.record = replace(told.record, state="closed")
            self._close_if_complete(told)

    # what is told besides events

    def _tell_gap(self, gap: Unobserved | None) -> None:
        if gap is not None:
            self._unobserved += gap.seconds
            self._delivery.put(self._sinks.gap, GapRecord(self.plan.name, gap))

    def _tell_findings(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            if finding.raised:
                self._findings[finding.kind] = new_uid()
                if finding.kind == "offline" and self._why:
                    finding = replace(finding, says=f"{finding.says}: {self._why}")
            uid = self._findings.get(finding.kind) or new_uid()
            since, known = (seconds + self._wall_offset for seconds in (finding.since_seconds, finding.seconds))
            self._delivery.put(self._sinks.finding, FindingRecord(self.plan.name, uid, finding, since, known))

    # the detector

    def _prepare(self) -> None:
        plan = self.plan
        if (plan.folder / "detector.json").exists():
            self._arm(Detector.load(plan.folder))
            return
        if plan.learning is None:
            raise UsageError(f"{plan.name}: {plan.folder} has no detector: learn one, or say how it is to be learned")
        backbone = plan.learning.detector().backbone
        folder = plan.folder.with_name(f"{plan.folder.name}.learning")
        self._collection = Collection(folder, backbone, wanted_seconds=self._wanted_seconds)
        self._stream = self._backbone_stream()
        self._phase = "learning"
        _log.info("%s: learning, %.0f of %.0f s seen", plan.name, self._collection.seconds, self._wanted_seconds)

    def _backbone_stream(self) -> EmbeddingStream:
        assert self.plan.learning is not None
        return self._networks.stream(self.plan.learning.detector().backbone)

    def _arm(self, detector: Detector) -> None:
        grouping = self.plan.grouping or replace(detector.grouping, cooldown_seconds=self.plan.cooldown_seconds)
        self._scoring = Scoring(detector, grouping, zones=self.plan.zones, networks=self._networks)
        self._version = detector_version(self.plan.folder)
        self._collection = self._stream = None
        self._phase = "armed"
        _log.info("%s: armed, %s (detector %s)", self.plan.name, detector.threshold.says, self._version)

    def _say_too_short(self) -> None:
        """A replay is over, and it has not learned."""
        if self._collection is not None and self._lesson is None:
            text = (
                "%s: over after %.0f of %.0f s to learn from: nothing was looked for (replay more or learn from less)"
            )
            _log.warning(text, self.plan.name, self._collection.seconds, self._wanted_seconds)

    def _look_after_lesson(self) -> None:
        """Start to learn when enough was seen, arm when it has learned."""
        collection = self._collection
        if collection is None:
            return
        now = self._clocks.monotonic()
        if self._lesson is None and collection.seconds >= self._wanted_seconds:
            self._lesson = threading.Thread(target=self._learn, name="oddwatch-learning", daemon=True)
            self._lesson.start()
            if self._replays_fast:  # nothing is missed by waiting
                self._await_lesson()
        elif self._lesson is not None and not self._lesson.is_alive():
            self._lesson.join()
            self._lesson, result, self._lesson_result = None, self._lesson_result, None
            if isinstance(result, NotEnoughVideoError):
                self._wanted_seconds = _MORE * max(collection.seconds, self._wanted_seconds)
                _log.warning("%s: %s; it goes on to %.0f s", self.plan.name, result, self._wanted_seconds)
            elif isinstance(result, OddwatchError):
                raise result
            elif result is not None:
                detector, ready = result
                self._arm(detector)
                self._delivery.put(self._sinks.readiness, ready)
                return
        if now - self._readiness_at >= _READINESS_SECONDS:
            self._readiness_at = now
            readiness = Readiness(
                self.plan.name,
                collection.seconds,
                self._wanted_seconds,
                collection.moments,
                certified(collection.seconds),
            )
            self._delivery.put(self._sinks.readiness, readiness)

    def _await_lesson(self) -> None:
        """Until it has learned, or is to stop."""
        while self._lesson is not None and self._lesson.is_alive() and not self._stopped.is_set():
            self._lesson.join(_READ_SECONDS)

    def _learn(self) -> None:
        assert self._collection is not None
        assert self.plan.learning is not None
        try:
            self._lesson_result = learn(self._collection, self.plan.learning, self.plan.folder, camera=self.plan.name)
        except OddwatchError as error:
            self._lesson_result = error
        except Exception as error:
            _log.exception("%s: learning failed", self.plan.name)
            self._lesson_result = DetectorError(f"{self.plan.name}: learning failed: {error!r}")


def _quantiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    if not values:
        return None
    half, most, highest = np.quantile(values, (0.5, 0.99, 1.0)).tolist()
    return half, most, highest
