"""The file of a site: what is wrong is said with its line, and what is secret in it never shows."""

from __future__ import annotations

import json
import logging
import os
import random
import re
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from command_line import Runner
from jsonschema import Draft202012Validator

from oddwatch.addresses import Redactor, display_name, host_only, is_private
from oddwatch.config.secret import secrets_of
from oddwatch.config.site import Camera, Hours, Site, WebhookSink, check_site, hidden, read_site, site_schema
from oddwatch.errors import UsageError

WATCH = Path(__file__).resolve().parent.parent / "docs" / "watch.md"
GOOD = """\
name: home
timezone: Europe/Berlin
cameras:
  - name: front-door
    url: rtsp://me:${CAMERA}@10.0.0.7:554/live
    fps: 10
    resolution: [640, 360]
    zones: [{name: door, polygon: [[0, 0], [1, 0], [1, 1]]}]
    masks: [[[0, 0], [0.2, 0], [0.2, 0.2]]]
    schedule: [{days: [mon, tue], from: 22:00, to: 07:00}]
    alerts: [hook]
  - {name: yard, url: /dev/video0, detector: detectors/yard}
alerts:
  quiet_hours: [{from: 23:00, to: 06:30}]
  limit: {alerts: 3, minutes: 5}
  sinks:
    - {name: hook, kind: webhook, url: "https://hooks.example/x/${TOKEN}", secret: {file: key.txt}}
    - {name: phone, kind: apprise, url: "tgram://123:${TOKEN}/42"}
    - {name: house, kind: mqtt, host: broker.local, user: me, password: "${CAMERA}"}
storage: {folder: kept, database: "postgresql://me:${CAMERA}@db/oddwatch", keep_days: 14}
"""
ENVIRONMENT = {"CAMERA": "p@s:s%w/rd", "TOKEN": "t0ken+slash/"}


def write(folder: Path, text: str = GOOD) -> Path:
    (folder / "key.txt").write_text("signing-key\n")
    path = folder / "site.yaml"
    path.write_text(text)
    return path


def test_a_site_is_read(tmp_path: Path) -> None:
    site = read_site(write(tmp_path), environment=ENVIRONMENT)
    front, yard = site.cameras
    assert front.url.get_secret_value() == "rtsp://me:p%40s%3As%25w%2Frd@10.0.0.7:554/live"
    assert urlsplit(front.url.get_secret_value()).hostname == "10.0.0.7"
    assert (yard.detector, yard.learning, yard.url.get_secret_value()) == (
        str(tmp_path / "detectors/yard"),
        None,
        "/dev/video0",
    )
    assert front.learning is not None
    assert (front.learning.backbone, front.learning.seconds) == ("motion", 86400)
    hook = site.alerts.sinks[0]
    assert isinstance(hook, WebhookSink)
    assert hook.secret is not None
    assert hook.secret.get_secret_value() == "signing-key"
    assert (list(site.sinks_of("front-door")), list(site.sinks_of("yard"))) == (["hook"], ["hook", "phone", "house"])
    assert (site.storage.keep_days, str(site.zone)) == (14, "Europe/Berlin")


@pytest.mark.parametrize(
    ("url", "found"),
    [("videos/a.mp4", "FOLDER/videos/a.mp4"), ("file:///v%20x/a.mp4", "/v x/a.mp4"), ("/v/a.mp4", "/v/a.mp4")],
)
def test_paths_start_in_the_folder_of_the_file(url: str, found: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"cameras: [{{name: a, url: {url}}}]\n")
    site = read_site(path)
    assert site.cameras[0].url.get_secret_value() == found.replace("FOLDER", str(tmp_path))
    assert site.storage.folder == str(tmp_path / "store")


