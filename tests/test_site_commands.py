"""The commands of a site: what a person sees of cameras, events, coverage and alerts without a dashboard."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import Runner
from receivers import receiver

from oddwatch.cli.opening import build_routes, parse_time
from oddwatch.config.site import read_site
from oddwatch.errors import UsageError
from oddwatch.store import Store
from oddwatch.store.records import Detector, NewEvent

SITE = """\
name: home
timezone: Europe/Berlin
cameras:
  - {name: yard, url: "rtsp://me:${CAMERA}@10.0.0.7/live"}
  - {name: door, url: /dev/video0, alerts: []}
alerts:
  quiet_hours: [{from: 23:00, to: 06:00}]
  sinks:
    - {name: hook, kind: webhook, url: "URL", secret: "${SECRET}", private_addresses: true, limit: {alerts: 2}}
    - {name: phone, kind: apprise, url: "PHONE", quiet_hours: []}
storage: {folder: kept}
"""


SIMILAR = (
    {"source": "session 1", "seconds": 7.5, "at": "2026-11-01T11:00:00+00:00", "distance": 0.5, "thumbnail": "usual-1"},
    {"source": "usual.mp4", "seconds": 75.0, "at": None, "distance": 0.6, "thumbnail": None},
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site whose store holds three events of the last day, the second with evidence, and a gap of ten minutes."""
    path, now = tmp_path / "site.yaml", datetime.now(UTC).replace(microsecond=0)
    path.write_text(SITE.replace("URL", "https://hook.example/").replace("PHONE", "json://127.0.0.1:9/x"))
    with Store(tmp_path / "kept") as store, store.lock("camera:yard", at=now) as lock:
        for hours in (5, 3, 1):
            start = now - timedelta(hours=hours)
            event = NewEvent("yard", start, start + timedelta(seconds=4), start, 4.0 + hours, 0.004, place="left")
            kept = []
            if hours == 3:
                event = replace(
                    event, similar=SIMILAR, why={"attribute": "speed", "level": 2.04, "says": "2.4x as fast"}
                )
                kept = [store.evidence.write("yard", event.uid, "thumbnail", ".jpg", b"jpeg")]
                kept += [store.evidence.write("yard", event.uid, "usual-1", ".jpg", b"usual")]
            store.events.record(event, guard=lock, alert=["hook"], at=start, evidence=kept)
        store.alerts.died(1, error="410 Gone")
        store.coverage.note("yard", now - timedelta(hours=12), now - timedelta(hours=2), guard=lock)
        gap = (now - timedelta(hours=2), now - timedelta(hours=1, minutes=50))
        store.coverage.note("yard", *gap, guard=lock, observed=False, reason="offline")
        store.coverage.note("yard", gap[1], now, guard=lock)
        store.events.find_blind("yard", "dark", guard=lock, start=now, alert=[], detail={})
        store.events.add_detector(Detector("yard", "v1-abc", "detectors/yard", now, 2.0))
    return path


