"""The store: all or nothing, one writer per camera, rows and files in agreement, and a disk that does not fill."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from command_line import SOURCE
from small_disk import no_file_above

from oddwatch.errors import LockedError, LockLostError, MissingExtraError, StoreError, UsageError
from oddwatch.store import Store
from oddwatch.store import database as database_module
from oddwatch.store.locks import Lock
from oddwatch.store.records import Detector, Evidence, Gap, NewEvent

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "kept") as made:
        yield made


@pytest.fixture
def lock(store: Store) -> Iterator[Lock]:
    with store.lock("camera:yard", at=NOON) as made:
        yield made


def event(seconds: float = 0.0, camera: str = "yard") -> NewEvent:
    start = later(seconds)
    box = (0.1, 0.2, 0.3, 0.4)
    return NewEvent(camera, start, start + timedelta(seconds=3), start, 4.5, 0.001, box, "left", {"speed": 2})


def with_file(store: Store, lock: Lock, seconds: float = 0.0, size: int = 10) -> tuple[int, Evidence]:
    new = event(seconds)
    kept = store.evidence.write("yard", new.uid, "thumbnail", ".jpg", b"x" * size)
    return store.events.record(new, guard=lock, alert=["hook"], at=new.start, evidence=[kept]), kept


def test_an_event_its_evidence_and_its_alerts_come_back(store: Store, lock: Lock) -> None:
    new = event()
    kept = store.evidence.write("yard", new.uid, "thumbnail", ".jpg", b"jpeg")
    number = store.events.record(new, guard=lock, alert=["hook", "phone"], at=later(1), evidence=[kept])
    store.events.update(number, guard=lock, end=later(9), peak=later(5), score=6.0, why={"size": 3}, closed=True)
    found = store.events.get(number)
    assert (found.camera, found.start, found.end, found.peak) == ("yard", NOON, later(9), later(5))
    assert (found.score, found.p_value, found.box, found.place) == (6.0, 0.001, (0.1, 0.2, 0.3, 0.4), "left")
    assert (found.why, found.state, found.label, found.evidence) == ({"size": 3}, "closed", None, (kept,))
    assert found.start.tzinfo is UTC
    assert store.evidence.read(found.evidence[0]) == b"jpeg"
    alerts = store.alerts.find()
    assert {(alert.sink, alert.key, alert.state, alert.event_id) for alert in alerts} == {
        ("hook", f"{new.uid}.hook", "waiting", number),
        ("phone", f"{new.uid}.phone", "waiting", number),
    }


def test_an_event_is_recorded_once_however_often_it_is_tried(store: Store, lock: Lock) -> None:
    new = event()
    first = store.events.record(new, guard=lock, alert=["hook"], at=NOON)
    assert store.events.record(new, guard=lock, alert=["hook"], at=NOON) == first
    assert len(store.events.find()) == len(store.alerts.find()) == 1


def test_an_event_without_its_alert_is_not_there(store: Store, lock: Lock) -> None:
    twice = ["hook", "hook"]  # the key of the second is taken: the transaction fails after the event's row
    with pytest.raises(Exception, match="UNIQUE"):
        store.events.record(event(), guard=lock, alert=twice, at=NOON)
    assert store.events.find() == []
    assert store.alerts.find() == []


def test_a_time_without_a_zone_is_refused(store: Store, lock: Lock) -> None:
    with pytest.raises(ValueError, match="start must be an aware time"):
        NewEvent("yard", datetime(2026, 1, 1), NOON, NOON, 1.0)
    with pytest.raises(Exception, match="times of the store are aware"):
        store.events.record(event(), guard=lock, alert=["hook"], at=datetime(2026, 1, 1))
    berlin = timezone(timedelta(hours=1))
    new = NewEvent("yard", NOON.astimezone(berlin), later(1), NOON, 1.0)
    number = store.events.record(new, guard=lock, alert=[], at=NOON)
    assert store.events.get(number).start == NOON


def test_events_are_found_and_labelled(store: Store, lock: Lock) -> None:
    first, second, third = (store.events.record(event(s), guard=lock, alert=[], at=NOON) for s in (0, 100, 200))
    store.events.label(first, "usual", at=later(300), note="the postman")
    ids = [found.id for found in store.events.find()]
    assert ids == [third, second, first]
    assert [found.id for found in store.events.find(since=later(102), until=later(200))] == [second]
    assert [found.id for found in store.events.find(label="usual")] == [first]
    assert [found.id for found in store.events.find(label="none", most=1)] == [third]
    assert store.events.find(cameras=["door"]) == []
    assert store.events.get(first).note == "the postman"
    assert store.events.count(since=later(50)) == {"yard": 2}
    assert store.events.label(first, None, at=later(400)).label is None
    with pytest.raises(UsageError, match="a label is usual or unusual"):
        store.events.label(first, "odd", at=NOON)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="there is no event 99: oddwatch events list"):
        store.events.get(99)


def test_findings_and_detectors(store: Store, lock: Lock) -> None:
    first = store.events.find_blind("yard", "dark", guard=lock, start=NOON, alert=["hook"], detail={"mean": 2})
    again = store.events.find_blind("yard", "dark", guard=lock, start=later(5), alert=["hook"], detail={})
    assert first == again
    assert [(one.kind, one.end) for one in store.events.findings(lasting=True)] == [("dark", None)]
    assert [alert.kind for alert in store.alerts.find()] == ["health"]
    store.events.find_blind("yard", "blurred", guard=lock, start=NOON, alert=[], detail={}, uid="a" * 32)
    store.events.end_blind("yard", "dark", guard=lock, end=later(60))
    assert [one.kind for one in store.events.findings(lasting=True)] == ["blurred"]
    store.events.end_blind("yard", None, guard=lock, end=later(61))
    store.events.find_blind("yard", "blurred", guard=lock, start=NOON, alert=[], detail={}, uid="a" * 32)
    assert store.events.findings(lasting=True) == []
    assert {one.id: one.end for one in store.events.findings(camera="yard", since=later(30))}[first] == later(60)
    made = Detector("yard", "abc", "detectors/yard", NOON, 2.5, {"backbone": "motion"})
    store.events.add_detector(made)
    store.events.add_detector(made)
    assert store.events.detectors("yard") == [made]


def test_coverage_says_when_and_why_nobody_looked(store: Store, lock: Lock) -> None:
    note = store.coverage.note
    for start in range(0, 100, 10):
        note("yard", later(start), later(start + 10), guard=lock)
    note("yard", later(100), later(130), guard=lock, observed=False, reason="offline")
    note("yard", later(130), later(200), guard=lock)
    note("yard", later(230), later(300), guard=lock)
    gaps = store.coverage.gaps("yard", later(-10), later(310))
    assert gaps == [
        Gap(later(-10), NOON, "not watched"),
        Gap(later(100), later(130), "offline"),
        Gap(later(200), later(230), "not watched"),
        Gap(later(300), later(310), "not watched"),
    ]
    with sqlite3.connect(store.folder / "oddwatch.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM intervals").fetchone() == (4,)  # not one for every note
    connection.close()
    note("yard", later(40), later(45), guard=lock, observed=False, reason="frozen")  # known only afterwards
    assert store.coverage.gaps("yard", later(0), later(90)) == [Gap(later(40), later(45), "frozen")]
    note("yard", later(300), later(320), guard=lock, observed=False, reason="refused")  # while it goes on
    note("yard", later(320), later(330), guard=lock)
    note("yard", later(310), later(340), guard=lock, observed=False, reason="refused")  # and when it is over
    assert store.coverage.gaps("yard", later(250), later(340)) == [Gap(later(300), later(340), "refused")]
    note("yard", later(-3600), later(-3500), guard=lock)  # the clock was set back by an hour
    assert store.coverage.gaps("yard", later(50), later(90)) == []


def test_two_never_write_for_one_camera(tmp_path: Path) -> None:
    with Store(tmp_path) as one, Store(tmp_path) as two:
        held = one.lock("camera:yard", at=NOON)
        with pytest.raises(LockedError, match=rf"camera:yard is written by .*, process {os.getpid()} already"):
            two.lock("camera:yard", at=NOON)
        two.lock("camera:door", at=NOON).release()
        held.release()
        held.release()
        new = two.lock("camera:yard", at=NOON)
        with pytest.raises(LockLostError, match="another process has taken over"):
            one.events.record(event(), guard=held, alert=["hook"], at=NOON)
        assert one.alerts.find() == []
        two.events.record(event(), guard=new, alert=["hook"], at=NOON)
        new.release()
        with pytest.raises(StoreError, match="a lock is camera:NAME or outbox"):
            one.lock("kitchen", at=NOON)
        with pytest.raises(StoreError, match="a name has small letters"):
            one.lock("camera:../x", at=NOON)


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    code = f"""
        import datetime, time, pathlib
        from oddwatch.store import Store
        from oddwatch.store.records import NewEvent
        store = Store(pathlib.Path({str(tmp_path)!r}))
        now = datetime.datetime.now(datetime.UTC)
        lock = store.lock("camera:yard", at=now)
        store.events.record(NewEvent("yard", now, now, now, 1.0), guard=lock, alert=["hook"], at=now)
        print("locked", flush=True)
        time.sleep(60)
    """
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with Store(tmp_path) as store:
            with pytest.raises(LockedError):
                store.lock_camera("yard", at=NOON)
            process.send_signal(signal.SIGKILL)
            process.wait()
            lock, recovered = store.lock_camera("yard", at=NOON)
            assert recovered.interrupted == 1
            assert [found.state for found in store.events.find()] == ["interrupted"]
            assert len(store.alerts.waiting("hook")) == 1
            lock.release()


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "evidence/../../x",
        "/etc/passwd",
        "evidence/yard/../../../x",
        "other/x",
        "evidence/link/x",
        "",
        "evidence/\0",
    ],
)
def test_evidence_never_leaves_the_folder(path: str, store: Store, tmp_path: Path) -> None:
    (store.folder / "evidence").mkdir()
    (store.folder / "evidence" / "link").symlink_to(tmp_path)
    for use in (store.evidence.path, store.evidence.remove, lambda p: store.evidence.read(Evidence("clip", p, 1, ""))):
        with pytest.raises(StoreError, match="leaves the folder of the store"):
            use(path)


@pytest.mark.parametrize(
    ("camera", "uid", "kind", "suffix"),
    [
        ("../yard", "0" * 32, "clip", ".mp4"),
        ("yard", "../" + "0" * 29, "clip", ".mp4"),
        ("yard", "0" * 32, "../clip", ".mp4"),
        ("yard", "0" * 32, "clip", "/../x"),
        ("yard", "0" * 32, "..", ".mp4"),
    ],
)
def test_no_part_of_a_name_leads_out(camera: str, uid: str, kind: str, suffix: str, store: Store) -> None:
    with pytest.raises(StoreError, match=r"cannot be part of the name|a name has small letters"):
        store.evidence.write(camera, uid, kind, suffix, b"x")


def test_a_file_that_something_else_writes_gets_its_row(store: Store, lock: Lock, tmp_path: Path) -> None:
    new = event()
    number = store.events.record(new, guard=lock, alert=[], at=NOON)
    made = store.evidence.place("yard", new.uid, "clip", ".mp4")
    made.write_bytes(b"a clip")
    kept = store.evidence.describe(made)
    store.events.attach(number, kept, guard=lock, at=later(20))
    store.events.attach(number, kept, guard=lock, at=later(20))
    assert store.events.get(number).evidence == (kept,)
    assert store.evidence.read(kept) == b"a clip"
    assert (kept.kind, kept.path, kept.bytes) == ("clip", f"evidence/yard/{new.uid}/clip.mp4", 6)
    made.write_bytes(b"another")
    again = store.evidence.describe(made)
    store.events.attach(number, again, guard=lock, at=later(30))
    assert store.events.get(number).evidence == (again,)
    assert store.upkeep.check(at=NOON, whole=True).sound
    for wrong, says in ((tmp_path / "x.mp4", "it is not in"), (made.with_name("x"), "has no name of an evidence file")):
        with pytest.raises(StoreError, match=says):
            store.evidence.describe(wrong)


def test_a_full_disk_leaves_no_half_file(store: Store, lock: Lock) -> None:
    new = event()
    with no_file_above(1000), pytest.raises(StoreError, match=r"cannot be written: .* \(free some space\)"):
        store.evidence.write("yard", new.uid, "thumbnail", ".jpg", b"x" * 5000)
    assert list(store.evidence.of("yard")) == []
    store.events.record(new, guard=lock, alert=["hook"], at=NOON)  # the alert goes out without it
    assert len(store.alerts.waiting("hook")) == 1


def test_a_start_mends_what_a_crash_left(store: Store) -> None:
    with store.lock("camera:yard", at=NOON) as lock:
        new = event()
        kept = store.evidence.write("yard", new.uid, "thumbnail", ".jpg", b"jpeg")
        number = store.events.record(new, guard=lock, alert=[], at=NOON, evidence=[kept])
        store.events.find_blind("yard", "dark", guard=lock, start=NOON, alert=[], detail={})
        clip = store.evidence.write("yard", new.uid, "clip", ".mp4", b"clip")  # and then the crash
        lost = with_file(store, lock, 50)[1]
        store.evidence.path(lost.path).unlink()
        store.evidence.path(kept.path).write_bytes(b"written anew")
        (store.folder / "evidence" / "yard" / new.uid / ".heatmap.png.7.tmp").write_bytes(b"hal")
        nobody = store.evidence.write("yard", "f" * 32, "clip", ".mp4", b"?")
    lock, recovered = store.lock_camera("yard", at=later(100))
    with lock:
        assert recovered.interrupted == 2
        assert recovered.missing == (lost.path,)
        assert recovered.adopted == (clip.path,)
        assert [Path(path).name for path in recovered.removed] == [".heatmap.png.7.tmp"]
        assert recovered.unknown == (nobody.path,)
        anew = store.evidence.describe(kept.path)
        assert (anew.bytes, store.events.get(number).evidence) == (12, (anew, clip))
        assert [found.end for found in store.events.findings()] == [later(100)]
    lock, again = store.lock_camera("yard", at=later(101))
    lock.release()
    assert (again.interrupted, again.missing, again.adopted, again.removed) == (0, (), (), ())


def test_check_finds_and_repairs(store: Store) -> None:
    with store.lock("camera:yard", at=NOON) as lock:
        sound, gone, cut, changed = (with_file(store, lock, 10 * n)[1] for n in range(4))
        store.evidence.path(gone.path).unlink()
        store.evidence.path(cut.path).write_bytes(b"short")
        store.evidence.path(changed.path).write_bytes(b"y" * 10)
        nobody = store.evidence.write("yard", "f" * 32, "clip", ".mp4", b"?")
        busy = store.upkeep.check(at=NOON)
        assert (busy.busy, busy.orphans) == (("yard",), ())
    report = store.upkeep.check(at=NOON)
    assert (report.rows, report.missing, report.damaged, report.orphans) == (
        4,
        (gone.path,),
        (cut.path,),
        (nobody.path,),
    )
    assert not report.sound
    assert set(store.upkeep.check(at=NOON, whole=True).damaged) == {cut.path, changed.path}
    repaired = store.upkeep.check(at=NOON, whole=True, repair=True)
    assert repaired.repaired
    after = store.upkeep.check(at=NOON, whole=True)
    assert after.sound
    assert after.rows == 1
    assert [one.evidence for one in store.events.find() if one.evidence] == [(sound,)]


def test_retention_takes_the_oldest_first_and_labelled_last(store: Store, lock: Lock) -> None:
    day = 86400
    ids = [with_file(store, lock, day * n, size=100)[0] for n in range(6)]
    store.events.label(ids[0], "unusual", at=NOON)
    at = later(6 * day)

    def left() -> list[int]:
        return [found.id for found in reversed(store.events.find()) if found.evidence]

    def free(missing: int) -> Callable[[], int]:
        return lambda: 1000 - missing

    nothing = store.upkeep.retain(keep_days=30, keep_bytes=600, at=at)
    assert (nothing.files, left()) == (0, ids)
    old = store.upkeep.retain(keep_days=4.5, keep_bytes=600, at=at)
    assert (old.files, old.bytes, old.labelled, old.reasons) == (1, 100, 0, ("older than what is kept",))
    assert left() == [ids[0], *ids[2:]]
    much = store.upkeep.retain(keep_days=30, keep_bytes=350, at=at)
    assert (much.files, much.reasons, left()) == (2, ("more than what is kept",), [ids[0], *ids[4:]])
    full = store.upkeep.retain(keep_days=30, keep_bytes=600, keep_free_bytes=1000, at=at, free_bytes=free(150))
    assert (full.files, full.labelled, full.reasons, left()) == (2, 0, ("the disk was filling",), [ids[0]])
    last = store.upkeep.retain(keep_days=30, keep_bytes=0, at=at)
    assert (last.files, last.labelled, left()) == (1, 1, [])
    assert store.upkeep.check(at=at).rows == store.upkeep.bytes_kept() == 0
    assert len(store.events.find()) == 6  # what happened stays known
    assert store.upkeep.removed(at) == {
        "more than what is kept": 3,
        "older than what is kept": 1,
        "the disk was filling": 2,
    }
    assert store.upkeep.removed(later(7 * day)) == {}


def test_a_store_is_opened_not_begun_by_commands_that_look(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        Store(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    with pytest.raises(StoreError, match="events would not outlast memory"):
        Store(tmp_path, database="sqlite://")
    (tmp_path / "oddwatch.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used: file is not a database"):
        Store(tmp_path)


def test_a_store_of_a_newer_oddwatch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).close()
    monkeypatch.setattr(database_module, "VERSION", "0")
    with pytest.raises(StoreError, match=r"was made by a newer oddwatch \(tables 2, here 0\): update it"):
        Store(tmp_path)


def test_the_versions_make_the_tables(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from oddwatch.store import tables

    with store._database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_events_of_the_first_tables_are_still_there(tmp_path: Path) -> None:
    with Store(tmp_path) as store, store.lock("camera:yard", at=NOON) as lock:
        number, _ = with_file(store, lock)
        before = store.events.get(number)
    with sqlite3.connect(tmp_path / "oddwatch.sqlite") as connection:
        connection.execute("ALTER TABLE events DROP COLUMN similar")
        connection.execute("UPDATE alembic_version SET version_num = '1'")
    connection.close()
    with Store(tmp_path, create=False) as store, store.lock("camera:yard", at=NOON) as lock:
        assert store.events.get(number) == before
        assert before.similar == ()
        store.events.update(number, guard=lock, end=later(4), similar=[{"source": "x"}])
        assert store.events.get(number).similar == ({"source": "x"},)


def test_many_threads_and_processes_begin_one_store(tmp_path: Path) -> None:
    failed = []

    def begin(number: int) -> None:
        try:
            with Store(tmp_path) as store, store.lock(f"camera:c{number}", at=NOON) as lock:
                for n in range(3):
                    store.events.record(event(n, f"c{number}"), guard=lock, alert=["hook"], at=NOON)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=begin, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with Store(tmp_path) as store:
        assert len(store.events.find()) == len(store.alerts.waiting("hook")) == 12


def test_a_locked_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0)
    pauses: list[float] = []
    other = sqlite3.connect(tmp_path / "kept.sqlite", isolation_level=None)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            other.execute("COMMIT")

    address = f"sqlite:///{tmp_path}/kept.sqlite"
    with Store(tmp_path, database=address, pause=pause, patience_seconds=1.0) as store:
        other.execute("BEGIN IMMEDIATE")
        store.events.add_camera("yard")
        assert pauses == [0.05, 0.1, 0.2]
        assert store.events.cameras() == ["yard"]
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked"):
            store.events.add_camera("door")
        other.execute("COMMIT")
    other.close()


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("psycopg", r'a PostgreSQL store needs psycopg: pip install "oddwatch\[postgres\]"'),
        ("alembic.config", r'a store of events needs alembic: pip install "oddwatch\[watch\]"'),
    ],
)
def test_what_is_not_installed_is_named(
    module: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    address = "postgresql://me@127.0.0.1:9/none" if module == "psycopg" else None
    with pytest.raises(MissingExtraError, match=says):
        Store(tmp_path, database=address, patience_seconds=0)


def test_what_is_said_of_a_database_holds_no_password(tmp_path: Path) -> None:
    draw = random.Random(1)
    for _ in range(3):
        password = "Zq" + "".join(draw.choices("@:%/ab1", k=8)) + "Zq"
        from urllib.parse import quote

        address = f"postgresql://me:{quote(password, safe='')}@127.0.0.1:9/none"
        with pytest.raises(StoreError) as raised:
            Store(tmp_path, database=address, patience_seconds=0)
        assert "Zq" not in str(raised.value)
        assert "127.0.0.1" in str(raised.value)
