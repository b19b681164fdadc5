"""Style sheets, scripts and icons: addressed by their content, served without blocking the event loop.

No build step stands between a checkout and a page: files are found where their apps keep them, and a hash of
the content in the address lets browsers keep them for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from wsgiref.headers import Headers

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from whitenoise import WhiteNoise

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

FOREVER = "public, max-age=31536000, immutable"
BRIEFLY = "public, max-age=60"
CHUNK = 64 * 1024


class HashedStorage(StaticFilesStorage):
    """Adds `?v=<hash of the content>` to every address."""

    def url(self, name: str | None) -> str:
        address = super().url(name)
        version = content_hash(name) if name else ""
        return f"{address}?v={version}" if version else address


@lru_cache(maxsize=256)
def content_hash(name: str) -> str:
    """Ten hex digits of the SHA-256 of a static file; empty when there is no such file."""
    found = finders.find(name)
    return hashlib.sha256(Path(found).read_bytes()).hexdigest()[:10] if found else ""


class StaticFiles:
    """ASGI application: answers what lies below STATIC_URL, passes the rest on."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.files = _collect()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.files.files.get(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self.application(scope, receive, send)
            return
        response = await sync_to_async(found.get_response, thread_sensitive=False)(scope["method"], _environ(scope))
        headers = Headers(list(response.headers))
        if b"v=" in scope.get("query_string", b""):
            headers["Cache-Control"] = FOREVER
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": int(response.status), "headers": raw})
        await _send_body(response.file, send)


async def _send_body(file: BinaryIO | None, send: Send) -> None:
    if file is None:
        await send({"type": "http.response.body", "body": b""})
        return
    read = sync_to_async(file.read, thread_sensitive=False)
    try:
        while chunk := await read(CHUNK):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        file.close()


def _collect() -> WhiteNoise:
    files = WhiteNoise(None, allow_all_origins=False, max_age=60, add_headers_function=_add_headers)
    for finder in finders.get_finders():
        for storage in getattr(finder, "storages", {}).values():
            files.add_files(storage.location, prefix=settings.STATIC_URL)
    return files


def _add_headers(headers: Headers, _path: str, _url: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Cache-Control"] = BRIEFLY


def _environ(scope: Scope) -> dict[str, str]:
    """Request headers as WSGI names them, which is what whitenoise reads."""
    return {
        "HTTP_" + name.decode("latin-1").upper().replace("-", "_"): value.decode("latin-1")
        for name, value in scope["headers"]
    }
