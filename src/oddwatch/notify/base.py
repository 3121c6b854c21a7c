"""What is sent, where it goes, and how an attempt can end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Kind = Literal["event", "health", "digest", "test"]


@dataclass(frozen=True)
class Message:
    """key: the same at every attempt, so that a receiver can tell a repetition. camera: empty when it is about several.
    title, text: for people. at: when it happened, aware. data: for machines, JSON types. thumbnail: a JPEG.
    """

    key: str
    kind: Kind
    site: str
    camera: str
    title: str
    text: str
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)
    thumbnail: bytes | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        """What machines are sent, without the thumbnail."""
        return {
            "key": self.key,
            "kind": self.kind,
            "site": self.site,
            "camera": self.camera,
            "title": self.title,
            "text": self.text,
            "at": self.at.isoformat(),
            **self.data,
        }


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: `delivered`, `later` (it may work then) or `never`. reason: without secrets.
    wait_seconds: what the receiver asked for.
    """

    how: Literal["delivered", "later", "never"]
    reason: str = ""
    wait_seconds: float | None = None


DELIVERED = Outcome("delivered")


class Sink(ABC):
    """A place that messages go to. Used by one thread at a time."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def deliver(self, message: Message, *, now: datetime) -> Outcome:
        """Try once, within the sink's time limit. Never raises because of the receiver."""

    def start(self) -> None:  # noqa: B027 - most have nothing to begin
        """Begin what lasts, such as a connection. Returns at once."""

    def close(self) -> None:  # noqa: B027
        """End it."""
