"""Faults with real processes, receivers, disks and clocks: nothing that was committed is lost, none acted on twice."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from command_line import SOURCE
from receivers import Postgres, Receiver, kill, receiver, until
from sqlalchemy import text

from oddwatch.errors import LockedError, LockLostError
from oddwatch.store import Store, tables
from oddwatch.store.records import NewEvent

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Watched:
    """`watched_site.py` as a process, past its beginning."""

    def __init__(self, folder: Path, *arguments: object, environment: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        variables = {**os.environ, "PYTHONPATH": str(SOURCE), **(environment or {})}
        command = [sys.executable, str(HERE / "watched_site.py"), str(folder), *map(str, arguments)]
        number = len(list(folder.glob("*.log")))
        self._log = folder / f"{number}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT)
        until(lambda: "begun\n" in self._log.read_text() or self.process.poll())

    def printed(self) -> list[str]:
        """The uids of what it has committed."""
        return re.findall("^[0-9a-f]{32}$", self._log.read_text(), re.MULTILINE)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def finish(self, seconds: float = 30) -> list[str]:
        """Wait for its end: what it has committed."""
        code = self.process.wait(seconds)
        assert code == 0, self._log.read_text()
        return self.printed()


Start = Callable[..., Watched]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[Watched] = []

    def begin(folder: Path, *arguments: object, **options: Any) -> Watched:
        made.append(Watched(folder, *arguments, **options))
        return made[-1]

    yield begin
    for one in made:
        kill(one.process)


def committed(folder: Path) -> set[str]:
    with Store(folder) as store:
        return {event.uid for event in store.events.find()}


def acted(there: Receiver) -> set[str]:
    """The events that a receiver which honours keys has acted on."""
    return {request.headers["Idempotency-Key"].partition(".")[0] for request in there.taken}


@pytest.mark.slow
def test_a_process_killed_at_random_moments_loses_nothing(start: Start, tmp_path: Path) -> None:
    draw = random.Random(0)
    printed: list[str] = []
    with receiver() as there:
        for _ in range(10):
            process = start(tmp_path, "--hook", there.url)
            time.sleep(draw.uniform(0.0, 0.25))
            kill(process.process)
            printed += process.printed()
        printed += start(tmp_path, "--hook", there.url, "--events", 1).finish()
        events = committed(tmp_path)
        assert len(printed) > 20
        assert set(printed) <= events
        assert acted(there) == events
        keys = [request.headers["Idempotency-Key"] for request in there.taken]
        assert set(keys) == {f"{uid}.hook0" for uid in events}  # each event has one key, however often it arrived
        assert len(keys) - len(set(keys)) <= 10  # twice only what was on its way when it was killed
    with Store(tmp_path) as store:
        report = store.upkeep.check(at=NOW, whole=True)
        assert (report.missing, report.damaged) == ((), ())
        assert len(report.orphans) <= 10  # written before their row
        assert {alert.state for alert in store.alerts.find()} == {"sent"}


@pytest.mark.slow
def test_faults_of_receivers_end_within_seconds_of_their_end(start: Start, tmp_path: Path) -> None:
    """Down, 500s, hanging and slow at once: the healthy one hears of everything at once, the others after the fault."""
    healthy, down, failing, hanging, slow = all_five = [Receiver() for _ in range(5)]
    for one in all_five:
        one.up()
    down.down()
    failing.status, hanging.hang, slow.slow_seconds = 500, True, 1.0
    try:
        hooks = [word for one in all_five for word in ("--hook", one.url)]
        process = start(tmp_path, *hooks, "--events", 3, "--pause", 0.3)
        until(lambda: len(acted(healthy)) == 3, 5)
        until(lambda: len(acted(slow)) == 3, 10)
        assert acted(down) == acted(failing) == acted(hanging) == set()
        time.sleep(1)
        fault_ended = time.monotonic()
        down.up()
        failing.status, hanging.hang = 200, False
        until(lambda: all(len(acted(one)) == 3 for one in (down, failing, hanging)), 10)
        took = time.monotonic() - fault_ended
        assert took < 10
        events = set(process.finish())
        assert all(acted(one) == events for one in all_five)
    finally:
        for one in all_five:
            one.down()


@pytest.mark.slow
def test_a_clock_that_jumps_by_an_hour_delays_nothing(start: Start, tmp_path: Path) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    jump = tmp_path / "jump"
    jump.write_text("+0")
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(jump),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with receiver(status=500) as there:
        process = start(tmp_path, "--hook", there.url, "--events", 4, "--pause", 1, environment=environment)
        until(lambda: len(there.requests) >= 2)
        jump.write_text("-3600")
        time.sleep(1.2)
        jump.write_text("+3600")
        time.sleep(1.2)
        there.status = 200
        events = process.finish()
        assert acted(there) == set(events)
    stamps = [int(request.headers["Oddwatch-Timestamp"]) for request in there.requests]
    assert max(stamps) - min(stamps) > 3000  # it did jump


def on_a_small_disk(folder: Path, code: str) -> str:
    """Run Python with a file system of 3 MB at `folder`, in a mount space of its own: what it prints."""
    folder.mkdir()
    script = f"mount -t tmpfs -o size=3m none {folder} && exec {sys.executable} - {folder}"
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", script]
    variables = {**os.environ, "PYTHONPATH": str(SOURCE)}
    head = """
        import subprocess, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from oddwatch.errors import StoreError
        from oddwatch.store import Store
        from oddwatch.store.records import NewEvent
        folder, now = Path(sys.argv[1]), datetime(2026, 11, 23, 12, tzinfo=UTC)
        store = Store(folder)
        lock = store.lock("camera:yard", at=now)
        def keep(size):
            event = NewEvent("yard", now, now, now, 1.0)
            kept = store.evidence.write("yard", event.uid, "clip", ".mp4", b"x" * size)
            store.events.record(event, guard=lock, alert=["hook"], at=now, evidence=[kept])
        def refused(work):
            try:
                work()
            except StoreError as error:
                print(error)
            else:
                print("not refused")
        def bare():
            event = NewEvent("yard", now, now, now, 1.0, why={"a": "b" * 9000})
            store.events.record(event, guard=lock, alert=[], at=now)
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=variables, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_full_disk_is_said_and_retention_frees_it(tmp_path: Path) -> None:
    said = on_a_small_disk(
        tmp_path / "disk",
        """
        for _ in range(4):
            keep(500_000)
        refused(lambda: keep(900_000))
        refused(lambda: [bare() for _ in range(1000)])
        before = len(store.events.find())
        print(store.upkeep.retain(keep_days=30, keep_bytes=1e9, keep_free_bytes=1_000_000, at=now))
        keep(400_000)
        print(len(store.events.find()) - before, store.upkeep.check(at=now).missing)
        lock.release()
        print(store.upkeep.check(at=now, whole=True).sound)
        """,
    ).splitlines()
    assert re.fullmatch(r".*/clip.mp4 cannot be written: No space left on device \(free some space\)", said[0])
    assert re.fullmatch(r"sqlite:.* cannot be written: the disk is full \(.*\): free some space", said[1])
    assert re.fullmatch(r"Removed\(files=\d, bytes=\d+, labelled=0, reasons=\('the disk was filling',\)\)", said[2])
    assert said[3:] == ["1 ()", "True"]


