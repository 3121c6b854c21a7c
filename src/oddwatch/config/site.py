"""The file of a site: its cameras, who is told of what, what is kept. It builds nothing.

Paths are relative to the folder that the file is in.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from oddwatch.addresses import is_private, is_url, may_hide, scheme_of
from oddwatch.config.reading import Problem, raise_first, read_model, shown, wrong_at
from oddwatch.config.secret import NeededSecret, Secret, Surroundings, in_folder, secrets_of
from oddwatch.errors import MissingExtraError

try:
    from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, model_validator
except ImportError as error:
    raise MissingExtraError("a site file", "pydantic", "watch") from error

CAMERA_SCHEMES = ("rtsp", "rtsps", "http", "https", "file")
WEBHOOK_SCHEMES = ("http", "https")
DATABASE_SCHEMES = ("sqlite", "postgresql")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOCAL_NAMES = ("localhost", "ip6-localhost")


class Section(BaseModel):
    """Keys that are not known are refused, and so are values of another type. What is wrong never shows a value."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", text):
        raise ValueError(f"a name has small letters, digits, - and _, 63 at most, got {shown(text)}")
    return text


def _address(value: SecretStr, schemes: tuple[str, ...], what: str) -> SecretStr:
    """Raises ValueError that holds the scheme and nothing else of it."""
    address = value.get_secret_value()
    if not address:  # not asked for: see Surroundings
        return value
    if not is_url(address) or scheme_of(address) not in schemes:
        arrived = f"{scheme_of(address)}://..." if is_url(address) else "no address"
        raise ValueError(f"{what} begins with {', '.join(f'{s}://' for s in schemes)}, got {arrived}")
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in address):
        raise ValueError(f"{what} holds a space or a control character: write it as %20 or such")
    return value


def _camera_address(value: SecretStr, info: ValidationInfo) -> SecretStr:
    address = value.get_secret_value()
    if address != address.strip():
        raise ValueError("the address of a camera begins or ends with a space")
    if (scheme := re.match(r"[a-z][a-z0-9+.-]*:/", address, re.IGNORECASE)) and not is_url(address):
        raise ValueError(f"the address of a camera has // after {scheme.group()[:-1]}")
    if is_url(address):
        value = _address(value, CAMERA_SCHEMES, "the address of a camera")
        if scheme_of(address) != "file":
            return value
        address = unquote(urlsplit(address).path)
    if address.startswith("-") or "\0" in address:  # nothing may take it for an option
        raise ValueError("a path does not begin with -: write ./-...")
    return SecretStr(in_folder(address, info) if address else "")


def _webhook_address(value: SecretStr) -> SecretStr:
    value = _address(value, WEBHOOK_SCHEMES, "the address of a webhook")
    try:
        parts = urlsplit(value.get_secret_value())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the address of a webhook has no valid host and port") from None
    if value.get_secret_value() and not host:
        raise ValueError("the address of a webhook has no host")
    if "@" in parts.netloc:
        raise ValueError("a webhook takes no user name and password in its address: put them into `headers`")
    return value


def _apprise_address(value: SecretStr) -> SecretStr:
    if value.get_secret_value() and not is_url(value.get_secret_value()):
        raise ValueError("an address of Apprise begins with the name of a service, such as tgram:// or mailto://")
    return value


def _database_address(value: SecretStr) -> SecretStr:
    found = re.match(r"(\w+)(?:\+\w+)?://", value.get_secret_value())
    if found is None or found.group(1) not in DATABASE_SCHEMES:
        raise ValueError(f"a database is {' or '.join(f'{s}://...' for s in DATABASE_SCHEMES)}")
    return value


