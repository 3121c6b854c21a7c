"""A signed POST of JSON.

The signature is that of Stripe and others: HMAC-SHA256 with the shared secret over the time stamp, a dot and the body
as it was sent. docs/watch.md has a receiver that checks it.

Of the host every address that it resolves to has to be allowed, and the connection goes to an address that was looked
at: what a name resolves to a moment later does not matter. Redirects are not followed and proxies of the environment
not used. http.client, because requests and httpx connect by name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from oddwatch import __version__
from oddwatch.addresses import Redactor, host_only, is_private
from oddwatch.errors import UsageError
from oddwatch.notify.base import DELIVERED, Message, Outcome, Sink

Resolve = Callable[[str, int], list[str]]
_LATER = (408, 425, 429)
TIMESTAMP, SIGNATURE, KEY = "Oddwatch-Timestamp", "Oddwatch-Signature", "Idempotency-Key"


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the hexadecimal HMAC-SHA256 of `timestamp.body`.

    >>> signature("key", "1700000000", b"{}")[:19]
    'v1=9d713ed406bb7076'
    """
    signed = timestamp.encode() + b"." + body
    return f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


class Webhook(Sink):
    """url: http or https. secret: for the signature, None leaves it out. headers: more of them. private_addresses:
    whether hosts of one's own network are allowed. timeout_seconds: for the whole attempt. resolve: replaces the lookup
    of names. Raises UsageError.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        secret: str | None = None,
        headers: Mapping[str, str] | None = None,
        thumbnail: bool = True,
        private_addresses: bool = False,
        timeout_seconds: float = 5.0,
        resolve: Resolve = resolve,
    ) -> None:
        super().__init__(name)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UsageError(f"a webhook is http:// or https:// with a host and no password, got {host_only(url)}")
        self.shown = host_only(url)
        self._host, self._tls = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._netloc, self._secret, self._headers = parts.netloc, secret, dict(headers or {})
        self._thumbnail, self._private, self._seconds = thumbnail, private_addresses, timeout_seconds
        self._resolve = resolve
        self._clean = Redactor([url, self._path, *self._headers.values(), *([secret] if secret else [])])

    def deliver(self, message: Message, *, now: datetime) -> Outcome:
        body = self._body(message)
        try:
            addresses = self._resolve(self._host, self._port)
            if not self._private and any(is_private(address) for address in addresses):
                return Outcome(
                    "later", f"{self._host} is a private address: private_addresses: true in the site file allows it"
                )
            with self._connection(addresses) as connection:
                connection.request("POST", self._path, body, self._all_headers(message, body, now))
                response = connection.getresponse()
                return _outcome(response.status, response.getheader("Retry-After"), now)
        except (OSError, http.client.HTTPException) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                said = f"no answer within {self._seconds:g} s"
            return Outcome("later", self._clean(f"{self.shown}: {' '.join(said.split())}"))

    def _body(self, message: Message) -> bytes:
        content = message.as_json()
        if self._thumbnail and message.thumbnail is not None:
            picture = base64.b64encode(message.thumbnail).decode()
            content["thumbnail"] = {"type": "image/jpeg", "base64": picture}
        return json.dumps(content, allow_nan=False).encode()

    def _all_headers(self, message: Message, body: bytes, now: datetime) -> dict[str, str]:
        stamp = str(int(now.timestamp()))
        headers = {
            "Host": self._netloc,
            "Content-Type": "application/json",
            "User-Agent": f"oddwatch/{__version__}",
            "Connection": "close",
            KEY: message.key,
            TIMESTAMP: stamp,
            **self._headers,
        }
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, stamp, body)
        return headers

    @contextmanager
    def _connection(self, addresses: list[str]) -> Iterator[http.client.HTTPConnection]:
        """Open until the time is up, even if the receiver sends a byte now and then."""
        if not addresses:
            raise OSError(f"{self._host} has no address")
        last: OSError | None = None
        for address in addresses:
            try:
                plain = socket.create_connection((address, self._port), timeout=self._seconds / len(addresses))
                break
            except OSError as error:
                last = error
        else:
            assert last is not None
            raise last
        plain.settimeout(self._seconds)
        used: socket.socket = plain
        if self._tls:
            context = ssl.create_default_context()
            used = context.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            with suppress(OSError):
                used.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        try:
            if isinstance(used, ssl.SSLSocket):
                used.do_handshake()
            connection = http.client.HTTPConnection(self._host, self._port)
            connection.sock = used
            yield connection
        except (OSError, http.client.HTTPException) as error:
            if overdue.is_set():
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()
            used.close()


def _outcome(status: int, retry_after: str | None, now: datetime) -> Outcome:
    if 200 <= status < 300:
        return DELIVERED
    said = f"{status} {http.client.responses.get(status, '')}".strip()
    if 300 <= status < 400:
        return Outcome("later", f"{said}: redirects are not followed, give the address that it leads to")
    if 400 <= status < 500 and status not in _LATER:
        return Outcome("never", said)
    return Outcome("later", said, _seconds_to_wait(retry_after, now))


def _seconds_to_wait(text: str | None, now: datetime) -> float | None:
    """From Retry-After: seconds, or a date. None for what is neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