@pytest.mark.slow
def test_a_read_only_disk_is_said(tmp_path: Path) -> None:
    said = on_a_small_disk(
        tmp_path / "disk",
        """
        keep(1000)
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        refused(lambda: keep(1000))
        refused(bare)
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        keep(1000)
        print(len(store.events.find()))
        """,
    ).splitlines()
    assert said[0].endswith("Read-only file system (check the disk and who may write there)")
    assert "readonly database" in said[1] or "unable to open" in said[1]
    assert said[2:] == ["2"]


@pytest.mark.slow
def test_no_secret_is_in_a_dump_of_the_database(tmp_path: Path) -> None:
    """What goes wrong is written into the database: the passwords of `@ : % /` in addresses are not."""
    from urllib.parse import quote

    from oddwatch.notify.services import Service
    from oddwatch.notify.webhook import Webhook
    from oddwatch.outbox import Clock, Route, Worker

    draw = random.Random(3)
    with Store(tmp_path) as store, store.lock("camera:yard", at=NOW) as lock, receiver(status=500) as there:
        for number in range(12):
            password = "Zq" + "".join(draw.choices("@:%/ab1", k=8)) + "Zq"
            quoted = quote(password, safe="")
            sinks = [
                Webhook("hook", f"{there.url}/{quoted}?token={quoted}", secret=password, private_addresses=True),
                Webhook("hook", f"http://127.0.0.1:9/{quoted}", headers={"X": quoted}, private_addresses=True),
                Service("hook", f"json://me:{quoted}@127.0.0.1:{there.port}/{quoted}"),
                Service("hook", f"json://me:{quoted}@127.0.0.1:9/{quoted}"),
            ]
            sink = sinks[number % 4]
            store.events.record(NewEvent("yard", NOW, NOW, NOW, 1.0), guard=lock, alert=["hook"], at=NOW)
            Worker(store, Route(sink), "home", None, Clock(), lambda: 0.0).step()
    connection = sqlite3.connect(tmp_path / "oddwatch.sqlite")
    dump = "\n".join(connection.iterdump())
    connection.close()
    assert len(re.findall("500|refused|Connection error", dump)) >= 12
    assert "Zq" not in dump


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.up()
    yield server
    server.down()