def test_a_secret_never_shows(tmp_path: Path) -> None:
    site = read_site(write(tmp_path), environment=ENVIRONMENT)
    shown = f"{site!r} {site} {site.model_dump()} {site.model_dump_json()}"
    for secret in (*ENVIRONMENT.values(), "signing-key", "p%40s", "t0ken"):
        assert secret not in shown
    assert {"signing-key", "p@s:s%w/rd"} <= set(secrets_of(site))
    assert set(secrets_of(site)) - set(hidden(site)) == {"/dev/video0"}  # errors have to name it
    lost_its_beginning = GOOD.replace("/dev/video0", '"10.0.0.8/live?user=me&password=hunter22"')
    site = read_site(write(tmp_path, lost_its_beginning), environment=ENVIRONMENT)
    assert set(hidden(site)) == set(secrets_of(site))


def test_a_command_that_looks_needs_the_secrets_of_the_database_alone(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("${CAMERA}@db", "${DB}@db"))
    with pytest.raises(UsageError, match=r"line 5: cameras\[0\].url: the environment has no CAMERA"):
        read_site(path, environment={})
    with pytest.raises(UsageError, match=r"storage.database: the environment has no DB"):
        read_site(path, environment={}, secrets=False)
    assert read_site(path, environment={"DB": "x"}, secrets=False).cameras[0].url.get_secret_value() == ""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("fps: 10", "fsp: 10", "line 6: unknown key 'cameras[0].fsp', did you mean 'fps'?: cameras[0] has name, url,"),
        ("fps: 10", "fps: fast", "line 6: cameras[0].fps is 'fast': it must be a number"),
        ("fps: 10", "fps: 0", "line 6: cameras[0].fps is 0: it must be greater than 0"),
        ("fps: 10", "fps: true", "line 6: cameras[0].fps is true: it must be a number"),
        ("[640, 360]", "[640]", "line 7: cameras[0].resolution is a list of 1"),
        ("rtsp://", "gopher://", "line 5: cameras[0].url: the address of a camera begins with rtsp://, rtsps://, http"),
        ("/dev/video0", "-i", "line 12: cameras[1].url: a path does not begin with -"),
        ("[1, 1]]}", "[1, 2]]}", "line 8: cameras[0].zones[0].polygon: a polygon's points are fractions"),
        ("[1, 0], [1, 1]", "[1, 0]", "a polygon has three points or more"),
        ("mon", "mno", "schedule[0].days[0] is 'mno', did you mean 'mon'?: it must be 'mon', 'tue'"),
        ("22:00", "25:00", "line 10: cameras[0].schedule[0].from: a time of day is HH:MM"),
        ("[hook]", "[hok]", "line 11: cameras[0].alerts[0]: 'hok' is no sink, did you mean 'hook'?: it must be hook,"),
        ("name: yard", "name: front-door", "line 12: cameras[1].name: 'front-door' is taken"),
        ("name: yard", "name: ../yard", "line 12: cameras[1].name: a name has small letters, digits, - and _"),
        (
            "kind: webhook",
            "kind: webhok",
            "line 17: alerts.sinks[0].kind is 'webhok', did you mean 'webhook'?: it",
        ),
        ("kind: webhook, ", "", "line 17: alerts.sinks[0].kind is missing"),
        ("host: broker.local, ", "", "line 19: alerts.sinks[2].host is missing"),
        ("https://hooks.example", "ftp://hooks.example", "begins with http://, https://, got ftp://..."),
        ("https://hooks.example", "https://me:pw@hooks.example", "put them into `headers`"),
        ("https://hooks.example", "https://[::1]", "line 17: alerts.sinks[0]: ::1 is a private address: allow it with"),
        ("https://hooks.example", "http://localhost:80", "localhost is a private address"),
        ("key.txt", "none.txt", "none.txt cannot be read: No such file or directory"),
        ("{file: key.txt}", "12345", "alerts.sinks[0].secret: it must be text (in quotes if it is a number)"),
        ("Europe/Berlin", "Berlin/Europe", "line 2: timezone: 'Berlin...' is no time zone"),
        ("rtsp://me", "rtps:/me", "line 5: cameras[0].url: the address of a camera has // after rtps:"),
        ("/dev/video0", '" http://10.0.0.8/x"', "the address of a camera begins or ends with a space"),
        ("rtsp://me", "rtsp:/me", "line 5: cameras[0].url: the address of a camera has // after rtsp:"),
        ("postgresql://", "mysql://", "line 20: storage.database: a database is sqlite://... or postgresql://..."),
        ("detector: detectors/yard", "detector: a, learn: {}", "line 12: cameras[1]: give detector or learn, not both"),
        ("cameras:", "cameras: rtsp://a:hidden@b\nx:", "line 3: cameras is text: it must be a list"),
        (
            "  sinks:\n",
            "  sinks:\n    - tgram://1:hidden/2\n",
            "line 17: alerts.sinks[0] is text: it must be a section",
        ),
        ("name: home", "name: home\nname: two", "line 2: this is no YAML: 'name' is here twice, first in line 1"),
        ("alerts: [hook]", "alerts: [hook", "line 12: this is no YAML"),
        (GOOD, "- hidden", "the file holds no keys: it has name, timezone, cameras, alerts, storage"),
        (GOOD, "cameras: []", "line 1: cameras is a list"),
    ],
)
def test_a_wrong_file(old: str, new: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UsageError) as raised:
        read_site(path, environment=ENVIRONMENT)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    for secret in ("hidden", "p@s", "p%40s", "t0ken", "signing"):
        assert secret not in str(raised.value)
    assert raised.value.__cause__ is None  # pydantic's own error holds what arrived


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("fps: 10", "fps: fast").replace("keep_days", "keep_dayz")
    site, problems = check_site(write(tmp_path, text), environment=ENVIRONMENT)
    assert site is None
    assert [problem.line for problem in problems] == [6, 20]
    with pytest.raises(UsageError, match="and 1 more: oddwatch config check"):
        read_site(tmp_path / "site.yaml", environment=ENVIRONMENT)


