"""Sinks that keep what they are told, for monitors."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from oddwatch.monitor import EventRecord, EvidenceKind, FindingRecord, GapRecord, Readiness, Sinks

SUFFIXES: dict[EvidenceKind, str] = {"clip": ".mp4", "thumbnail": ".jpg"}


class Kept:
    """All that was told, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.events: list[EventRecord] = []
        self.findings: list[FindingRecord] = []
        self.gaps: list[GapRecord] = []
        self.readiness: list[Readiness] = []

    def sinks(self) -> Sinks:
        from oddwatch.report.overlay import draw_box, heatmap_overlay

        return Sinks(
            event=self.events.append,
            finding=self.findings.append,
            gap=self.gaps.append,
            readiness=self.readiness.append,
            evidence_path=lambda camera, uid, kind: self.folder / f"{camera}-{uid}{SUFFIXES.get(kind, f'-{kind}.jpg')}",
            heat=heatmap_overlay,
            box=draw_box,
            why=lambda detector, embedding: {"moment": float(embedding.end_seconds[0])},
        )

    def closed(self, camera: str | None = None) -> list[EventRecord]:
        return [one for one in self.events if one.state == "closed" and camera in (None, one.camera)]

    def opened(self, camera: str | None = None) -> list[EventRecord]:
        return [one for one in self.events if one.state == "open" and camera in (None, one.camera)]


def until(done: Callable[[], object], *, seconds: float = 30.0) -> float:
    """Wait until something holds. Seconds that took; fails when it does not within `seconds`."""
    start = time.monotonic()
    while not done():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - start
