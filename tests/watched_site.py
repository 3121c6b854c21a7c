"""Run as a process: a camera that has an event every few milliseconds, and the delivery of its alerts. To be killed.

    python watched_site.py STORE [--database URL] [--hook URL]... [--events N] [--camera NAME]

Prints `begun`, then the uid of each event once it is committed; without --events it goes on until it is killed, else it
ends when every alert is sent.
"""

from __future__ import annotations

import argparse
import logging
import threading
from datetime import UTC, datetime
from pathlib import Path

from oddwatch.notify.webhook import Webhook
from oddwatch.outbox import Outbox, Route
from oddwatch.store import Store
from oddwatch.store.records import NewEvent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--hook", action="append", default=[])
    parser.add_argument("--events", type=int)
    parser.add_argument("--camera", default="yard")
    parser.add_argument("--pause", type=float, default=0.005)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    store = Store(given.store, database=given.database)
    lock, _ = store.lock_camera(given.camera, at=datetime.now(UTC))
    names = [f"hook{number}" for number in range(len(given.hook))]
    routes = [
        Route(Webhook(name, url, secret="s", private_addresses=True), alerts=10**9)
        for name, url in zip(names, given.hook, strict=True)
    ]
    outbox = Outbox(store, routes, site="home")
    if routes:
        outbox.start()
    pause = threading.Event().wait  # libfaketime of Debian 12 breaks time.sleep
    print("begun", flush=True)
    made = 0
    while given.events is None or made < given.events:
        now = datetime.now(UTC)
        event = NewEvent(given.camera, now, now, now, 1.0)
        kept = store.evidence.write(given.camera, event.uid, "thumbnail", ".jpg", b"jpeg" * 100)
        store.events.record(event, guard=lock, alert=names, at=now, evidence=[kept])
        outbox.wake()
        print(event.uid, flush=True)
        made += 1
        pause(given.pause)
    while any(store.alerts.waiting(name) for name in names):
        pause(0.05)
    outbox.stop()
    lock.release()
    store.close()


if __name__ == "__main__":
    main()