def _clock(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", text):
        raise ValueError(f"a time of day is HH:MM from 00:00 to 24:00, got {shown(text)}")
    return text


def _polygon(points: list[list[float]]) -> list[list[float]]:
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise ValueError("a polygon has three points or more, each [x, y]")
    if any(not 0 <= side <= 1 for point in points for side in point):
        raise ValueError("a polygon's points are fractions of the picture: 0 to 1, x to the right, y down")
    return points


def _zone_of_time(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{shown(name)} is no time zone, such as Europe/Berlin") from None
    return name


Name = Annotated[str, AfterValidator(_name)]
Clock = Annotated[str, AfterValidator(_clock)]
Polygon = Annotated[list[list[float]], AfterValidator(_polygon)]


class Hours(Section):
    """Some hours of some days, in the site's time zone. Over midnight when `to` is not after `from`: then they belong
    to the day that they begin on.
    """

    days: list[Literal[DAYS]] = Field(default=list(DAYS), min_length=1)  # type: ignore[valid-type]
    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")

    def hold(self, local: datetime) -> bool:
        """Whether a moment of the site's time is among them."""
        now, start, end = local.hour * 60 + local.minute, _minutes(self.start), _minutes(self.end)
        today, yesterday = DAYS[local.weekday()] in self.days, DAYS[local.weekday() - 1] in self.days
        if start < end:
            return today and start <= now < end
        return (today and now >= start) or (yesterday and now < end)


def _minutes(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)


class Zone(Section):
    """Where to look. A camera with zones reports only what touches one."""

    name: Name
    polygon: Polygon


class Learn(Section):
    """How a camera without a detector learns its own. options: of the backbone, such as frames and runtime. pictures:
    keep small ones of usual moments.
    """

    seconds: float = Field(default=86400.0, gt=0)
    backbone: str = "motion"
    options: dict[str, Any] = {}
    scorer: str = "auto"
    budget: str = "2/day"
    pictures: bool = True


class Camera(Section):
    """One view. url: an address, a device such as /dev/video0, or a file or folder that is replayed. detector: a folder
    made by `oddwatch learn`; without one it learns its own. stall_seconds: without a picture, until it connects again.
    replay_fps: of a folder of numbered pictures. schedule: when it is watched, always without. alerts: names of sinks,
    all of them without.
    """

    name: Name
    url: Annotated[Secret, AfterValidator(_camera_address)]
    detector: Annotated[str, AfterValidator(in_folder)] | None = None
    learn: Learn | None = None
    fps: float = Field(default=10.0, gt=0, le=120)
    resolution: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    stall_seconds: float = Field(default=5.0, gt=0, le=60)
    replay: Literal["real-time", "fast"] = "real-time"
    replay_fps: float | None = Field(default=None, gt=0, le=240)
    zones: list[Zone] = []
    masks: list[Polygon] = []
    schedule: list[Hours] = []
    alerts: list[str] | None = None

    @model_validator(mode="after")
    def _one_detector(self) -> Camera:
        if self.detector is not None and self.learn is not None:
            raise ValueError("give detector or learn, not both")
        if self.resolution is not None and not all(16 <= side <= 8192 for side in self.resolution):
            raise ValueError(f"resolution is [width, height] from 16 to 8192, got {self.resolution}")
        return self

    @property
    def learning(self) -> Learn | None:
        """How it learns its own detector; None when it has one."""
        return None if self.detector is not None else self.learn or Learn()


class Limit(Section):
    """No more alerts than so many in so many minutes; what is above comes as one digest."""

    alerts: int = Field(default=5, ge=1)
    minutes: float = Field(default=10.0, gt=0)


class Sink(Section):
    """Where alerts go. quiet_hours, limit: instead of those of all sinks. tell_health: also that a camera is blind."""

    name: Name
    quiet_hours: list[Hours] | None = None
    limit: Limit | None = None
    tell_health: bool = True


class WebhookSink(Sink):
    """A signed POST of JSON. private_addresses: allow hosts of one's own network."""

    kind: Literal["webhook"] = "webhook"
    url: Annotated[Secret, AfterValidator(_webhook_address)]
    secret: Secret | None = None
    headers: dict[str, Secret] = {}
    thumbnail: bool = True
    private_addresses: bool = False
    timeout_seconds: float = Field(default=5.0, gt=0, le=60)

    @model_validator(mode="after")
    def _public(self) -> WebhookSink:
        host = urlsplit(self.url.get_secret_value()).hostname
        if host and not self.private_addresses:
            try:
                private = is_private(host)
            except ValueError:  # a name: it is looked up whenever something is sent
                private = host in _LOCAL_NAMES or host.endswith(".localhost")
            if private:
                raise ValueError(f"{host} is a private address: allow it with private_addresses: true")
        return self


class MqttSink(Sink):
    """A broker, with discovery for Home Assistant. topic: what all topics begin with."""

    kind: Literal["mqtt"] = "mqtt"
    host: str
    port: int = Field(default=1883, ge=1, le=65535)
    user: str | None = None
    password: Secret | None = None
    tls: bool = False
    topic: str = Field(default="oddwatch", pattern=r"^[^/#+\x00]+(/[^/#+\x00]+)*$")
    discovery: str | None = Field(default="homeassistant", pattern=r"^[^/#+\x00]+(/[^/#+\x00]+)*$")
    timeout_seconds: float = Field(default=5.0, gt=0, le=60)


class AppriseSink(Sink):
    """Any service that Apprise knows, by its address there."""

    kind: Literal["apprise"] = "apprise"
    url: Annotated[Secret, AfterValidator(_apprise_address)]
    thumbnail: bool = True


class Alerts(Section):
    """Who is told. quiet_hours: nothing is sent then; afterwards comes one digest."""

    quiet_hours: list[Hours] = []
    limit: Limit = Limit()
    give_up_hours: float = Field(default=72.0, gt=0)
    sinks: list[Annotated[WebhookSink | MqttSink | AppriseSink, Field(discriminator="kind")]] = []


class Storage(Section):
    """What is kept and where. database: sqlite in the folder without. keep_days: of evidence that nobody labelled.
    keep_gb, keep_free_gb: 1e9 bytes of all evidence at most, and that stay free on the disk.
    """

    folder: Annotated[str, AfterValidator(in_folder)] = Field(default="store", validate_default=True)
    database: Annotated[NeededSecret, AfterValidator(_database_address)] | None = None
    keep_days: float = Field(default=30.0, gt=0)
    keep_gb: float = Field(default=20.0, gt=0)
    keep_free_gb: float = Field(default=1.0, ge=0)
    pre_roll_seconds: float = Field(default=5.0, ge=0, le=60)
    post_roll_seconds: float = Field(default=5.0, ge=0, le=60)


class Metrics(Section):
    """Where `oddwatch watch` answers `/metrics` (Prometheus), `/healthz` and `/readyz`. There is no password: let only
    those reach it who may know what cameras there are.
    """

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)


class Site(Section):
    """A whole file. timezone: of all times of day, that of the machine without. metrics: nothing listens without.
    processes: that score, on one machine; without, one for each core, or none beside the main one for one or two
    cameras at the start.
    """

    name: Name = "site"
    timezone: Annotated[str, AfterValidator(_zone_of_time)] | None = None
    cameras: list[Camera] = Field(min_length=1)
    alerts: Alerts = Alerts()
    storage: Storage = Field(default_factory=dict, validate_default=True)  # so that its folder begins where the file is
    metrics: Metrics | None = None
    processes: int | None = Field(default=None, ge=0, le=256)

    @model_validator(mode="after")
    def _names(self) -> Site:
        sinks = [sink.name for sink in self.alerts.sinks]
        for place, named in ((("cameras",), self.cameras), (("alerts", "sinks"), self.alerts.sinks)):
            seen: set[str] = set()
            for index, one in enumerate(named):
                if one.name in seen:
                    raise wrong_at((*place, index, "name"), f"{one.name!r} is taken: give each a name of its own")
                seen.add(one.name)
        for index, camera in enumerate(self.cameras):
            for number, name in enumerate(camera.alerts or ()):
                if name not in sinks:
                    close = difflib.get_close_matches(name, sinks, n=1)
                    hint = f", did you mean {close[0]!r}?" if close else ""
                    allowed = f"it must be {', '.join(sinks)}" if sinks else "alerts.sinks is empty"
                    raise wrong_at(("cameras", index, "alerts", number), f"{shown(name)} is no sink{hint}: {allowed}")
        return self

    @property
    def zone(self) -> tzinfo | None:
        """The time zone of times of day; None: that of the machine, as `datetime.astimezone` takes it."""
        return None if self.timezone is None else ZoneInfo(self.timezone)

    def sinks_of(self, camera: str) -> Iterator[str]:
        """Names of the sinks that are told of a camera. Raises KeyError for an unknown camera."""
        found = {one.name: one for one in self.cameras}[camera]
        for sink in self.alerts.sinks:
            if found.alerts is None or sink.name in found.alerts:
                yield sink.name


def check_site(
    path: Path, *, environment: Mapping[str, str] | None = None, secrets: bool = True
) -> tuple[Site | None, list[Problem]]:
    """The site, or all that is wrong with its file. Raises UsageError when it cannot be read."""
    around = Surroundings(path.parent, os.environ if environment is None else environment, secrets)
    return read_model(path, Site, around)


def hidden(site: Site) -> list[str]:
    """What must not show: all of its secrets, but not the paths of what is replayed, which errors have to name."""
    paths = {url for camera in site.cameras if not may_hide(url := camera.url.get_secret_value())}
    return [secret for secret in secrets_of(site) if secret not in paths]


def read_site(path: Path, *, environment: Mapping[str, str] | None = None, secrets: bool = True) -> Site:
    """The site of a file. environment: for `${NAME}`, else that of the process. secrets: False leaves what is not there
    empty, except for the database: for commands that only look. Raises UsageError with the line, what arrived and what
    is allowed.
    """
    site, problems = check_site(path, environment=environment, secrets=secrets)
    raise_first(path, problems)
    assert site is not None
    return site


def site_schema() -> str:
    """The JSON schema of a site file, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Site.model_json_schema()}
    return json.dumps(schema, indent=2)