def test_events_are_listed_shown_and_labelled(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oddwatch = Runner(capsys)
    listed = json.loads(oddwatch("events", "list", site, "--json").out)["events"]
    assert [(one["id"], one["camera"], one["score"], one["label"]) for one in listed] == [
        (3, "yard", 5.0, None),
        (2, "yard", 7.0, None),
        (1, "yard", 9.0, None),
    ]
    listed_text = oddwatch("events", "list", site).out
    assert "3 events" in listed_text
    assert listed_text.count("2.4x as fast") == 1
    assert len(json.loads(oddwatch("events", "list", site, "--since", "4h", "--json").out)["events"]) == 2
    assert oddwatch("events", "list", site, "--label", "usual").out == "No events.\n"
    assert oddwatch("events", "label", site, 2, "usual", "--note", "the postman").out == "Event 2 is labelled usual.\n"
    shown = oddwatch("events", "show", site, 2).out
    assert "usual: the postman" in shown
    assert "0.004" in shown
    assert "  unusual    2.4x as fast (speed, 2.0x its alarm level)\n" in shown
    picture = next((site.parent / "kept").rglob("usual-1.jpg"))
    assert f"  alike      2026-11-01 12:00:00 in session 1, which was usual: {picture}\n" in shown
    assert "  alike      1:15.0 in usual.mp4, which was usual: without a picture\n" in shown
    assert "usual-1  " not in shown
    found = json.loads(oddwatch("events", "show", site, 2, "--json").out)
    assert (found["label"], found["note"]) == ("usual", "the postman")
    assert found["similar"] == list(SIMILAR)
    assert Path(found["files"]["thumbnail"]).read_bytes() == b"jpeg"
    oddwatch("events", "label", site, 2, "none")
    assert json.loads(oddwatch("events", "list", site, "--label", "usual", "--json").out) == {"events": []}


def test_events_are_exported_with_their_evidence(
    site: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    oddwatch = Runner(capsys)
    assert oddwatch("events", "export", site, "--out", tmp_path / "out").out == (
        f"3 events with 2 files of evidence: {tmp_path / 'out'}\n"
    )
    written = json.loads((tmp_path / "out" / "events.json").read_text())
    assert written["site"] == "home"
    path, _ = [one["path"] for event in written["events"] for one in event["evidence"]]
    assert (tmp_path / "out" / path).read_bytes() == b"jpeg"
    (tmp_path / "kept" / path).unlink()
    ran = oddwatch("events", "export", site, "--out", tmp_path / "again")
    assert ran.code == 1
    assert "skipped: event 2, thumbnail:" in ran.err
    assert len(json.loads((tmp_path / "again" / "events.json").read_text())["events"]) == 3


def test_status_and_coverage(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oddwatch = Runner(capsys)
    ran = oddwatch("status", site)
    assert (ran.code, ran.err) == (0, "")
    assert "10.0.0.7" not in ran.out
    shown = json.loads(oddwatch("status", site, "--json").out)
    yard, door = shown["cameras"]
    assert (yard["camera"], yard["events_24h"], yard["blind"], yard["detector"]) == ("yard", 3, ["dark"], "v1-abc")
    assert yard["coverage_24h"] == pytest.approx(11.83 / 24, abs=0.01)
    assert (door["last_observed"], door["coverage_24h"]) == (None, 0.0)
    assert shown["alerts"] == {"hook": {"waiting": 2, "dead": 1}}
    assert shown["storage"]["evidence_bytes"] == 9
    covered = json.loads(oddwatch("coverage", site, "--since", "12h", "--camera", "yard", "--json").out)
    reasons = [gap["reason"] for gap in covered["gaps"] if gap["reason"] != "not watched"]
    assert reasons == ["offline"]
    assert sum(day["unobserved_seconds"] for day in covered["days"]) == pytest.approx(600, abs=30)
    assert "offline" in oddwatch("coverage", site).out


def test_alerts_are_listed_and_retried(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oddwatch = Runner(capsys)
    assert "410 Gone" in oddwatch("alerts", "list", site, "--state", "dead").out
    (dead,) = json.loads(oddwatch("alerts", "list", site, "--state", "dead", "--json").out)["alerts"]
    assert (dead["id"], dead["event"], dead["last_error"], dead["attempts"]) == (1, 1, "410 Gone", 1)
    ran = oddwatch("alerts", "retry", site, 2)
    assert (ran.code, ran.err.split(":")[1]) == (2, " alert 2 is not dead")
    assert oddwatch("alerts", "retry", site).out == "1 alert will be tried again.\n"
    assert json.loads(oddwatch("alerts", "retry", site, "--json").out) == {"retried": 0}
    assert oddwatch("alerts", "list", site, "--sink", "phone").out == "No alerts.\n"


def test_store_check(site: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    oddwatch = Runner(capsys)
    assert oddwatch("store", "check", site).out == "2 evidence files: 0 wrong.\n"
    file = next((tmp_path / "kept" / "evidence").rglob("thumbnail.jpg"))
    file.write_bytes(b"JPEG")
    assert oddwatch("store", "check", site).code == 0
    ran = oddwatch("store", "check", site, "--whole")
    assert ran.code == 1
    assert "not what was written" in ran.out
    assert json.loads(oddwatch("store", "check", site, "--whole", "--repair", "--json").out)["repaired"]
    assert oddwatch("store", "check", site, "--whole").out == "1 evidence files: 0 wrong.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["events", "show", "SITE", "99"], 1, "there is no event 99: oddwatch events list shows those there are"),
        (["events", "label", "SITE", "1", "odd"], 2, "a label is usual, unusual, none, got 'odd'"),
        (["events", "list", "SITE", "--camera", "cellar"], 2, "the store knows no camera 'cellar': it has yard"),
        (["events", "list", "SITE", "--since", "monday"], 2, "--since is 30m, 12h, 7d, 2026-11-23 or"),
        (["coverage", "SITE", "--since", "2999-01-01"], 2, "--since is in the future"),
        (["coverage", "SITE", "--camera", "cellar"], 2, "has no camera 'cellar': it has yard, door"),
        (["alerts", "list", "SITE", "--state", "lost"], 2, "--state is waiting, sent, dead, digested"),
        (["notify", "test", "SITE"], 2, "line 4: cameras[0].url: the environment has no CAMERA"),
    ],
)
def test_wrong_usage(
    arguments: list[str], code: int, says: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Runner(capsys)(*[site if one == "SITE" else one for one in arguments])
    assert ran.code == code
    assert says in ran.err
    assert ran.err.count("\n") == 1


def test_a_site_without_a_store_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.yaml").write_text("cameras: [{name: a, url: a.mp4}]\n")
    ran = Runner(capsys)("status", tmp_path / "site.yaml")
    assert ran.code == 1
    assert "there is no store at" in ran.err
    assert not (tmp_path / "store").exists()


def test_a_test_message_reaches_every_sink(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMERA", "x")
    monkeypatch.setenv("SECRET", "s3cret")
    oddwatch = Runner(capsys)
    with receiver() as hook, receiver() as phone:
        text = SITE.replace("URL", hook.url).replace("PHONE", f"json://127.0.0.1:{phone.port}/t0ken")
        (tmp_path / "site.yaml").write_text(text)
        ran = oddwatch("notify", "test", tmp_path / "site.yaml", "--json")
        assert ran.code == 0
        assert [one["outcome"] for one in json.loads(ran.out)["sinks"]] == ["delivered", "delivered"]
        assert hook.taken[0].json["kind"] == "test"
        assert "Oddwatch-Signature" in hook.taken[0].headers
        assert phone.taken[0].json["title"] == "home: a test of oddwatch"
        phone.status = 500
        ran = oddwatch("notify", "test", tmp_path / "site.yaml", "--sink", "phone")
        assert ran.code == 1
        assert "later" in ran.out
        assert len(hook.taken) == 1
        assert "t0ken" not in ran.out + ran.err
        unknown = oddwatch("notify", "test", tmp_path / "site.yaml", "--sink", "fon")
        assert "has no sink 'fon': it has hook, phone" in unknown.err


def test_routes_are_those_of_the_file(site: Path) -> None:
    hook, phone = build_routes(read_site(site, environment={"CAMERA": "x", "SECRET": "y"}))
    night, day = (datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in (23, 12))  # midnight and 13:00 in Berlin
    assert (hook.alerts, hook.window_seconds, hook.give_up_seconds) == (2, 600, 72 * 3600)
    assert (hook.quiet(night), hook.quiet(day), phone.quiet(night), phone.alerts) == (True, False, False, 5)


def test_times_are_those_of_the_site() -> None:
    from zoneinfo import ZoneInfo

    berlin = ZoneInfo("Europe/Berlin")
    assert parse_time("2026-07-01", berlin, "--since") == datetime(2026, 6, 30, 22, tzinfo=UTC)
    assert parse_time("2026-07-01T10:00+00:00", berlin, "--since") == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert parse_time(None, berlin, "--since") is None
    ago = parse_time("1.5h", None, "--since")
    assert ago is not None
    assert abs((datetime.now(UTC) - ago).total_seconds() - 5400) < 5
    with pytest.raises(UsageError, match="--until is 30m, 12h"):
        parse_time("yesterday", berlin, "--until")
