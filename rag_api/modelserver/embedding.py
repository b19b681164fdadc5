"""Embeddings: batches through the pool, so that a question never waits for a whole document.

A text that comes alone is taken for a question: somebody waits for it. It goes before the batches of documents.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import numpy as np

from rag_api.modelserver.errors import BadRequestError
from rag_api.modelserver.keepalive import keep_alive_seconds
from rag_api.modelserver.names import ModelName
from rag_api.modelserver.pool import ModelPool
from rag_api.modelserver.store import Installed, Store
from rag_api.modelserver.wire import EmbedRequest

# Texts a turn: a tenth to a fifth of a second of work, then the next request has its turn.
BATCH = 4
_BETWEEN_BATCHES_SECONDS = 60.0


class Embedder:
    """Answers embed requests from the pool."""

    def __init__(self, store: Store, pool: ModelPool) -> None:
        self._store = store
        self._pool = pool

    async def embed(self, request: EmbedRequest) -> dict[str, Any]:
        """Unit vectors for the texts, in their order, with counts and nanoseconds.

        Raises:
            ModelServerError: see the errors.
        """
        started = time.perf_counter_ns()
        model = self._embedding_model(request.model)
        texts = [request.input] if isinstance(request.input, str) else request.input
        keep_alive = keep_alive_seconds(request.keep_alive)
        answer: dict[str, Any] = {"model": request.model, "embeddings": [], "load_duration": 0, "prompt_eval_count": 0}
        with self._pool.admit(model.name):
            for first in range(0, len(texts), BATCH):
                last = first + BATCH >= len(texts)
                idle = keep_alive if last else max(keep_alive, _BETWEEN_BATCHES_SECONDS)
                await self._batch(model, texts[first : first + BATCH], request, idle, answer)
        return {**answer, "total_duration": time.perf_counter_ns() - started}

    async def _batch(
        self, model: Installed, texts: list[str], request: EmbedRequest, keep_alive: float, answer: dict[str, Any]
    ) -> None:
        question = isinstance(request.input, str) or len(request.input) == 1
        async with self._pool.turn(model, None, keep_alive, question=question) as runner:
            answer["load_duration"] += runner.load_ns
            async with aclosing(runner.stream({"texts": texts, "truncate": request.truncate})) as events:
                async for _, result in events:
                    vectors = await asyncio.to_thread(_vectors, result, request.dimensions)
                    answer["embeddings"].extend(vectors)
                    answer["prompt_eval_count"] += result["tokens"]

    def _embedding_model(self, name: str) -> Installed:
        model = self._store.get(ModelName.parse(name))
        if not model.is_embedder:
            raise BadRequestError(f'"{name}" does not support embeddings')
        return model


def _vectors(result: dict[str, Any], dimensions: int | None) -> list[list[float]]:
    """Rows of floats; fewer dimensions are the first ones, scaled to length 1 again, as Ollama does.

    Raises:
        BadRequestError: more dimensions than the model has.
    """
    rows = np.frombuffer(result["vectors"], dtype=np.float32).reshape(-1, result["dimension"])
    if dimensions:
        if dimensions > result["dimension"]:
            raise BadRequestError(f"dimensions: {dimensions} asked for, but the model has {result['dimension']}")
        rows = rows[:, :dimensions]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    as_lists: list[list[float]] = rows.tolist()
    return as_lists
