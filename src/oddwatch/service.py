"""What surrounds a process that runs for months: what it answers over HTTP, and what it tells systemd."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from oddwatch.errors import UsageError

Health = Callable[[], tuple[bool, dict[str, Any]]]
"""Whether all is well, and JSON types that say what is not."""


class Endpoint:
    """Answers GET `/healthz`, `/readyz` (200 or 503, JSON) and `/metrics` (text of Prometheus) in threads of its own,
    as long as the `with` block lasts. Raises UsageError when nobody can listen there.
    """

    def __init__(self, host: str, port: int, *, health: Health, ready: Health, metrics: Callable[[], bytes]) -> None:
        answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/healthz": lambda: _json(health),
            "/readyz": lambda: _json(ready),
            "/metrics": lambda: (200, "text/plain; version=0.0.4; charset=utf-8", metrics()),
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # of a connection on which nothing comes

            def do_GET(self) -> None:
                answer = answers.get(self.path.partition("?")[0])
                status, kind, body = (404, "text/plain", b"not found\n") if answer is None else answer()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Who asks is nothing to log."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(f"nothing can listen at {host}:{port}: {error} (choose another port)") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="oddwatch-http", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _json(health: Health) -> tuple[int, str, bytes]:
    well, says = health()
    return (200 if well else 503), "application/json", json.dumps(says).encode() + b"\n"


def tell_systemd(*lines: str) -> None:
    """Send lines such as `READY=1` to the service manager; nothing happens outside of one (man sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.connect(address)
        line.sendall("\n".join(lines).encode())


def watchdog_seconds() -> float | None:
    """How often systemd wants `WATCHDOG=1` from this process at least; None when it does not (WatchdogSec=)."""
    micro, process = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not micro or (process and int(process) != os.getpid()):
        return None
    return int(micro) / 1e6
