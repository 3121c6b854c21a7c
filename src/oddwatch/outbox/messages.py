"""From rows of the store to what people and machines read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

from oddwatch.errors import StoreError
from oddwatch.notify.base import Message
from oddwatch.store import Store
from oddwatch.store.records import Alert, Finding, StoredEvent

_LISTED = 50


def message_of(store: Store, alert: Alert, site: str, zone: tzinfo | None) -> Message:
    """What an alert says, as much as is known by now. Raises StoreError."""
    if alert.kind == "event":
        assert alert.event_id is not None
        event = store.events.get(alert.event_id)
        return Message(
            alert.key,
            "event",
            site,
            event.camera,
            f"{event.camera}: something unusual",
            _sentence(event, zone),
            event.start,
            {"event": event_data(event)},
            _thumbnail(store, event),
        )
    if alert.kind == "health":
        assert alert.finding_id is not None
        finding = store.events.findings(id=alert.finding_id)[0]
        says = f"{finding.camera} is {finding.kind}"
        text = f"{says} since {_time(finding.start, zone)}{_because(finding)}."
        data = {"health": finding_data(finding)}
        return Message(alert.key, "health", site, finding.camera, says, text, finding.start, data)
    return _digest(store, alert, site, zone)


def _because(finding: Finding) -> str:
    says = finding.detail.get("says")
    return f": {says}" if says else ""


def _digest(store: Store, alert: Alert, site: str, zone: tzinfo | None) -> Message:
    members = store.alerts.find(digest=alert.id)
    numbers = [member.event_id for member in members if member.event_id is not None]
    events = store.events.find(ids=numbers)[::-1]
    findings = [store.events.findings(id=member.finding_id)[0] for member in members if member.finding_id is not None]
    happened: list[StoredEvent | Finding] = [*events, *findings]
    cameras = Counter([one.camera for one in happened])
    counted = ", ".join(f"{name} {count}" for name, count in sorted(cameras.items()))
    times = [one.start for one in happened]
    first, last = min(times), max(times)
    title = f"{site}: {len(times)} alerts while it was quiet or there were many"
    text = f"{counted}; from {_time(first, zone)} to {_time(last, zone)}."
    data: dict[str, Any] = {
        "count": len(times),
        "cameras": dict(cameras),
        "events": [event_data(event) for event in events[-_LISTED:]],
        "health": [finding_data(finding) for finding in findings[-_LISTED:]],
    }
    strongest = max(events, key=lambda event: event.score, default=None)
    return Message(
        alert.key,
        "digest",
        site,
        next(iter(cameras)) if len(cameras) == 1 else "",
        title,
        text,
        first,
        data,
        None if strongest is None else _thumbnail(store, strongest),
    )


def event_data(event: StoredEvent) -> dict[str, Any]:
    """An event as JSON types; times in ISO 8601 and UTC, box as fractions of the frame."""
    return {
        "id": event.id,
        "uid": event.uid,
        "camera": event.camera,
        "start": event.start.isoformat(),
        "end": event.end.isoformat(),
        "peak": event.peak.isoformat(),
        "score": event.score,
        "p_value": event.p_value,
        "place": event.place,
        "box": None if event.box is None else list(event.box),
        "why": event.why,
        "similar": list(event.similar),
        "detector": event.detector,
        "state": event.state,
        "label": event.label,
        "note": event.note,
        "evidence": [{"kind": one.kind, "path": one.path, "bytes": one.bytes} for one in event.evidence],
    }


def finding_data(finding: Finding) -> dict[str, Any]:
    """A finding about a camera as JSON types."""
    return {
        "id": finding.id,
        "camera": finding.camera,
        "kind": finding.kind,
        "start": finding.start.isoformat(),
        "end": None if finding.end is None else finding.end.isoformat(),
        "detail": finding.detail,
    }


def _sentence(event: StoredEvent, zone: tzinfo | None) -> str:
    parts = [_time(event.start, zone)]
    if event.place != "-":
        parts.append(event.place)
    if "says" in event.why:
        parts.append(str(event.why["says"]))
    if event.p_value is not None:
        parts.append(f"p-value {event.p_value:.2g}")
    return ", ".join(parts) + "."


def _time(moment: datetime, zone: tzinfo | None) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _thumbnail(store: Store, event: StoredEvent) -> bytes | None:
    """None when there is none, or when it cannot be read: the alert is what counts."""
    kept: Sequence[Any] = [one for one in event.evidence if one.kind == "thumbnail"]
    try:
        return store.evidence.read(kept[0]) if kept else None
    except StoreError:
        return None
