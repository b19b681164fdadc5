"""Answers that belong to a conversation: what is asked and answered is kept there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import anyio
from fastapi.concurrency import run_in_threadpool

from rag_api.access import User
from rag_api.answers.asking import Answering, find
from rag_api.answers.conversations import answer_keep, conversation_begin, conversation_history
from rag_api.deps import visible_bases
from rag_api.errors import ApiError, ModelUnavailableError
from rag_api.services import Services


@dataclass(slots=True)
class KeptAnswering:
    """An answer and the conversation that it is kept in."""

    conversation_id: UUID
    answering: Answering
    _kept: bool = False

    async def tokens(self) -> AsyncGenerator[str, None]:
        """Yield the answer piece by piece; what has been read is kept also when the reader goes away.

        Raises:
            ApiError: 503, the model cannot answer.
        """
        try:
            async with aclosing(self.answering.tokens()) as pieces:
                async for piece in pieces:
                    yield piece
        except ModelUnavailableError as error:
            message = f"{error.message} Your question is kept in the conversation; ask again."
            raise ApiError(error.status, error.code, message) from error
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._keep)

    def _keep(self) -> None:
        done = self.answering
        if not done.answer or self._kept:
            return
        self._kept = True
        with done.services.pool.connection() as connection:
            answer_keep(
                connection,
                self.conversation_id,
                answer=done.answer,
                found=done.found,
                sources=done.sources(),
                model=done.model,
            )


def begin(
    services: Services, user: User, question: str, *, base: UUID | None, conversation_id: UUID | None
) -> KeptAnswering:
    """Keep the question, find its passages and build the prompt; blocks.

    Raises:
        ApiError: 404 for a base or a conversation that is not the user's to see; 503, the embedder or Chroma refused.
        UnavailableError: one of them does not answer; the question is kept already.
    """
    bases = visible_bases(services, user, base)
    with services.pool.connection() as connection:
        conversation = conversation_begin(connection, user, question, base_id=base, conversation_id=conversation_id)
        history = conversation_history(connection, conversation)
    return KeptAnswering(conversation, find(services, question, bases, history))