def test_the_schema_agrees_with_the_models(tmp_path: Path) -> None:
    schema = json.loads(site_schema())
    Draft202012Validator.check_schema(schema)
    valid = Draft202012Validator(schema)
    import yaml

    good = yaml.safe_load(GOOD.replace("22:00", "'22:00'").replace("23:00", "'23:00'"))
    assert [error.message for error in valid.iter_errors(good)] == []
    good["cameras"][0]["fsp"] = 1
    assert not valid.is_valid(good)


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [
        ("08:00", "18:00", ["2026-11-23T08:00", "2026-11-23T17:59"], ["2026-11-23T18:00", "2026-11-24T09:00"]),
        ("22:00", "07:00", ["2026-11-23T22:00", "2026-11-24T06:59"], ["2026-11-24T07:00", "2026-11-23T06:00"]),
        ("00:00", "24:00", ["2026-11-23T00:00", "2026-11-23T23:59"], ["2026-11-24T00:00"]),
    ],
)
def test_hours_belong_to_the_day_they_begin_on(start: str, end: str, inside: list[str], outside: list[str]) -> None:
    hours = Hours.model_validate({"days": ["mon"], "from": start, "to": end})
    assert all(hours.hold(datetime.fromisoformat(one)) for one in inside)
    assert not any(hours.hold(datetime.fromisoformat(one)) for one in outside)


def test_no_damage_to_a_file_shows_a_secret_or_breaks_the_reader(tmp_path: Path) -> None:
    draw = random.Random(5)
    text = GOOD.replace("${CAMERA}@10", "hidden@10").replace("tgram://123:${TOKEN}", "tgram://123:hidden")
    text = text.replace('password: "${CAMERA}"', "password: hidden")
    said = []
    for _ in range(60):
        start = draw.randrange(len(text))
        put = draw.choice(["", "x", ":", "\n", "[", "{", "\t", "'", "- "])
        damaged = text[:start] + put + text[start + draw.randint(0, 9) :]
        try:
            read_site(write(tmp_path, damaged), environment=ENVIRONMENT)
        except UsageError as error:
            said.append(str(error))
    assert len(said) > 30
    assert [one for one in said if "hidden" in one] == []


