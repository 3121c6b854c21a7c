"""What a monitor tells becomes rows and alerts, whatever is wrong with files, clocks and locks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oddwatch.cli.cameras import OFF_SCHEDULE
from oddwatch.cli.recording import Recorder, Watched
from oddwatch.cli.watching import Watch
from oddwatch.config.site import read_site
from oddwatch.errors import LockLostError
from oddwatch.health import Finding
from oddwatch.monitor import EventRecord, FindingRecord, GapRecord, Plan, SimilarMoment
from oddwatch.store import Store
from oddwatch.video import CameraOptions, Unobserved

UID = "0" * 32
AT = 1_790_000_000.0
SIMILAR = SimilarMoment("day 1", 7.5, AT - 3600, 0.5)
WHY = {"attribute": "speed", "level": 2.0, "says": "2x the speed"}
RECORD = EventRecord("door", UID, "open", AT, AT + 1, AT + 0.5, 4.0, 3.0, 0.01, None, "left", "v1", WHY)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "kept") as made:
        yield made


@pytest.fixture
def recorder(store: Store, tmp_path: Path) -> Recorder:
    made = Recorder(store, lambda: None)
    lock = store.lock("camera:door", at=datetime.now(UTC))
    plan = Plan("door", CameraOptions(str(tmp_path / "x.mp4")), tmp_path / "detector")
    made.cameras["door"] = Watched(plan, lock, ("phone", "hook"), ("hook",), datetime.fromtimestamp(AT, UTC))
    return made


def test_an_event_is_told_once_however_often_it_is_recorded(store: Store, recorder: Recorder) -> None:
    path = recorder.sinks().evidence_path("door", UID, "thumbnail")
    path.write_bytes(b"jpeg")
    sinks = recorder.sinks()
    opened = replace(RECORD, files={"thumbnail": str(path)}, similar=(SIMILAR,))
    sinks.event(opened)
    sinks.event(opened)
    told = {"source": "day 1", "seconds": 7.5, "at": "2026-09-21T13:13:20+00:00", "distance": 0.5}
    assert [event.similar for event in store.events.find()] == [({**told, "thumbnail": None},)]
    clip = recorder.sinks().evidence_path("door", UID, "clip")
    clip.write_bytes(b"mp4")
    usual = recorder.sinks().evidence_path("door", UID, "usual-1")
    usual.write_bytes(b"jpeg")
    files = {**opened.files, "clip": str(clip), "usual-1": str(usual)}
    similar = (replace(SIMILAR, thumbnail="usual-1"), replace(SIMILAR, thumbnail="usual-2", at_wall=None))
    closed = replace(opened, state="closed", end_wall=AT + 9, files=files, problem="late", similar=similar)
    sinks.event(closed)
    sinks.event(closed)
    (event,) = store.events.find()
    assert (event.state, event.seconds) == ("closed", 9.0)
    assert [one.kind for one in event.evidence] == ["thumbnail", "clip", "usual-1"]
    without = {**told, "at": None, "thumbnail": None}  # its file is not there
    assert event.similar == ({**told, "thumbnail": "usual-1"}, without)
    assert event.why == {**WHY, "problem": "late"}
    assert sorted(alert.sink for alert in store.alerts.find()) == ["hook", "phone"]


def test_an_event_whose_evidence_is_gone_is_told(store: Store, recorder: Recorder) -> None:
    recorder.sinks().event(
        replace(RECORD, files={"thumbnail": str(recorder.sinks().evidence_path("door", UID, "thumbnail"))})
    )
    assert [event.evidence for event in store.events.find()] == [()]
    assert len(store.alerts.find()) == 2


def test_a_folder_that_cannot_be_made_is_what_a_monitor_expects(store: Store, recorder: Recorder) -> None:
    (store.folder / "evidence").write_text("in the way")
    with pytest.raises(OSError, match="cannot be made"):
        recorder.sinks().evidence_path("door", UID, "clip")


def test_blindness_is_told_to_those_who_want_it(store: Store, recorder: Recorder) -> None:
    sinks = recorder.sinks()
    dark = Finding("dark", True, 0.0, 5.0, "it is dark")
    sinks.finding(FindingRecord("door", UID, dark, AT, AT + 5))
    assert [found.kind for found in store.events.findings(lasting=True)] == ["dark"]
    sinks.finding(FindingRecord("door", UID, replace(dark, raised=False), AT, AT + 60))
    assert store.events.findings(lasting=True) == []
    assert [alert.sink for alert in store.alerts.find()] == ["hook"]


def test_what_was_seen_and_what_not(store: Store, recorder: Recorder) -> None:
    sinks = recorder.sinks()
    recorder.observed("door", AT + 100)
    sinks.gap(GapRecord("door", Unobserved(AT + 20, AT + 50, 30.0, "no answer in time")))
    sinks.gap(GapRecord("door", Unobserved(AT + 90, AT + 10, 5.0, "the clock was set back")))
    recorder.observed("door", AT + 200)
    start = datetime.fromtimestamp(AT, UTC)
    (gap,) = store.coverage.gaps("door", start, start + timedelta(seconds=200))
    assert ((gap.end - gap.start).total_seconds(), gap.reason) == (30.0, "no answer in time")


def test_a_camera_that_another_process_took_over_is_not_written(store: Store, recorder: Recorder) -> None:
    recorder.cameras["door"].lock.release()
    with store.lock("camera:door", at=datetime.now(UTC)):
        recorder.sinks().event(RECORD)
    assert isinstance(recorder.lost, LockLostError)
    assert store.events.find() == []


def test_a_camera_off_its_schedule_is_left_alone(tmp_path: Path) -> None:
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    today = datetime.now(UTC).weekday()
    day = days[(today + 3) % 7]
    site = tmp_path / "site.yaml"
    site.write_text(
        f"timezone: UTC\nstorage: {{keep_free_gb: 0}}\ncameras:\n  - name: door\n    url: none.mp4\n"
        f"    schedule: [{{days: [{day}], from: '10:00', to: '12:00'}}]\n"
    )
    began = datetime.now(UTC)
    with Watch(read_site(site)) as watch:
        watch.check()
        assert watch.cameras.off == {"door"}
        assert watch.cameras.statistics() == []
        assert not watch.cameras.is_over
        time.sleep(0.05)
    with Store(tmp_path / "store", create=False) as store:
        gaps = store.coverage.gaps("door", began, datetime.now(UTC))
    assert OFF_SCHEDULE in [gap.reason for gap in gaps]
