"""`oddwatch learn --camera`: a camera -> a detector folder, by watching it for a while."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from urllib.parse import quote

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from oddwatch.cli.output import errors, say
from oddwatch.errors import OddwatchError, UsageError
from oddwatch.monitor import CameraMonitor, Delivery, Learning, Plan, Readiness, Sinks
from oddwatch.video import CameraOptions

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def camera_address(text: str) -> str:
    """An address with `${NAME}` replaced by variables of the environment, percent-encoded: so a password is no argument
    of the process. Raises UsageError for one that is not set.
    """

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in os.environ:
            raise UsageError(
                f"the address of the camera needs ${{{name}}}, which the environment does not have: set it"
            )
        return quote(os.environ[name], safe="")

    return _VARIABLE.sub(value, text)


def learn_from_camera(camera: CameraOptions, learning: Learning, out: Path) -> Readiness:
    """Watch until enough was seen, learn, save. Ctrl-C leaves what was collected beside `out`, for the next time.

    Raises OddwatchError.
    """
    done: list[Readiness] = []
    armed = threading.Event()
    failed: list[BaseException] = []

    def ready(readiness: Readiness) -> None:
        if readiness.armed:
            done.append(readiness)
            armed.set()

    sinks = Sinks(
        event=lambda _: None,
        finding=lambda record: say(f"{camera.name}: {record.finding.kind}: {record.finding.says}"),
        gap=lambda record: say(f"{camera.name}: not seen for {record.gap.seconds:.0f} s: {record.gap.says}"),
        readiness=ready,
        evidence_path=lambda name, uid, kind: out / f"{uid}-{kind}",
    )
    delivery = Delivery()
    monitor = CameraMonitor(Plan("camera", camera, out, learning), sinks, delivery)

    def run() -> None:
        try:
            monitor.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="oddwatch-camera", daemon=True)
    thread.start()
    try:
        _follow(monitor, thread, armed, learning.seconds)
    except KeyboardInterrupt:
        say(f"What was seen so far is kept in {out}.learning: the same command goes on with it.")
        raise
    finally:
        monitor.stop()
        thread.join()
        delivery.close()
    if failed:
        raise failed[0]
    if not done:
        raise OddwatchError(
            f"{camera.name} ended before enough of it was seen (kept in {out}.learning): give more, or fewer --minutes"
        )
    return done[0]


def _follow(monitor: CameraMonitor, thread: threading.Thread, armed: threading.Event, seconds: float) -> None:
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("watching", total=seconds)
        while thread.is_alive() and not armed.is_set():
            seen = monitor.collected_seconds
            bar.update(task, completed=seen, description="watching" if seen < seconds else "learning")
            time.sleep(0.1)
        if not thread.is_alive():
            armed.wait(1.0)
