"""The HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import iterate_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_api.modelserver import describe, packaged
from rag_api.modelserver.answers import joined, ndjson, while_connected
from rag_api.modelserver.embedding import Embedder
from rag_api.modelserver.errors import ModelServerError
from rag_api.modelserver.generation import Generator
from rag_api.modelserver.names import ModelName
from rag_api.modelserver.pool import ModelPool
from rag_api.modelserver.pull import pull
from rag_api.modelserver.store import Store
from rag_api.modelserver.wire import (
    ChatRequest,
    CopyRequest,
    EmbeddingsRequest,
    EmbedRequest,
    GenerateRequest,
    ModelRequest,
    PullRequest,
    ShowRequest,
)

# The release of Ollama whose API this follows; clients compare it.
API_VERSION = "0.12.6"
DEFAULT_QUEUE = 64


def create_app(store_dir: Path, *, max_queue: int = DEFAULT_QUEUE) -> FastAPI:
    """The application over a store; the folder is created when missing.

    Args:
        max_queue: requests that may wait for one model before the next gets a 503.
    """
    store = Store(store_dir)
    pool = ModelPool(store, max_queue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pool.close()

    app = FastAPI(title="Ragkeep model server", version=API_VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(_JsonBodies)
    app.include_router(_about(store, pool))
    app.include_router(_library(store, pool))
    app.include_router(_inference(Generator(store, pool), Embedder(store, pool)))
    app.add_exception_handler(ModelServerError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


class _JsonBodies:
    """Bodies are JSON whatever their content type says: Ollama's own examples are curl without a header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            kept = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
            scope = {**scope, "headers": [*kept, (b"content-type", b"application/json")]}
        await self._app(scope, receive, send)


def _about(store: Store, pool: ModelPool) -> APIRouter:
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"])
    def root() -> Response:
        return PlainTextResponse("Ollama is running (Ragkeep model server)")

    @router.api_route("/api/version", methods=["GET", "HEAD"])
    def version() -> dict[str, str]:
        return {"version": API_VERSION}

    @router.api_route("/api/tags", methods=["GET", "HEAD"])
    def tags() -> dict[str, Any]:
        return {"models": [describe.listed(store, model) for model in store.installed()]}

    @router.get("/api/ps")
    async def ps() -> dict[str, Any]:
        loaded = pool.loaded()
        return {"models": await asyncio.to_thread(lambda: [describe.running(store, entry) for entry in loaded])}

    @router.post("/api/show")
    def show(request: ShowRequest) -> dict[str, Any]:
        return describe.shown(store, store.get(ModelName.parse(request.model)))

    return router


def _library(store: Store, pool: ModelPool) -> APIRouter:
    router = APIRouter()

    @router.post("/api/pull")
    async def pull_model(request: PullRequest) -> Response:
        name = ModelName.parse(request.model)
        statuses = iterate_in_threadpool(pull(store, name, packaged.find(name)))
        if request.stream:
            return await ndjson(statuses)
        async for status in statuses:
            last = status
        return JSONResponse(last)

    @router.post("/api/copy")
    def copy(request: CopyRequest) -> Response:
        store.copy(ModelName.parse(request.source), ModelName.parse(request.destination))
        return Response()

    @router.delete("/api/delete")
    async def delete(request: ModelRequest) -> Response:
        name = ModelName.parse(request.model)
        await asyncio.to_thread(store.delete, name)
        await pool.unload(name)
        return Response()

    return router


def _inference(generator: Generator, embedder: Embedder) -> APIRouter:
    router = APIRouter()

    @router.post("/api/chat")
    async def chat(request: Request, wanted: ChatRequest) -> Response:
        lines = generator.chat(wanted)
        return await ndjson(lines) if wanted.stream else await while_connected(request, joined(lines))

    @router.post("/api/generate")
    async def generate(request: Request, wanted: GenerateRequest) -> Response:
        lines = generator.generate(wanted)
        return await ndjson(lines) if wanted.stream else await while_connected(request, joined(lines))

    @router.post("/api/embed")
    async def embed(request: Request, wanted: EmbedRequest) -> Response:
        return await while_connected(request, embedder.embed(wanted))

    @router.post("/api/embeddings")
    async def embeddings(wanted: EmbeddingsRequest) -> dict[str, Any]:
        modern = EmbedRequest(model=wanted.model, input=wanted.prompt, keep_alive=wanted.keep_alive)
        return {"embedding": (await embedder.embed(modern))["embeddings"][0]}

    return router


def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, ModelServerError) else 500
    return JSONResponse({"error": str(error)}, status)


def _invalid(_: Request, error: Exception) -> Response:
    """Say which field is wrong, as `options.temperature: ...`."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    parts = [f"{'.'.join(str(step) for step in entry['loc'][1:])}: {entry['msg']}" for entry in problems]
    return JSONResponse({"error": "; ".join(parts) or "invalid request"}, 400)


def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else "internal error"
    return JSONResponse({"error": f"{request.method} {request.url.path}: {detail.lower()}"}, status)
