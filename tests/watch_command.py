"""`oddwatch watch` as a process: the file of its site, its log, what it answers over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line import start
from prometheus_client.parser import text_string_to_metric_families

SECRETS = {"CAMERA_PASSWORD": "c@m/er:a%25", "HOOK_SECRET": "signed-with-this"}


class Watching:
    """A running `oddwatch watch`, and what it has logged."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """(exit code, seconds it took)."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(30), time.monotonic() - began


@contextmanager
def watching(site: Path, *arguments: str, **environment: str) -> Iterator[Watching]:
    log = site.with_name("log")
    with log.open("w") as errors:
        command = ("watch", site, "--json-logs", *arguments)
        process = start(*command, stderr=errors.fileno(), environment={**SECRETS, **environment})
        try:
            yield Watching(process, log)
        finally:
            process.kill()
            process.communicate()


def site_file(
    folder: Path, hook: str, *cameras: dict[str, Any], sinks: Sequence[dict[str, Any]] = (), **more: Any
) -> Path:
    """A webhook and more sinks. JSON is YAML."""
    sink = {"name": "hook", "kind": "webhook", "url": hook, "secret": "${HOOK_SECRET}", "private_addresses": True}
    storage = {"folder": "kept", "keep_free_gb": 0.0, "pre_roll_seconds": 2.0, "post_roll_seconds": 3.0}
    site = {"name": "home", "cameras": list(cameras), "alerts": {"sinks": [sink, *sinks]}, "storage": storage, **more}
    path = folder / "site.yaml"
    path.write_text(json.dumps(site))
    return path


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(port: int, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(get(port, "/metrics")[1]):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None
