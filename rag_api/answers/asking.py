"""One question from its arrival to the kept answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio
from fastapi.concurrency import run_in_threadpool

from rag_api.access import User
from rag_api.answers.chat import stream_chat
from rag_api.answers.conversations import answer_keep, conversation_begin, conversation_history
from rag_api.answers.ending import ending, whole_sentences
from rag_api.answers.prompt import Message, Prompt, build_prompt, cited
from rag_api.deps import visible_bases
from rag_api.retrieval.fusion import spread
from rag_api.retrieval.retrieve import Hit, Retrieval, hybrid
from rag_api.services import Services

# Passages shown with an answer; the model reads the first of them only.
SOURCES = 6
# Of so many they are chosen, so that one long document does not keep out all others.
CANDIDATES = 12
NOT_FOUND = "This is not in your documents: no passage in them answers the question."


@dataclass(slots=True)
class Answering:
    """A question whose passages are known; `answer` grows while `tokens` is read."""

    services: Services
    conversation_id: UUID
    prompt: Prompt
    further: list[Hit]
    """Passages about the question that the model was not given."""
    answer: str = ""
    kept: bool = field(default=False, repr=False)

    @property
    def found(self) -> bool:
        """False when no passage is about the question; then the model is not asked at all."""
        return bool(self.prompt.used)

    @property
    def model(self) -> str:
        return self.services.settings.chat_model if self.found else ""

    def sources(self) -> list[dict[str, Any]]:
        """The passages the model was given, numbered as it cites them, and behind them the further ones."""
        named = cited(self.answer, len(self.prompt.used))
        shown = [*self.prompt.used, *self.further]
        return [{"n": n, **source(hit), "cited": n in named} for n, hit in enumerate(shown, start=1)]

    async def tokens(self) -> AsyncGenerator[str, None]:
        """Yield the answer piece by piece; what has been read is kept also when the reader goes away.

        Raises:
            ApiError: 503, the model cannot answer.
        """
        try:
            if not self.found:
                self.answer = NOT_FOUND
                yield NOT_FOUND
                return
            async with aclosing(self._written()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._keep)

    async def _written(self) -> AsyncGenerator[str, None]:
        settings = self.services.settings
        async with aclosing(stream_chat(settings.ollama_url, settings.chat_model, self.prompt.messages)) as stream:
            async for token in stream:
                self.answer += token.text
                end = ending(self.answer)
                if end is not None:
                    self.answer = self.answer[:end]
                    return
                if token.text:
                    yield token.text
                if token.cut:
                    self.answer = whole_sentences(self.answer)

    def _keep(self) -> None:
        self.answer = self.answer.strip()
        if not self.answer or self.kept:
            return
        self.kept = True
        with self.services.pool.connection() as connection:
            answer_keep(
                connection,
                self.conversation_id,
                answer=self.answer,
                found=self.found,
                sources=self.sources(),
                model=self.model,
            )


def begin(
    services: Services, user: User, question: str, *, base: UUID | None, conversation_id: UUID | None
) -> Answering:
    """Keep the question, find its passages and build the prompt; blocks.

    Raises:
        ApiError: 404 for a base or a conversation that is not the user's to see.
        UnavailableError: the embedder or Chroma does not answer; the question is kept already.
    """
    bases = visible_bases(services, user, base)
    with services.pool.connection() as connection:
        conversation = conversation_begin(connection, user, question, base_id=base, conversation_id=conversation_id)
        history = conversation_history(connection, conversation)
    retrieval = _retrieve(services, question, bases, history)
    hits = spread(retrieval.convincing, lambda hit: hit.document_id)[:SOURCES]
    prompt = build_prompt(question, hits, history)
    return Answering(services, conversation, prompt, hits[len(prompt.used) :])


def source(hit: Hit) -> dict[str, Any]:
    """A hit as clients see it."""
    similarity = hit.evidence.similarity
    return {
        "document": hit.document,
        "document_id": str(hit.document_id),
        "page": hit.page,
        "heading": hit.heading,
        "passage": hit.passage,
        "score": round(hit.score, 4),
        "similarity": None if similarity is None else round(similarity, 4),
        "chunk_id": str(hit.chunk_id),
    }


def _retrieve(services: Services, question: str, bases: list[UUID], history: list[Message]) -> Retrieval:
    found = hybrid(services, question, bases, CANDIDATES)
    earlier = [message["content"] for message in history if message["role"] == "user"]
    if found.found or not earlier:
        return found
    # "And how heavy is it?" finds nothing alone; with the question before it, it may.
    return hybrid(services, f"{earlier[-1]}\n{question}", bases, CANDIDATES)
