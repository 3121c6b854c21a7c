"""From a site file to what the commands work with: its store, its sinks, and who is spared what and when."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwatch.errors import UsageError

if TYPE_CHECKING:
    from oddwatch.config.site import Hours, Site
    from oddwatch.notify.base import Sink
    from oddwatch.outbox import Route
    from oddwatch.store import Store

SiteFile = Annotated[Path, typer.Argument(metavar="SITE", help="The YAML file of a site.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Cameras = Annotated[list[str] | None, typer.Option("--camera", metavar="NAME", help="Of this one; again for more.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="From then on: 12h, 7d, 2026-11-23 or '2026-11-23 14:00'."),
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then: as --since.")]
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def now() -> datetime:
    """What time it is, in UTC."""
    return datetime.now(UTC)


def open_site(file: Path) -> Site:
    """A site for commands that look at its store: secrets of cameras and sinks need not be there. Raises UsageError."""
    from oddwatch.config.site import read_site

    return read_site(file, secrets=False)


def open_store(site: Site, *, create: bool = False) -> Store:
    """The store of a site. create: begin it when there is none. Raises StoreError, MissingExtraError."""
    from oddwatch.store import Store

    address = None if site.storage.database is None else site.storage.database.get_secret_value()
    return Store(Path(site.storage.folder), database=address, create=create)


def build_sinks(site: Site) -> list[Sink]:
    """What sends, for each sink of a site. Raises UsageError, MissingExtraError."""
    from oddwatch.config.site import AppriseSink, WebhookSink
    from oddwatch.notify.mqtt import Mqtt
    from oddwatch.notify.services import Service
    from oddwatch.notify.webhook import Webhook

    sinks: list[Sink] = []
    for one in site.alerts.sinks:
        if isinstance(one, WebhookSink):
            sinks.append(
                Webhook(
                    one.name,
                    one.url.get_secret_value(),
                    secret=None if one.secret is None else one.secret.get_secret_value(),
                    headers={name: value.get_secret_value() for name, value in one.headers.items()},
                    thumbnail=one.thumbnail,
                    private_addresses=one.private_addresses,
                    timeout_seconds=one.timeout_seconds,
                )
            )
        elif isinstance(one, AppriseSink):
            sinks.append(Service(one.name, one.url.get_secret_value(), thumbnail=one.thumbnail))
        else:
            sinks.append(
                Mqtt(
                    one.name,
                    one.host,
                    site=site.name,
                    cameras=[camera.name for camera in site.cameras if one.name in site.sinks_of(camera.name)],
                    port=one.port,
                    user=one.user,
                    password=None if one.password is None else one.password.get_secret_value(),
                    tls=one.tls,
                    topic=one.topic,
                    discovery=one.discovery,
                    timeout_seconds=one.timeout_seconds,
                )
            )
    return sinks


def build_routes(site: Site) -> list[Route]:
    """The sinks of a site with their quiet hours and limits. Raises UsageError, MissingExtraError."""
    from oddwatch.outbox import Route

    routes = []
    for sink, config in zip(build_sinks(site), site.alerts.sinks, strict=True):
        limit = config.limit or site.alerts.limit
        hours = site.alerts.quiet_hours if config.quiet_hours is None else config.quiet_hours
        routes.append(
            Route(
                sink,
                _within(hours, site.zone),
                limit.alerts,
                limit.minutes * 60,
                site.alerts.give_up_hours * 3600,
            )
        )
    return routes


def _within(hours: Sequence[Hours], zone: tzinfo | None) -> Callable[[datetime], bool]:
    return lambda moment: any(one.hold(moment.astimezone(zone)) for one in hours)


def parse_time(text: str | None, zone: tzinfo | None, option: str) -> datetime | None:
    """A moment as it is written after an option: so long ago, a day or a time of the site. Raises UsageError."""
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text):
        return (
            now() - float(ago[1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[ago[2]]
        )
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is 30m, 12h, 7d, 2026-11-23 or '2026-11-23 14:00', got {text!r}") from None
    if found.tzinfo is None:
        found = found.astimezone() if zone is None else found.replace(tzinfo=zone)
    return found


def local(moment: datetime | None, zone: tzinfo | None) -> str:
    """A time of the site for a table."""
    return "-" if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"
