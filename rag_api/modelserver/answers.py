"""How answers leave: one JSON object, or a stream of JSON lines whose first line decides the HTTP status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from rag_api.modelserver.errors import ModelServerError

Line = dict[str, Any]

# nginx's status for "the client went away"; nobody reads it.
_CLIENT_GONE = 499


async def ndjson(lines: AsyncIterator[Line]) -> Response:
    """Stream lines. What fails before the first line is raised; later it becomes an `error` line.

    Raises:
        ModelServerError: nothing was sent yet.
    """
    first = await anext(lines)
    return StreamingResponse(_encoded(first, lines), media_type="application/x-ndjson")


async def _encoded(first: Line, lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    yield _line(first)
    try:
        async for line in lines:
            yield _line(line)
    except ModelServerError as error:
        yield _line({"error": str(error)})
    finally:
        await _close(lines)


async def _close(lines: AsyncIterator[Line]) -> None:
    if hasattr(lines, "aclose"):
        await lines.aclose()


def _line(line: Line) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


async def while_connected(request: Request, work: Coroutine[Any, Any, Line]) -> Response:
    """The result of `work` as one JSON object; when the client goes away the work is cancelled.

    Raises:
        ModelServerError: what `work` raises.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return Response(status_code=_CLIENT_GONE)
        return JSONResponse(task.result())
    finally:
        watch.cancel()
        task.cancel()


async def joined(lines: AsyncIterator[Line]) -> Line:
    """All lines of a chat or a generation as one: the texts put together, the figures of the last."""
    texts: list[str] = []
    last: Line = {}
    async for last in lines:
        texts.append(last["message"]["content"] if "message" in last else last["response"])
    text = "".join(texts)
    return {**last, **({"message": {**last["message"], "content": text}} if "message" in last else {"response": text})}


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
