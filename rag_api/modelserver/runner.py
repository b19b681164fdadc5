"""The server's side of a loaded model's process."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from rag_api.modelserver import child
from rag_api.modelserver.child import Event, Spec
from rag_api.modelserver.errors import BadRequestError, ModelServerError, PromptTooLongError, RunnerFailedError

_LOAD_SECONDS = 300.0
# Reading a long prompt cannot be interrupted; after this the process is ended instead, and loaded again when needed.
_SETTLE_SECONDS = 2.0


class Runner:
    """A process with one model in it. One request at a time; the caller sees to that."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.load_ns = 0
        self.busy = True
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=child.main, args=(theirs, spec), daemon=True, name="ragkeep-model")
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def memory(self) -> int:
        """Resident bytes of the process, 0 when it is gone."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def ready(self) -> None:
        """Wait until the model is loaded.

        Raises:
            RunnerFailedError: it could not be, or took more than 5 minutes.
        """
        started = time.perf_counter_ns()
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                await self._receive()
        except TimeoutError:
            raise RunnerFailedError(f"the model was not loaded within {_LOAD_SECONDS:g} s") from None
        self.load_ns = time.perf_counter_ns() - started
        self.busy = False

    async def stream(self, request: dict[str, Any]) -> AsyncGenerator[Event, None]:
        """Send a request and yield its events; the last one is ("end", result).

        Left early (closed or cancelled), the child is told to stop and `busy` stays true until `settle` ends.

        Raises:
            BadRequestError, PromptTooLongError: the engine refused the request.
            RunnerFailedError: it failed or died.
        """
        self.busy = True
        self._send(("run", request))
        word = ""
        try:
            while word != "end":
                event = await self._receive()
                word = event[0]
                self.busy = word != "end"
                yield event
        except ModelServerError:
            self.busy = False
            raise
        finally:
            if self.busy:
                with contextlib.suppress(RunnerFailedError):
                    self._send(("cancel", None))

    async def settle(self) -> None:
        """After an early end: let the child finish, or end it."""
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                while self.busy:
                    self.busy = (await self._receive())[0] != "end"
        except (TimeoutError, ModelServerError):
            self.stop()
        self.busy = False

    def stop(self) -> None:
        """End the process now; it has nothing to lose."""
        self._pipe.close()
        self._process.kill()
        self._process.join(timeout=5)

    def _send(self, message: tuple[str, Any]) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            raise self._died() from None

    async def _receive(self) -> Event:
        try:
            await self._readable()
            event: Event = self._pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if event[0] == "error":
            raise _error(*event[1])
        return event

    async def _readable(self) -> None:
        """Wait for input without a thread; a whole message follows at once, so `recv` does not block for long."""
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        handle = self._pipe.fileno()
        loop.add_reader(handle, arrived.set)
        try:
            await arrived.wait()
        finally:
            loop.remove_reader(handle)

    def _died(self) -> RunnerFailedError:
        self._process.join(timeout=1)
        return RunnerFailedError(
            f"the process of the model ended unexpectedly (status {self._process.exitcode}); try again"
        )


def _error(kind: str, message: str, data: dict[str, int]) -> ModelServerError:
    if kind == "too_long":
        return PromptTooLongError(data["tokens"], data["limit"])
    return BadRequestError(message) if kind == "bad_request" else RunnerFailedError(message)