@pytest.mark.parametrize("seed", range(3))
def test_a_password_shows_nowhere(seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Passwords of `@ : % /` and others, as they are and percent-encoded, in messages as libraries write them."""
    draw = random.Random(seed)
    log = logging.getLogger("oddwatch.fuzz")
    for _ in range(60):
        password = "Zq" + "".join(draw.choices("@:%/?#&=+ $^ab1", k=draw.randint(4, 12))) + "Zq"
        site = Site.model_validate(
            {"cameras": [{"name": "a", "url": "rtsp://me:${P}@10.0.0.7:554/live"}]}, context=_with(tmp_path, password)
        )
        url = site.cameras[0].url.get_secret_value()
        raw = f"rtsp://me:{password}@10.0.0.7:554/live"
        assert urlsplit(url).hostname == "10.0.0.7"
        assert password not in repr(site)
        for address in (url, raw):
            assert display_name(address) == "rtsp://10.0.0.7:554/live"
            assert host_only(address.replace("rtsp", "https")).rpartition("@")[0] == ""
        clean = Redactor([*secrets_of(site), raw, password])
        for address in (url, raw):
            said = clean(f"[rtsp] could not open {address}: 401 for me:{password} ({password!r})")
            assert "Zq" not in said, (password, said)
            assert "could not open" in said
        caplog.clear()
        handler = logging.StreamHandler(stream := _Stream())
        handler.addFilter(clean)
        log.addHandler(handler)
        try:
            raise OSError(f"cannot open {raw}")
        except OSError:
            log.warning("failed: %s", url, exc_info=True)
        finally:
            log.removeHandler(handler)
        assert "Zq" not in stream.text
        assert "OSError" in stream.text


def _with(folder: Path, password: str) -> object:
    from oddwatch.config.secret import Surroundings

    return Surroundings(folder, {"P": password})


class _Stream:
    text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    "host",
    ["10.1.2.3", "127.0.0.9", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0", "fd00::1",
     "::ffff:192.168.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"],
)  # fmt: skip
def test_private_addresses(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["9.9.9.9", "2620:fe::9", "64:ff9b::909:909"])
def test_public_addresses(host: str) -> None:
    assert not is_private(host)


def test_the_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oddwatch = Runner(capsys)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    path = write(tmp_path)
    ran = oddwatch("config", "check", path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{path}: 2 cameras, 3 sinks.\n"
    assert json.loads(oddwatch("config", "check", path, "--json").out) == {"cameras": 2, "sinks": 3, "problems": []}
    write(tmp_path, GOOD.replace("fps: 10", "fps: fast").replace("keep_days", "keep_dayz"))
    ran = oddwatch("config", "check", path)
    assert ran.code == 2
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == ["line 6", "line 20"]
    problems = json.loads(oddwatch("config", "check", path, "--json").out)["problems"]
    assert [one["line"] for one in problems] == [6, 20]
    assert json.loads(oddwatch("config", "schema").out)["title"] == "Site"


def test_the_site_of_the_documents_is_sound(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    blocks = re.findall(r"```yaml\n(.*?)```", WATCH.read_text(encoding="utf-8"), re.DOTALL)
    whole = [text for text in blocks if "cameras:" in text]
    assert whole
    for text in whole:
        site = read_site(
            write(tmp_path, text.replace("/etc/oddwatch/webhook-key", "key")),
            environment=dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "x"),
        )
        assert site.cameras


def test_the_environment_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CAMERA" not in os.environ
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert isinstance(read_site(write(tmp_path)).cameras[0], Camera)
