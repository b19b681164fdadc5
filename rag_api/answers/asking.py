"""One question from its arrival to the end of its answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from rag_api.answers.chat import Token, stream_chat
from rag_api.answers.ending import ending, whole_sentences
from rag_api.answers.prompt import Message, Prompt, build_prompt, cited
from rag_api.errors import EmbedderRefusedError, VectorsRefusedError, search_refused
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
    """A question whose passages are known; `answer` grows while `tokens` is read.

    Attributes:
        further: passages about the question that the model was not given.
        wishes: options of the model's that the asker wants otherwise.
        cut: whether the model had more to say than it was allowed to.
        prompt_tokens: as the model counted them, an estimate until it says so; 0 when it is not asked.
        answer_tokens: what it wrote.
    """

    services: Services
    prompt: Prompt
    further: list[Hit]
    wishes: Mapping[str, object]
    answer: str = ""
    cut: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0

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
        """Yield the answer piece by piece.

        Raises:
            ModelUnavailableError: the model cannot answer.
        """
        if not self.found:
            self.answer = NOT_FOUND
            yield NOT_FOUND
            return
        try:
            async with aclosing(self._written()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.answer = self.answer.strip()

    async def _written(self) -> AsyncGenerator[str, None]:
        settings, messages = self.services.settings, self.prompt.messages
        self.prompt_tokens = self.prompt.tokens
        async with aclosing(stream_chat(settings.ollama_url, settings.chat_model, messages, self.wishes)) as stream:
            async for token in stream:
                self._take(token)
                end = ending(self.answer)
                if end is not None:
                    self.answer = self.answer[:end]
                    return
                if token.text:
                    yield token.text
                if token.cut:
                    self.answer = whole_sentences(self.answer)

    def _take(self, token: Token) -> None:
        self.answer += token.text
        self.answer_tokens += bool(token.text)
        self.prompt_tokens = token.prompt_tokens or self.prompt_tokens
        self.cut = token.cut


def find(
    services: Services,
    question: str,
    bases: Sequence[UUID],
    history: Sequence[Message],
    *,
    instructions: str = "",
    wishes: Mapping[str, object] | None = None,
) -> Answering:
    """Find the passages of a question and build the prompt; blocks, and keeps nothing.

    Args:
        bases: the bases whose documents the asker may read.

    Raises:
        ApiError: 503, the embedder or Chroma refused.
        UnavailableError: one of them does not answer.
    """
    try:
        retrieval = _retrieve(services, question, bases, history)
    except (EmbedderRefusedError, VectorsRefusedError) as error:
        raise search_refused() from error
    hits = spread(retrieval.convincing, lambda hit: hit.document_id)[:SOURCES]
    prompt = build_prompt(question, hits, history, instructions)
    return Answering(services, prompt, hits[len(prompt.used) :], wishes or {})


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


def _retrieve(services: Services, question: str, bases: Sequence[UUID], history: Sequence[Message]) -> Retrieval:
    found = hybrid(services, question, bases, CANDIDATES)
    earlier = [message["content"] for message in history if message["role"] == "user"]
    if found.found or not earlier:
        return found
    # "And how heavy is it?" finds nothing alone; with the question before it, it may.
    return hybrid(services, f"{earlier[-1]}\n{question}", bases, CANDIDATES)
