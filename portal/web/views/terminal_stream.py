"""What a terminal writes, as server-sent events; a page that lost its connection goes on where it was."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio as redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.http import HttpRequest, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from portal.terminal import wire
from portal.terminal.models import TerminalSession
from portal.web.pages import user_of
from portal.web.views.terminal import ENTRY, own_session

log = logging.getLogger(__name__)

# Long enough to be cheap, short enough that whoever may no longer read stops reading; the browser comes back by itself.
LIFETIME_SECONDS = 120.0
WAIT_SECONDS = 5.0
AT_MOST = 32
RETRY = "retry: 500\n\n"


async def stream(request: HttpRequest, session_id: uuid.UUID) -> HttpResponseBase:
    """`GET /stack/terminal/<id>/stream/`: events of base64 of what was written; `end` says why it ended."""
    after = request.headers.get("Last-Event-ID") or request.GET.get("after") or wire.NOTHING
    if not ENTRY.fullmatch(after):
        return HttpResponseBadRequest("after: expected the id of an event of this stream")
    session = await sync_to_async(_session)(request, session_id)
    return StreamingHttpResponse(
        _stream(session, after),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _session(request: HttpRequest, session_id: uuid.UUID) -> TerminalSession:
    try:
        if not user_of(request).is_staff:
            raise PermissionDenied("Only administrators may do this.")
        return own_session(request, session_id)
    finally:
        # The stream outlives this check by minutes and must not hold its database connection.
        connections.close_all()


async def _stream(session: TerminalSession, after: str) -> AsyncIterator[str]:
    yield RETRY
    try:
        async with redis.Redis.from_url(settings.VALKEY_URL, socket_timeout=WAIT_SECONDS + 5) as queue:
            async for text in _relay(queue, session, after):
                yield text
    except redis.RedisError as error:
        log.warning("stream of terminal %s ended: %s", session.pk, error)


async def _relay(queue: redis.Redis, session: TerminalSession, after: str) -> AsyncIterator[str]:
    key, until = wire.output(session.pk), time.monotonic() + LIFETIME_SECONDS
    # What ended long ago has no output any more.
    wait = 1 if session.ended_at else int(WAIT_SECONDS * 1000)
    while time.monotonic() < until:
        await queue.set(wire.reader(session.pk), 1, ex=wire.READER_SECONDS)
        found: Any = await queue.xread({key: after}, count=AT_MOST, block=wait)
        if not found:
            if ended := await sync_to_async(_ended)(session):
                yield _event(after, "end", ended)
                return
            yield ": still here\n\n"
            continue
        entries = found[0][1]
        after = entries[-1][0].decode()
        shown = [fields[b"data"] for _, fields in entries if b"data" in fields]
        if data := b"".join(wire.unsealed(session.pk, piece) for piece in shown):
            yield _event(after, "message", base64.b64encode(data).decode())
        if (end := entries[-1][1].get(b"end")) is not None:
            yield _event(after, "end", await sync_to_async(_ended)(session) or end.decode())
            return
        await asyncio.sleep(0)


def _ended(session: TerminalSession) -> str:
    """Why and how long, as the page shows it; empty as long as it is open."""
    try:
        session.refresh_from_db()
        if session.ended_at is None:
            return ""
        told = {"reason": session.reason, "words": session.get_reason_display(), "detail": session.detail}
        return json.dumps(told)
    finally:
        connections.close_all()


def _event(entry: str, name: str, data: str) -> str:
    return f"id: {entry}\nevent: {name}\ndata: {data}\n\n"
