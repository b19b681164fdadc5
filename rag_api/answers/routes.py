"""Routes of search, answers and conversations, and what the canary of a restore asks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, StringConstraints

from rag_api.answers import conversations
from rag_api.answers.asking import source
from rag_api.answers.keeping import KeptAnswering, begin
from rag_api.answers.streams import event_stream, read_whole
from rag_api.deps import ServicesDep, UserDep, require_internal, visible_bases
from rag_api.errors import ApiError, EmbedderRefusedError, UnavailableError, VectorsRefusedError, search_refused
from rag_api.retrieval.retrieve import hybrid, nearest

router = APIRouter()

Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class SearchRequest(BaseModel):
    question: Question
    base: UUID | None = None
    k: Annotated[int, Field(ge=1, le=100)] = 8


class AskRequest(BaseModel):
    question: Question
    base: UUID | None = None
    stream: bool = False
    conversation_id: UUID | None = None


class NearestRequest(BaseModel):
    collection: Annotated[str, Field(min_length=1, max_length=200)]
    vectors: Annotated[list[list[float]], Field(min_length=1, max_length=200)]
    k: Annotated[int, Field(ge=1, le=100)] = 10


class FindRequest(BaseModel):
    question: Question
    k: Annotated[int, Field(ge=1, le=100)] = 8


class Hit(BaseModel):
    """A passage; `score` compares hits of one answer, `similarity` is the cosine and compares across answers."""

    document: str
    document_id: UUID
    page: int | None
    heading: str
    passage: str
    score: float
    similarity: float | None
    chunk_id: UUID


class Source(Hit):
    """A passage about the question; `n` is the number it is cited by, `cited` whether the answer does.

    The model was given the first ones; the others are further reading.
    """

    n: int
    cited: bool


class SearchAnswer(BaseModel):
    """`found` is false when no hit is about the question."""

    hits: list[Hit]
    found: bool


class Answer(BaseModel):
    """`left_out` counts passages about the question that the model's context had no room for."""

    answer: str
    found: bool
    sources: list[Source]
    left_out: int
    conversation_id: UUID
    model: str


class ConversationSummary(BaseModel):
    id: UUID
    title: str
    base: UUID | None
    created_at: datetime
    updated_at: datetime


class MessageOut(BaseModel):
    role: Literal["user", "assistant"]
    text: str
    found: bool | None
    sources: list[Source]
    model: str
    created_at: datetime


class Conversation(ConversationSummary):
    messages: list[MessageOut]


class ConversationList(BaseModel):
    conversations: list[ConversationSummary]


class NearestAnswer(BaseModel):
    chunk_ids: list[list[UUID]]


@router.post("/api/search", tags=["answers"], summary="Find passages")
def search(services: ServicesDep, user: UserDep, body: SearchRequest) -> SearchAnswer:
    """Passages by meaning and by words, best first, of all bases I may read or of one."""
    bases = visible_bases(services, user, body.base)
    try:
        retrieval = hybrid(services, body.question, bases, body.k)
    except (EmbedderRefusedError, VectorsRefusedError) as error:
        raise search_refused() from error
    return SearchAnswer(hits=[Hit(**source(hit)) for hit in retrieval.hits], found=retrieval.found)


@router.post("/api/ask", tags=["answers"], summary="Ask a question", response_model=Answer)
async def ask(services: ServicesDep, user: UserDep, body: AskRequest, request: Request) -> Answer | Response:
    """An answer from my documents, with its sources.

    With `stream` the answer comes as server-sent events: `sources`, then `token` with a piece of text each, then
    `done` with what the plain call returns, or `error`. When the asker goes away the model stops.
    """

    kept = await run_in_threadpool(
        begin, services, user, body.question, base=body.base, conversation_id=body.conversation_id
    )
    if body.stream:
        return event_stream(_events(kept))
    await read_whole(kept.tokens(), request)
    return _answer(kept)


@router.get("/api/conversations", tags=["answers"], summary="List conversations")
def list_conversations(services: ServicesDep, user: UserDep) -> ConversationList:
    """My conversations, the one used last first."""
    with services.pool.connection() as connection:
        rows = conversations.conversation_list(connection, user)
    return ConversationList(conversations=[ConversationSummary(**row) for row in rows])


@router.get("/api/conversations/{conversation_id}", tags=["answers"], summary="Get a conversation")
def get_conversation(services: ServicesDep, user: UserDep, conversation_id: UUID) -> Conversation:
    """One of my conversations with all its messages and their sources."""
    with services.pool.connection() as connection:
        return Conversation(**conversations.conversation_get(connection, user, conversation_id))


@router.delete(
    "/api/conversations/{conversation_id}", tags=["answers"], summary="Delete a conversation",
    status_code=status.HTTP_204_NO_CONTENT,
)  # fmt: skip
def delete_conversation(services: ServicesDep, user: UserDep, conversation_id: UUID) -> None:
    """Remove one of my conversations with its messages."""
    with services.pool.connection() as connection:
        conversations.conversation_delete(connection, user, conversation_id)


@router.post("/internal/nearest", tags=["internal"], include_in_schema=False, dependencies=[Depends(require_internal)])
def nearest_chunks(services: ServicesDep, body: NearestRequest) -> NearestAnswer:
    """What the service retrieves for question vectors, over all bases: the canary of a restore."""
    try:
        return NearestAnswer(chunk_ids=nearest(services, body.collection, body.vectors, body.k))
    except VectorsRefusedError as error:
        raise ApiError(409, "collection_refused", f"Collection {body.collection}: {error}") from error


@router.post("/internal/search", tags=["internal"], include_in_schema=False, dependencies=[Depends(require_internal)])
def search_everything(services: ServicesDep, body: FindRequest) -> SearchAnswer:
    """What a question in words finds over all bases, whoever may read them: a drill compares it."""
    with services.pool.connection() as connection:
        bases = [row["id"] for row in connection.execute("SELECT id FROM bases")]
    try:
        retrieval = hybrid(services, body.question, bases, body.k)
    except (EmbedderRefusedError, VectorsRefusedError) as error:
        raise search_refused() from error
    return SearchAnswer(hits=[Hit(**source(hit)) for hit in retrieval.hits], found=retrieval.found)


async def _events(kept: KeptAnswering) -> AsyncGenerator[str, None]:
    yield _event("sources", _answer(kept).model_dump(mode="json", exclude={"answer"}))
    try:
        async with aclosing(kept.tokens()) as tokens:
            async for token in tokens:
                yield _event("token", {"text": token})
    except ApiError as error:
        yield _event("error", {"code": error.code, "message": error.message})
    except UnavailableError:
        yield _event("error", {"code": "unavailable", "message": "A part of the service does not answer; ask again."})
    else:
        yield _event("done", _answer(kept).model_dump(mode="json"))


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _answer(kept: KeptAnswering) -> Answer:
    answering = kept.answering
    return Answer(
        answer=answering.answer,
        found=answering.found,
        sources=[Source(**item) for item in answering.sources()],
        left_out=answering.prompt.left_out,
        conversation_id=kept.conversation_id,
        model=answering.model,
    )
