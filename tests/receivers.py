"""Real receivers: an HTTP server whose behaviour can be changed while it runs, an MQTT broker, a PostgreSQL server."""

from __future__ import annotations

import glob
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request. body: as it was sent. at: monotonic seconds."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """status: of answers. headers: more of them. hang: take requests and never answer. drip: answer a byte at a time.
    taken: requests that were answered with success.
    """

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drip: bool = False
    slow_seconds: float = 0.0
    requests: list[Received] = field(default_factory=list)
    taken: list[Received] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None
    _ending: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def up(self, wrap: Callable[[socket.socket], socket.socket] | None = None) -> None:
        """Begin to listen: at the same port as before, if there was one."""
        self._ending.clear()
        self._server = _Server(("127.0.0.1", self.port or free_port()), _handler(self))
        self.port = self._server.server_address[1]
        if wrap is not None:
            self._server.socket = wrap(self._server.socket)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._ending.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        received = Received(request.path, dict(request.headers.items()), body, time.monotonic())
        self.requests.append(received)
        if self.hang:
            self._ending.wait(30)
            return
        self._ending.wait(self.slow_seconds)
        if self.drip:
            for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 300:
                request.wfile.write(bytes([letter]))
                if self._ending.wait(0.05):
                    return
        status = self.status  # a test may change it as soon as it has the answer
        request.send_response(status)
        for name, value in self.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        success = 200 <= status < 300
        if success:  # before the answer, after which a test looks
            self.taken.append(received)
        try:
            request.end_headers()
        except OSError:
            if success:
                self.taken.remove(received)
            raise


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nothing to print."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.answer(self)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def receiver(**ways: Any) -> Iterator[Receiver]:
    """One that listens as long as the block lasts."""
    made = Receiver(**ways)
    made.up()
    try:
        yield made
    finally:
        made.down()


def free_port() -> int:
    """A port that nobody listens to, below those that the system gives to who connects: while a server is away, one of
    its clients could else get its port.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def until(condition: Callable[[], Any], seconds: float = 10.0) -> float:
    """Wait for something to hold: how long it took. Fails when it does not come true."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - start


class Broker:
    """A Mosquitto of one's own. user, password: what it asks for."""

    def __init__(self, folder: Path, *, user: str | None = None, password: str | None = None) -> None:
        self.port, self.user, self.password = free_port(), user, password
        lines = [f"listener {self.port} 127.0.0.1", "persistence false"]
        if user is None:
            lines.append("allow_anonymous true")
        else:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            subprocess.run(
                [_program("mosquitto_passwd"), "-b", str(passwords), user, password or ""],
                check=True,
                capture_output=True,
            )
            passwords.chmod(0o644)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        if os.geteuid() == 0:
            lines.append("user root")
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        command = [_program("mosquitto"), "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: _listens(self.port))

    def down(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def heard(self) -> Iterator[dict[str, list[tuple[bytes, bool]]]]:
        """topic -> (payload, whether it was kept by the broker) of everything, while the block lasts."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        heard: dict[str, list[tuple[bytes, bool]]] = {}
        ready = threading.Event()
        client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(self.user, self.password)
        client.on_message = lambda c, d, m: heard.setdefault(m.topic, []).append((bytes(m.payload), m.retain))
        client.on_subscribe = lambda *_: ready.set()
        client.on_connect = lambda c, *_: c.subscribe("#", qos=1)
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        assert ready.wait(5)
        try:
            yield heard
        finally:
            client.disconnect()
            client.loop_stop()


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert found, f"{name} is missing: apt-get install mosquitto"
    return found


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Postgres:
    """A PostgreSQL server of one's own. It does not run as root: then as the user that Debian makes."""

    def __init__(self) -> None:
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        assert programs, "PostgreSQL is missing: apt-get install postgresql"
        self._bin, self.port = Path(programs[-1]), free_port()
        self._data = Path(
            tempfile.mkdtemp(prefix="oddwatch-postgres-")
        )  # not in pytest's, where only its user may look
        if os.geteuid() == 0:
            shutil.chown(self._data, "postgres", "postgres")
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "oddwatch", "--no-sync", "-E", "UTF8")

    def _run(self, program: str, *arguments: str) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*as_user, str(self._bin / program), *arguments], capture_output=True, text=True, cwd=self._data
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _control(self, *arguments: str) -> None:
        options = f"-p {self.port} -k {self._data} -c listen_addresses=127.0.0.1 -c shared_buffers=16MB -c fsync=off"
        log = str(self._data / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", options, *arguments)

    def up(self) -> None:
        self._control("start")

    def restart(self, mode: str = "fast") -> None:
        """As an upgrade does it (fast), or as a crash (immediate)."""
        self._control("-m", mode, "restart")

    def down(self) -> None:
        """Stop it, and remove all that it held."""
        self._control("-m", "immediate", "stop")
        shutil.rmtree(self._data)

    def database(self, name: str) -> str:
        """The address of a new, empty database."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "oddwatch", name)
        return f"postgresql://oddwatch:none@127.0.0.1:{self.port}/{name}"


def kill(process: subprocess.Popen[Any]) -> None:
    """SIGKILL, and wait for the end."""
    process.send_signal(signal.SIGKILL)
    process.wait()
