"""A web server and a mail server that keep what they are sent, for tests of alerts."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.free_ports import free_ports


@dataclass
class Calls:
    """What a web server was sent, and how it answers."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def wait_for(self, told: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """The first body that fits, once it is there."""
        deadline = time.monotonic() + seconds
        while True:
            found = next((body for body in list(self.bodies) if told(body)), None)
            if found is not None:
                return found
            assert time.monotonic() < deadline, f"not told within {seconds} s; told were {self.bodies}"
            time.sleep(0.1)


@contextmanager
def web_server() -> Iterator[Calls]:
    """Takes JSON by POST, and notes any other request."""
    calls = Calls()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            calls.requests.append((self.command, self.path, dict(self.headers)))
            if body:
                calls.bodies.append(json.loads(body))
            self.send_response(calls.status)
            for name, value in calls.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"an answer that quotes what it was sent")

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Nothing on the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    calls.port = server.server_port
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield calls
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Mails:
    """What a mail server took."""

    port: int = 0
    answer: str = "250 OK"
    taken: list[tuple[list[str], Message]] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep it, whatever is answered."""
        content = envelope.content
        assert isinstance(content, bytes)
        self.taken.append((envelope.rcpt_tos, message_from_bytes(content)))
        return self.answer


@contextmanager
def mail_server(encryption: Literal["none", "starttls", "tls"] = "none") -> Iterator[Mails]:
    """Speaks SMTP on this machine; with STARTTLS it takes nothing before, with TLS it speaks nothing else."""
    mails = Mails(*free_ports(1))
    options: dict[str, Any] = {
        "none": lambda: {},
        "starttls": lambda: {"tls_context": _certified(), "require_starttls": True},
        "tls": lambda: {"ssl_context": _certified()},
    }[encryption]()
    controller = Controller(mails, hostname="127.0.0.1", port=mails.port, **options)
    controller.start()
    try:
        yield mails
    finally:
        controller.stop()


def _certified() -> ssl.SSLContext:
    """A server's context with a certificate of its own making."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(file)
    return context
