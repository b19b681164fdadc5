"""Servers that only listen: what arrives is kept for the test to look at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.servers import free_port


@dataclass(slots=True)
class Webhook:
    """An HTTP server that takes every POST; `status` is what it answers."""

    port: int
    status: int = 200
    calls: list[tuple[str, str]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Listen until the block ends; `calls` holds (path, body)."""
    heard = Webhook(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            heard.calls.append((self.path, body))
            self.send_response(heard.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


@dataclass(slots=True)
class MailServer:
    """A mail server; `mails` are whole messages."""

    port: int
    mails: list[str] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name there
        content = envelope.content or b""
        self.mails.append(content.decode(errors="replace") if isinstance(content, bytes) else content)
        return "250 taken"


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A mail server on this machine that takes everything."""
    heard = MailServer(free_port())
    controller = Controller(heard, hostname="127.0.0.1", port=heard.port)
    controller.start()
    try:
        yield heard
    finally:
        controller.stop()
