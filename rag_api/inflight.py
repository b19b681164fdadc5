"""How many requests this process is answering: one that is to end waits until there are none."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

# Questions about the process itself are no work.
QUESTIONS = frozenset({"/health", "/ready", "/idle"})


class InFlight:
    """Counts; the event loop is one thread, so nothing has to be locked."""

    def __init__(self) -> None:
        self.count = 0


class CountRequests:
    """Counts each request from its arrival to the end of its answer, streams included."""

    def __init__(self, app: ASGIApp, in_flight: InFlight) -> None:
        self._app, self._in_flight = app, in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in QUESTIONS:
            await self._app(scope, receive, send)
            return
        self._in_flight.count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight.count -= 1
