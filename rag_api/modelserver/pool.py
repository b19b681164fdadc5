"""Which models are loaded: lazily, one request at a time each, unloaded when idle.

Requests of one model queue up, questions before whole documents, and only so many of them.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rag_api.modelserver.child import Spec
from rag_api.modelserver.errors import ServerBusyError
from rag_api.modelserver.gguf import read_header
from rag_api.modelserver.line import Line
from rag_api.modelserver.names import ModelName
from rag_api.modelserver.runner import Runner
from rag_api.modelserver.store import MODEL, ONNX, TOKENIZER, Installed, Store

DEFAULT_CONTEXT = 4096
# "For ever" in Ollama's answers.
_NEVER = datetime(2318, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded model as `/api/ps` shows it; `memory` in bytes."""

    model: Installed
    memory: int
    context: int
    expires_at: datetime


@dataclass(slots=True, eq=False)
class _Slot:
    """A model's place: who waits, what runs."""

    lock: Line = field(default_factory=Line)
    pending: int = 0
    model: Installed | None = None
    runner: Runner | None = None
    keep_alive: float = 0.0
    expires_at: datetime = _NEVER
    timer: asyncio.TimerHandle | None = None

    def unload(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.runner is not None:
            self.runner.stop()
        self.timer = self.runner = None

    def schedule_unload(self) -> None:
        """Start the idle clock; called when a request has left the runner."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer, self.expires_at = None, _NEVER
        if self.keep_alive <= 0 and self.pending <= 1:
            self.unload()
        elif math.isfinite(self.keep_alive):
            self.expires_at = datetime.now(UTC) + timedelta(seconds=self.keep_alive)
            self.timer = asyncio.get_running_loop().call_later(self.keep_alive, self._expire)

    def _expire(self) -> None:
        # In use: the clock starts again when that request leaves.
        if not self.lock.locked():
            self.unload()


class ModelPool:
    """All loaded models of a store.

    Args:
        max_queue: requests that may wait for one model besides the one that runs.
    """

    def __init__(self, store: Store, max_queue: int) -> None:
        self._store = store
        self._max_queue = max_queue
        self._slots: dict[ModelName, _Slot] = {}
        self._settling: set[asyncio.Task[None]] = set()

    @contextmanager
    def admit(self, name: ModelName) -> Iterator[None]:
        """Count a request of a model for its whole life, however many turns it takes.

        Raises:
            ServerBusyError: the queue is full.
        """
        slot = self._slots.setdefault(name, _Slot())
        if slot.pending > self._max_queue:
            raise ServerBusyError("server busy, please try again.  maximum pending requests exceeded")
        slot.pending += 1
        try:
            yield
        finally:
            slot.pending -= 1

    @asynccontextmanager
    async def turn(
        self, model: Installed, context: int | None, keep_alive: float, *, question: bool = False
    ) -> AsyncIterator[Runner]:
        """The model's process, loaded, to oneself for one request.

        Args:
            context: tokens wanted, None for what is loaded or the default.
            keep_alive: seconds to stay loaded afterwards; 0 unloads at once, infinity never.
            question: goes before what can wait.

        Raises:
            StoreDamagedError: a blob is missing or damaged.
            RunnerFailedError: the model could not be loaded.
        """
        slot = self._slots.setdefault(model.name, _Slot())
        await slot.lock.acquire(question=question)
        try:
            runner = await self._loaded(slot, model, context)
            slot.keep_alive = keep_alive
            yield runner
        finally:
            self._leave(slot)

    def loaded(self) -> list[Loaded]:
        """What is in memory now."""
        return [
            Loaded(slot.model, slot.runner.memory, slot.runner.spec.context, slot.expires_at)
            for slot in self._slots.values()
            if slot.runner is not None and slot.model is not None and slot.runner.alive
        ]

    async def unload(self, name: ModelName) -> None:
        """Take a model out of memory once its running request has ended."""
        slot = self._slots.get(name)
        if slot is None:
            return
        await slot.lock.acquire()
        try:
            slot.unload()
        finally:
            slot.lock.release()

    def close(self) -> None:
        """End all processes."""
        for slot in self._slots.values():
            slot.unload()

    async def _loaded(self, slot: _Slot, model: Installed, context: int | None) -> Runner:
        if slot.timer is not None:
            slot.timer.cancel()
        held = slot.runner
        if held is not None and await self._serves(slot, held, model, context):
            held.load_ns = 0
            return held
        slot.unload()
        started = time.perf_counter_ns()
        slot.model, slot.runner = model, Runner(await self._spec(model, context))
        await slot.runner.ready()
        slot.runner.load_ns = time.perf_counter_ns() - started
        return slot.runner

    async def _serves(self, slot: _Slot, held: Runner, model: Installed, context: int | None) -> bool:
        if not held.alive or slot.model is None or slot.model.digest != model.digest:
            return False
        return context is None or model.is_embedder or held.spec == await self._spec(model, context)

    async def _spec(self, model: Installed, context: int | None) -> Spec:
        return await asyncio.to_thread(_spec, self._store, model, context or DEFAULT_CONTEXT)

    def _leave(self, slot: _Slot) -> None:
        runner = slot.runner
        if runner is not None and runner.busy:
            task = asyncio.get_running_loop().create_task(self._settle(slot, runner))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
            return
        slot.schedule_unload()
        slot.lock.release()

    async def _settle(self, slot: _Slot, runner: Runner) -> None:
        try:
            await runner.settle()
            if not runner.alive:
                slot.unload()
            slot.schedule_unload()
        finally:
            slot.lock.release()


def _spec(store: Store, model: Installed, context: int) -> Spec:
    """Verify the blobs and say what to start.

    Raises:
        StoreDamagedError: a blob is missing or damaged.
    """
    roles = {MODEL: "model", ONNX: "model", TOKENIZER: "tokenizer"}
    files = tuple(
        (roles[layer.media_type], str(store.blobs.verify(layer.digest)))
        for layer in model.layers
        if layer.media_type in roles
    )
    threads = len(os.sched_getaffinity(0))
    if model.is_embedder:
        limit = int(store.config(model).get("model_info", {}).get("bert.context_length", 256))
        return Spec("onnx", files, limit, threads)
    trained = read_header(store.blobs.path(next(layer.digest for layer in model.layers if layer.media_type == MODEL)))
    return Spec("llama", files, min(context, trained.context_length or context), threads)
