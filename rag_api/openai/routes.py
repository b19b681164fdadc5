"""Routes below /v1/: models, chat completions, embeddings."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from rag_api.access import User
from rag_api.answers.asking import Answering, find
from rag_api.answers.streams import event_stream, read_whole
from rag_api.deps import ServicesDep, UserDep, visible_bases
from rag_api.openai.completions import Completion
from rag_api.openai.embeddings import embed
from rag_api.openai.errors import too_long
from rag_api.openai.models import Use, description, model_use, offered
from rag_api.openai.plain import PlainAnswering
from rag_api.openai.translate import (
    asked_of,
    messages_of,
    most_tokens,
    plain_room,
    refuse_unsupported,
    wishes_of,
)
from rag_api.openai.wire import ChatRequest, EmbeddingsRequest
from rag_api.services import Services

router = APIRouter(prefix="/v1", tags=["openai"])


@router.get("/models", summary="List models")
def list_models(services: ServicesDep, _user: UserDep) -> dict[str, Any]:
    """The models that may be named; the first answers from my documents."""
    return {"object": "list", "data": [description(name) for name in offered(services.settings)]}


@router.get("/models/{model:path}", summary="Get a model")
def get_model(services: ServicesDep, _user: UserDep, model: str) -> dict[str, Any]:
    """One of the models that may be named."""
    model_use(services.settings, model)
    return description(model)


@router.post("/chat/completions", summary="Answer a conversation's last message")
async def complete_chat(services: ServicesDep, user: UserDep, body: ChatRequest, request: Request) -> Response:
    """An answer in OpenAI's format, from my documents with `citations` beside the choices, or from the model alone.

    Nothing of it is kept: the client has the conversation. With `stream` it comes as chunks.
    """
    refuse_unsupported(body)
    if model_use(services.settings, body.model, Use.ANSWERS, Use.PLAIN) is Use.ANSWERS:
        completion = await run_in_threadpool(_from_documents, services, user, body)
    else:
        completion = _plain(services, body)
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        return event_stream(completion.events(usage=usage))
    await read_whole(completion.writing.tokens(), request)
    return JSONResponse(completion.whole())


@router.post("/embeddings", summary="Turn texts into vectors")
async def create_embeddings(
    services: ServicesDep, _user: UserDep, body: EmbeddingsRequest, request: Request
) -> Response:
    """Vectors of the installation's embedding model, of the texts as they are."""
    model_use(services.settings, body.model, Use.EMBEDDINGS)
    return JSONResponse(await embed(services.embedder, body, request))


def _from_documents(services: Services, user: User, body: ChatRequest) -> Completion:
    asked = asked_of(body.messages)
    answering = find(
        services,
        asked.question,
        visible_bases(services, user, body.base),
        asked.history,
        instructions=asked.instructions,
        wishes=wishes_of(body),
    )
    left_out = answering.prompt.left_out
    if left_out and not answering.found:
        raise too_long("messages", "Question and system messages leave no room for a passage; shorten them.")
    return Completion(body.model, answering, lambda: _told(answering))


def _told(answering: Answering) -> dict[str, Any]:
    return {"found": answering.found, "citations": answering.sources(), "left_out": answering.prompt.left_out}


def _plain(services: Services, body: ChatRequest) -> Completion:
    messages = messages_of(body.messages)
    wishes = wishes_of(body, plain_room(messages, most_tokens(body)))
    return Completion(body.model, PlainAnswering(services.settings, messages, wishes), dict)
