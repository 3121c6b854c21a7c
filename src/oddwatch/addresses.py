"""Addresses (`scheme://...`): how they are shown without what is secret in them, and which hosts are private.

The one place that takes secrets out of text. It resolves no names and opens nothing.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_URL_IN_TEXT = re.compile(r"[a-z][a-z0-9+.-]+://[^\s\"'<>]+", re.IGNORECASE)
_SECRET = re.compile(r"((?:user|usr|login|pass|pwd|token|secret|auth|sig|key)\w*=)[^&;/#]*", re.IGNORECASE)
HIDDEN = "***"
_SHORTEST = 4
"""Shorter secrets are not looked for in text: `1` would be found everywhere. Whole addresses are, always."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether this is an address such as `rtsp://camera/1` and not a path.

    >>> is_url("rtsp://camera/1"), is_url("C:/videos/a.mp4")
    (True, False)
    """
    return _URL.match(os.fspath(path)) is not None


def scheme_of(address: str) -> str:
    """What stands before `://`, in small letters; empty for a path.

    >>> scheme_of("RTSP://camera/1"), scheme_of("/dev/video0")
    ('rtsp', '')
    """
    found = _URL.match(address)
    return found.group()[:-3].lower() if found else ""


def display_name(path: str | os.PathLike[str]) -> str:
    """How to call a video in tables, logs and errors. A URL loses its user name, password and tokens.

    All up to the last `@` goes, so that a password which itself holds `@`, `/` or `?` cannot show in part.

    >>> display_name("rtsp://admin:p@ss/word@10.0.0.7:554/live?token=abc&channel=2")
    'rtsp://10.0.0.7:554/live?token=***&channel=2'
    >>> display_name("videos/monday.mp4")
    'videos/monday.mp4'
    """
    text = os.fspath(path)
    scheme = _URL.match(text)
    if scheme is None:
        return text
    return scheme.group() + _SECRET.sub(rf"\1{HIDDEN}", text[scheme.end() :].rpartition("@")[2])


def may_hide(address: str) -> bool:
    """Whether it may hold a secret: an address, or what could be one with a mistake in it. A path of a file does not.

    >>> [may_hide(one) for one in ("rtsp://10.0.0.7/x", "me:pw@10.0.0.7/x", "10.0.0.7/live?key=1", "videos/a.mp4")]
    [True, True, True, False]
    """
    return is_url(address) or any(letter in address for letter in "@?=&")


def host_only(address: str) -> str:
    """Scheme, host and port: for services whose path is the secret, as with Slack's.

    >>> host_only("https://me:pw@hooks.example:8443/services/T0/B0/secret?x=1"), host_only("tgram://123:abc/42")
    ('https://hooks.example:8443/***', 'tgram://***')
    """
    scheme = scheme_of(address)
    if scheme not in ("http", "https"):
        return f"{scheme}://{HIDDEN}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return f"{scheme}://{HIDDEN}"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}{f':{port}' if port else ''}/{HIDDEN}"


def is_private(host: str) -> bool:
    """Whether an IP address is one that the internet does not route to a stranger: private, loopback, link-local,
    multicast, reserved, or one of IPv6 that stands for such a one of IPv4. Raises ValueError for a name.

    >>> is_private("127.0.0.1"), is_private("::ffff:10.0.0.1"), is_private("169.254.169.254"), is_private("9.9.9.9")
    (True, True, True, False)
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.ip_address(int(address) & 0xFFFFFFFF)  # type: ignore[assignment]
        if inner is not None and not inner.is_global:
            return True
    return not address.is_global or address.is_multicast


class Redactor(logging.Filter):
    """Takes known secrets, and what is secret in any address, out of text. As a filter of a log handler: out of logs.

    secrets: whole addresses, passwords, keys. Of an address its user information is a secret of its own, as is each
    spelling with and without percent signs.

    >>> clean = Redactor(["rtsp://admin:p%40ss@camera/1", "hunter22"])
    >>> clean("401 for admin:p%40ss, p@ss, hunter22 at https://me:pw@other/x?token=1")
    '401 for ***, ***, *** at https://other/x?token=***'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        found = {spelling for secret in secrets for spelling in _spellings(secret)}
        longest_first = sorted(found, key=lambda secret: (-len(secret), secret))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _URL_IN_TEXT.sub(lambda found: display_name(found.group()), text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass, with its message and its traceback cleaned."""
        record.msg, record.args = self(record.getMessage()), None
        if record.exc_info:
            record.exc_text = self(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


def _spellings(secret: str) -> Iterator[str]:
    parts = [secret]
    if scheme := _URL.match(secret):
        login = secret[scheme.end() :].rpartition("@")[0]
        user, colon, password = login.partition(":")
        parts += [login, password if colon else user]
    for part in parts:
        for one in (part, unquote(part)):
            yield from (s for s in (one, quote(one), quote(one, safe=""), quote_plus(one)) if len(s) >= _SHORTEST)