@pytest.mark.service
def test_the_tables_are_the_same_with_postgresql(postgres: Postgres, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with Store(tmp_path, database=postgres.database("tables")) as store:
        with store._database.engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        with store.lock("camera:yard", at=NOW) as lock:
            new = NewEvent("yard", NOW, NOW, NOW, 1.0, 0.1, (0.1, 0.2, 0.3, 0.4), "left", {"speed": 2.0})
            number = store.events.record(new, guard=lock, alert=["hook"], at=NOW)
            found = store.events.get(number)
            assert (found.start, found.box, found.why) == (NOW, (0.1, 0.2, 0.3, 0.4), {"speed": 2.0})
            store.coverage.note("yard", NOW, NOW, guard=lock)
        assert ":none@" not in store.shown


@pytest.mark.service
def test_a_killed_process_leaves_no_lock_with_postgresql(postgres: Postgres, start: Start, tmp_path: Path) -> None:
    database = postgres.database("locks")
    process = start(tmp_path / "one", "--database", database)
    with Store(tmp_path / "two", database=database) as store:  # as on another machine
        with pytest.raises(LockedError, match=rf"camera:yard is written by .*, process {process.process.pid} already"):
            store.lock("camera:yard", at=NOW)
        many = [store.lock(f"camera:c{number}", at=NOW) for number in range(20)]  # more than a pool has connections
        for engine in (store._database.engine, store._database.holding_engine):
            with engine.connect() as connection:  # the server notices within 11 s that a machine is gone
                kept = [connection.execute(text(f"SHOW tcp_keepalives_{name}")).scalar() for name in ("idle", "count")]
                assert kept == ["5", "3"]
        for lock in many:
            lock.release()
        kill(process.process)

        def free() -> bool:
            try:
                store.lock("camera:yard", at=NOW).release()
            except LockedError:
                return False
            return True

        until(free, 5)


@pytest.mark.service
def test_a_process_that_hangs_is_succeeded(postgres: Postgres, start: Start, tmp_path: Path) -> None:
    database = postgres.database("hangs")
    process = start(tmp_path / "one", "--database", database)
    until(process.printed)
    process.process.send_signal(signal.SIGSTOP)  # now and then in the middle of a transaction
    with Store(tmp_path / "two", database=database) as store:
        with pytest.raises(LockedError):
            store.lock("camera:yard", at=NOW)
        with store.lock("camera:yard", at=NOW, successor=True):
            events = store.events.find()
            process.process.send_signal(signal.SIGCONT)
            assert process.process.wait(30) == 1
            assert store.events.find() == events
    assert "this one writes no more" in process.log


@pytest.mark.service
def test_who_lost_the_lock_with_the_connection_writes_no_more(postgres: Postgres, tmp_path: Path) -> None:
    database = postgres.database("fences")
    with Store(tmp_path, database=database) as one, Store(tmp_path, database=database) as two:
        lock = one.lock("camera:yard", at=NOW)
        postgres.restart("immediate")
        other = two.lock("camera:yard", at=NOW)  # it was faster
        with pytest.raises(LockLostError):
            one.events.record(NewEvent("yard", NOW, NOW, NOW, 1.0), guard=lock, alert=["hook"], at=NOW)
        two.events.record(NewEvent("yard", NOW, NOW, NOW, 1.0), guard=other, alert=["hook"], at=NOW)
        assert len(one.events.find()) == 1
        lock.release()
        other.release()


@pytest.mark.service
def test_who_is_not_taken_over_keeps_the_lock_through_a_restart(postgres: Postgres, tmp_path: Path) -> None:
    database = postgres.database("kept")
    with Store(tmp_path, database=database) as one, Store(tmp_path, database=database) as two:
        with one.lock("camera:yard", at=NOW) as lock:
            postgres.restart("fast")
            one.events.record(NewEvent("yard", NOW, NOW, NOW, 1.0), guard=lock, alert=["hook"], at=NOW)
            with pytest.raises(LockedError):  # it was taken again before anything was written
                two.lock("camera:yard", at=NOW)
        two.lock("camera:yard", at=NOW).release()
        with pytest.raises(LockLostError, match="was released"):
            one.events.record(NewEvent("yard", NOW, NOW, NOW, 1.0), guard=lock, alert=["hook"], at=NOW)


@pytest.mark.service
def test_postgresql_restarted_under_load_loses_nothing(postgres: Postgres, start: Start, tmp_path: Path) -> None:
    database = postgres.database("load")
    with receiver() as there:
        processes = [
            start(tmp_path, "--database", database, "--camera", "yard", "--hook", there.url, "--events", 150),
            start(tmp_path, "--database", database, "--camera", "door", "--events", 150),
        ]
        for mode in ("fast", "immediate"):
            time.sleep(0.4)
            postgres.restart(mode)
        printed = [uid for process in processes for uid in process.finish(60)]
        with Store(tmp_path, database=database) as store:
            events = store.events.find()
            assert {event.uid for event in events} == set(printed)
            assert len(events) == 300
            assert {alert.state for alert in store.alerts.find(sink="hook0")} == {"sent"}
        assert acted(there) == {event.uid for event in events if event.camera == "yard"}
