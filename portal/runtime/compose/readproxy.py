"""A Docker Engine that only tells: what shows pages may ask it a few questions, and nothing else.

The Engine API has no rights of its own: whoever may connect may do everything, and even a GET reads secrets (`archive`)
or writes to a container (`attach/ws`). So this is a list of what may be asked, not of what may not; the path is
compared as it came, byte by byte, and of the query only known names go on. Answers that describe a container lose its
environment.

`uvicorn portal.runtime.compose.readproxy:application`, with DOCKER_HOST naming the engine's socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Json = Any
CONTAINER = rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
VERSION = rb"(?P<version>/v1\.[0-9]{1,2})?"
# Streams end with whoever reads them; everything else is answered at once.
PATIENCE = httpx.Timeout(30, read=None)


@dataclass(frozen=True, slots=True)
class Question:
    """One question that may be asked. `query`: the names that go on; `masked` takes out of the answer what nobody here
    may see, None passes it on as it comes."""

    path: re.Pattern[bytes]
    query: frozenset[str] = frozenset()
    masked: Callable[[Json], Json] | None = None
    methods: frozenset[str] = frozenset({"GET"})


def _asked(path: bytes, *query: str, masked: Callable[[Json], Json] | None = None, head: bool = False) -> Question:
    methods = frozenset({"GET", "HEAD"} if head else {"GET"})
    return Question(re.compile(VERSION + path), frozenset(query), masked, methods)


def container_masked(tree: Json) -> Json:
    """A container without its environment and the options of its log, which can hold credentials."""
    found = {**tree, "Config": {**tree.get("Config", {}), "Env": []}}
    host = {**tree.get("HostConfig", {})}
    if "LogConfig" in host:
        host["LogConfig"] = {"Type": (host["LogConfig"] or {}).get("Type", ""), "Config": {}}
    return {**found, "HostConfig": host}


def volumes_masked(tree: Json) -> Json:
    """Volumes without the options of their drivers, which can hold the password of a network share."""
    return {**tree, "Volumes": [{**volume, "Options": None} for volume in tree.get("Volumes") or []]}


QUESTIONS = (
    _asked(rb"/_ping", head=True),
    _asked(rb"/version"),
    _asked(rb"/events", "since", "until", "filters"),
    _asked(rb"/containers/json", "all", "limit", "size", "filters"),
    _asked(rb"/images/json", "all", "filters", "digests"),
    _asked(rb"/networks", "filters"),
    _asked(rb"/volumes", "filters", masked=volumes_masked),
    _asked(rb"/containers/" + CONTAINER + rb"/json", "size", masked=container_masked),
    _asked(rb"/containers/" + CONTAINER + rb"/stats", "stream", "one-shot"),
    _asked(
        rb"/containers/" + CONTAINER + rb"/logs",
        *("stdout", "stderr", "follow", "since", "until", "timestamps", "tail"),
    ),
)


def question(method: str, path: bytes) -> Question | None:
    """What is asked, if it may be."""
    return next((one for one in QUESTIONS if method in one.methods and one.path.fullmatch(path)), None)


class ReadProxy:
    """The proxy as an ASGI application in front of the engine behind a unix socket."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        # Older servers leave the raw path out; then nothing can be compared byte by byte.
        found = question(scope["method"], scope.get("raw_path") or b"")
        if found is None or _upgrades(scope):
            return await _answer(send, 403, {"message": "this may not be asked here"})
        # Whoever reads along ends the stream by leaving.
        tasks = {asyncio.ensure_future(self._pass_on(scope, found, send)), asyncio.ensure_future(_left(receive))}
        _, unfinished = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self, scope: Scope, found: Question, send: Send) -> None:
        path = bytes(scope["raw_path"]).decode("ascii")
        query = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] in found.query]
        url = f"http://docker{path}" + (f"?{urlencode(query)}" if query else "")
        transport = httpx.AsyncHTTPTransport(uds=self._socket)
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE, trust_env=False) as client:
            try:
                told = await client.send(client.build_request(scope["method"], url), stream=True)
            except (httpx.HTTPError, OSError):
                return await _answer(send, 502, {"message": "the Docker Engine does not answer"})
            async with aclosing(told):
                if found.masked and told.is_success:
                    return await _answer(send, told.status_code, found.masked(json.loads(await told.aread())))
                return await _relay(told, send)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _upgrades(scope: Scope) -> bool:
    return any(name.lower() in (b"upgrade", b"http2-settings") for name, _ in scope["headers"])


async def _relay(told: httpx.Response, send: Send) -> None:
    kind = told.headers.get("content-type", "application/octet-stream").encode("latin-1")
    await send({"type": "http.response.start", "status": told.status_code, "headers": [(b"content-type", kind)]})
    async for piece in told.aiter_raw():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, tree: Json) -> None:
    body = json.dumps(tree).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


application = ReadProxy(os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock")
