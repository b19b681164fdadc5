"""One stream of server-sent events per page: which operation changed, never what changed."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio as redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from redis.asyncio.client import PubSub

from portal.operations.events import CHANNEL

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
# Long enough to be cheap, short enough that an account that was switched off stops listening.
LIFETIME_SECONDS = 600.0
# Changes that come faster than anybody can read are told once.
GATHER_SECONDS = 0.2
RETRY = "retry: 3000\n\n"


async def events(request: HttpRequest) -> HttpResponseBase:
    """`GET /events/?operation=<id>`: changes of that operation, or of all of them."""
    try:
        only = str(uuid.UUID(request.GET["operation"])) if "operation" in request.GET else None
    except ValueError:
        return HttpResponseBadRequest("operation: expected the id of an operation")
    # The stream outlives the sign-in check by minutes and must not hold its database connection.
    await sync_to_async(connections.close_all)()
    return StreamingHttpResponse(
        _stream(only),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(only: str | None) -> AsyncIterator[str]:
    """Text of the stream until the browser leaves, the lifetime ends or Valkey is gone; the browser then comes back."""
    yield RETRY
    try:
        async with redis.Redis.from_url(settings.VALKEY_URL) as client, client.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            # Only Valkey's confirmation means that nothing is missed from here on.
            await subscription.get_message(timeout=HEARTBEAT_SECONDS)
            yield _event("ready", {})
            async for text in _relay(subscription, only):
                yield text
    except redis.RedisError as error:
        log.warning("event stream ended: %s", error)


async def _relay(subscription: PubSub, only: str | None) -> AsyncIterator[str]:
    end = time.monotonic() + LIFETIME_SECONDS
    while time.monotonic() < end:
        first = await subscription.get_message(ignore_subscribe_messages=True, timeout=HEARTBEAT_SECONDS)
        if first is None:
            yield ": still here\n\n"
            continue
        for change in (await _gather(subscription, first)).values():
            if only in (None, change["id"]):
                yield _event("operation", change)


async def _gather(subscription: PubSub, first: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The last change of each operation within a moment of the first one."""
    changes: dict[str, dict[str, Any]] = {}
    message: dict[str, Any] | None = first
    await asyncio.sleep(GATHER_SECONDS)
    while message is not None:
        change = json.loads(message["data"])
        changes[change["id"]] = change
        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=0)
    return changes


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
