"""One attempt: what arrives at real receivers, how it is signed, and what each way of failing is taken for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from receivers import free_port, kill, receiver, until

from oddwatch.errors import MissingExtraError, UsageError
from oddwatch.notify.base import Message
from oddwatch.notify.mqtt import Mqtt
from oddwatch.notify.services import Service
from oddwatch.notify.webhook import Webhook

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"
WATCH = Path(__file__).resolve().parent.parent / "docs" / "watch.md"


def message(**changes: Any) -> Message:
    given = {
        "key": "k1.hook",
        "kind": "event",
        "site": "home",
        "camera": "yard",
        "title": "yard: something unusual",
        "text": "left, p-value 0.001.",
        "at": NOW,
        "data": {"event": {"id": 7, "score": 4.5}},
        "thumbnail": JPEG,
    }
    return Message(**{**given, **changes})


def webhook(url: str, **options: Any) -> Webhook:
    return Webhook("hook", url, **{"private_addresses": True, "timeout_seconds": 1.0, **options})


def test_a_webhook_is_signed_and_carries_its_key_and_picture() -> None:
    with receiver() as there:
        sink = webhook(there.url + "?a=1", secret="s3cret", headers={"Authorization": "Bearer x"})
        assert sink.deliver(message(), now=NOW).how == "delivered"
    (got,) = there.taken
    stamp = got.headers["Oddwatch-Timestamp"]
    assert stamp == str(int(NOW.timestamp()))
    mac = hmac.new(b"s3cret", stamp.encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert got.headers["Oddwatch-Signature"] == f"v1={mac}"
    assert (got.headers["Idempotency-Key"], got.headers["Authorization"]) == ("k1.hook", "Bearer x")
    assert (got.headers["Host"], got.path) == (f"127.0.0.1:{there.port}", "/hook?a=1")
    sent = got.json
    assert {name: sent[name] for name in ("key", "kind", "site", "camera", "at")} == {
        "key": "k1.hook",
        "kind": "event",
        "site": "home",
        "camera": "yard",
        "at": "2026-11-23T12:00:00+00:00",
    }
    assert sent["event"] == {"id": 7, "score": 4.5}
    assert base64.b64decode(sent["thumbnail"]["base64"]) == JPEG


@pytest.mark.parametrize(
    ("status", "headers", "how", "seconds", "says"),
    [
        (204, {}, "delivered", None, ""),
        (301, {"Location": "/other"}, "later", None, "redirects are not followed"),
        (400, {}, "never", None, "400 Bad Request"),
        (401, {}, "never", None, "401"),
        (410, {}, "never", None, "410 Gone"),
        (408, {}, "later", None, "408"),
        (425, {}, "later", None, "425"),
        (429, {"Retry-After": "17"}, "later", 17.0, "429 Too Many Requests"),
        (500, {}, "later", None, "500"),
        (503, {"Retry-After": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, "later", 90.0, "503"),
        (503, {"Retry-After": "soon"}, "later", None, "503"),
    ],
)
def test_answers(status: int, headers: dict[str, str], how: str, seconds: float | None, says: str) -> None:
    with receiver(status=status, headers=headers) as there:
        outcome = webhook(there.url).deliver(message(), now=NOW)
    assert (outcome.how, outcome.wait_seconds) == (how, seconds)
    assert says in outcome.reason
    assert len(there.requests) == 1


@pytest.mark.parametrize("way", ["hang", "drip"])
def test_an_attempt_ends_when_its_time_is_up(way: str) -> None:
    with receiver(**{way: True}) as there:
        start = time.monotonic()
        outcome = webhook(there.url, timeout_seconds=0.4).deliver(message(), now=NOW)
        assert time.monotonic() - start < 5  # the receiver would never answer
    assert outcome.how == "later"
    assert outcome.reason.endswith("no answer within 0.4 s")


def test_what_is_down_is_tried_later() -> None:
    outcome = webhook(f"http://127.0.0.1:{free_port()}/secret-path").deliver(message(), now=NOW)
    assert (outcome.how, outcome.reason.split(": ")[1]) == ("later", "Connection refused")
    assert "secret-path" not in outcome.reason


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["9.9.9.9", "10.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]])
def test_a_name_that_leads_into_ones_own_network_is_refused(addresses: list[str]) -> None:
    with receiver() as there:
        url = f"http://rebound.example:{there.port}/"
        refused = webhook(url, private_addresses=False, resolve=lambda host, port: addresses)
        outcome = refused.deliver(message(), now=NOW)
    assert outcome.how == "later"
    assert "rebound.example is a private address" in outcome.reason
    assert there.requests == []


def test_the_connection_goes_to_the_address_that_was_looked_at() -> None:
    looked = []

    def resolve(host: str, port: int) -> list[str]:
        looked.append((host, port))
        return ["127.0.0.1"]

    with receiver() as there:
        sink = webhook(f"http://receiver.invalid:{there.port}/x", resolve=resolve)
        assert sink.deliver(message(), now=NOW).how == "delivered"
    assert looked == [("receiver.invalid", there.port)]
    assert there.taken[0].headers["Host"] == f"receiver.invalid:{there.port}"


def test_tls_is_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = made_certificate(tmp_path, "receiver.invalid")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with receiver() as there:
        there.down()
        there.up(lambda plain: context.wrap_socket(plain, server_side=True))

        def send(host: str) -> Any:
            url = f"https://{host}:{there.port}/"
            return webhook(url, resolve=lambda *_: ["127.0.0.1"]).deliver(message(), now=NOW)

        unknown = send("receiver.invalid")
        assert unknown.how == "later"
        assert "certificate verify failed" in unknown.reason
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert send("receiver.invalid").how == "delivered"
        assert "certificate is not valid for 'other.invalid'" in send("other.invalid").reason


def made_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private


@pytest.mark.parametrize("url", ["ftp://x/y", "http://me:pw@host/x", "http:///x", "not an address"])
def test_an_address_that_is_no_webhook(url: str) -> None:
    with pytest.raises(UsageError, match="a webhook is http:// or https://") as raised:
        Webhook("hook", url)
    assert "pw" not in str(raised.value)


def test_apprise_delivers_with_the_picture() -> None:
    with receiver() as there:
        sink = Service("phone", f"json://127.0.0.1:{there.port}/hook")
        assert sink.deliver(message(), now=NOW).how == "delivered"
        there.status = 307
        there.headers = {"Location": f"{there.url}/elsewhere"}
        assert sink.deliver(message(), now=NOW).how == "later"
    assert len(there.requests) == 2  # the redirect was not followed
    sent = there.taken[0].json
    assert (sent["title"], sent["message"]) == ("yard: something unusual", "left, p-value 0.001.")
    (attached,) = sent["attachments"]
    assert (attached["filename"], attached["mimetype"]) == ("thumbnail.jpg", "image/jpeg")
    assert base64.b64decode(attached["base64"]) == JPEG


@pytest.mark.allow_error_logs
def test_apprise_says_why_without_the_address(caplog: pytest.LogCaptureFixture) -> None:
    with receiver(status=500) as there, caplog.at_level(logging.DEBUG):
        outcome = Service("phone", f"json://me:hunter22@127.0.0.1:{there.port}/t0ken/").deliver(message(), now=NOW)
    assert outcome.how == "later"
    assert "500" in outcome.reason
    hanging = Service("phone", f"json://me:hunter22@127.0.0.1:{free_port()}/t0ken/").deliver(message(), now=NOW)
    logged = [record.getMessage() for record in caplog.records if record.name == "apprise"]
    assert len(logged) > 5
    assert not re.search("hunter22|t0ken", " ".join([outcome.reason, hanging.reason, *logged]))
    with pytest.raises(UsageError, match=r"Apprise does not take the address of sink phone, nosuch://\*\*\*") as raised:
        Service("phone", "nosuch://hunter22")
    assert "hunter22" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "package", "make"),
    [
        ("apprise", "apprise", lambda: Service("phone", "json://127.0.0.1/")),
        ("paho.mqtt.client", "paho-mqtt", lambda: Mqtt("house", "127.0.0.1", site="home", cameras=[])),
    ],
)
def test_what_is_not_installed_is_named(
    module: str, package: str, make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf'needs {package}: pip install "oddwatch\[watch\]"'):
        make()


def test_the_receiver_of_the_documents_checks_signatures_and_acts_once(tmp_path: Path) -> None:
    found = re.search(r"```python\n(# receiver\.py\n.*?)```", WATCH.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (tmp_path / "receiver.py").write_text(found[1])
    port = free_port()
    environment = {**os.environ, "WEBHOOK_SECRET": "s3cret"}
    command = [sys.executable, "receiver.py", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = f"http://127.0.0.1:{port}/"
            now = datetime.now(UTC)
            right = webhook(url, secret="s3cret")
            until(lambda: right.deliver(message(), now=now).how == "delivered")
            assert right.deliver(message(), now=now).how == "delivered"
            assert right.deliver(message(key="k2.hook", text="second"), now=now).how == "delivered"
            assert webhook(url, secret="wrong").deliver(message(key="k3"), now=now).reason.startswith("401")
            assert webhook(url).deliver(message(key="k4"), now=now).reason.startswith("401")
            old = right.deliver(message(key="k5"), now=now - timedelta(seconds=301))
            assert (old.how, old.reason[:3]) == ("later", "408")
        finally:
            kill(process)
        assert process.stdout is not None
        assert process.stdout.read().splitlines() == [
            "yard: something unusual left, p-value 0.001.",
            "yard: something unusual second",
        ]
