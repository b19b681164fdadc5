"""How answers reach whoever asked, whole or piece by piece; the model stops when nobody listens any more."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import StreamingResponse

# Told to nginx too, whose buffers would hold back what is meant to be read at once.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event_stream(events: AsyncGenerator[str, None]) -> StreamingResponse:
    """Server-sent events, each as it is made."""
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)


async def read_whole(tokens: AsyncGenerator[str, None], request: Request) -> None:
    """Read an answer to its end, or until the one who asked is gone."""
    async with aclosing(tokens) as pieces:
        async for _piece in pieces:
            if await request.is_disconnected():
                break
