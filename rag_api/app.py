"""The HTTP service."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import psycopg_pool
import redis
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_api.accounts import bootstrap_admin
from rag_api.answers.routes import router as answers_router
from rag_api.errors import ApiError, UnavailableError
from rag_api.inflight import CountRequests, InFlight
from rag_api.logs import setup_logging
from rag_api.openai.errors import PREFIX, RequestRefusedError, error_body, param_of
from rag_api.openai.routes import router as openai_router
from rag_api.routes import accounts, bases, browser, documents, health
from rag_api.services import open_services
from rag_api.settings import Settings, load_settings
from rag_api.storage import Storage

log = logging.getLogger(__name__)

CONNECTIONS = 12
# Bodies other than uploads are small JSON.
JSON_BYTES = 1024 * 1024
UPLOAD_PATH = "/api/documents"

STATUS_WORDS = {404: "not_found", 405: "method_not_allowed"}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; settings come from the environment unless they are given.

    Raises:
        SettingsError, WeakSecretError: it refuses to start on missing or placeholder settings.
    """
    chosen = settings or load_settings(os.environ)
    setup_logging(chosen.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = open_services(chosen, name="api", connections=CONNECTIONS)
        app.state.services = services
        try:
            await run_in_threadpool(Storage(chosen).prepare)
            if await run_in_threadpool(bootstrap_admin, services):
                log.info("created the administrator %s", chosen.admin_email)
            yield
        finally:
            services.close()

    app = FastAPI(
        title="Ragkeep RAG API",
        summary="Upload documents, ask questions, get answers that cite document, page and passage.",
        version="1",
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        swagger_ui_oauth2_redirect_url=None,
        # The generated reference pages load their scripts from elsewhere; openapi.json is what tools read.
        docs_url=None,
        redoc_url=None,
    )
    for router in (health.router, accounts.router, browser.router, bases.router, documents.router):
        app.include_router(router)
    app.include_router(answers_router)
    app.include_router(openai_router)
    app.state.in_flight = InFlight()
    app.add_middleware(LimitBody)
    app.add_middleware(CountRequests, in_flight=app.state.in_flight)
    _handle_errors(app)
    return app


class LimitBody:
    """Refuses large or unmeasured bodies everywhere but on the upload, which measures while it reads."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != UPLOAD_PATH and _body_too_large(Headers(scope=scope)):
            message = "The request's body is too large or of unknown length; shorten it."
            await error_response(scope["path"], 413, "too_large", message)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _body_too_large(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    return "transfer-encoding" in headers or not length.isdigit() or int(length) > JSON_BYTES


def error_response(path: str, status: int, code: str, message: str, param: str | None = None) -> JSONResponse:
    """The one format of every error, and OpenAI's below /v1/; `param` is the part of the request that is wrong."""
    if path.startswith(PREFIX):
        return JSONResponse(error_body(status, code, message, param), status)
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    def api_error(request: Request, error: ApiError) -> JSONResponse:
        param = error.param if isinstance(error, RequestRefusedError) else None
        return error_response(request.url.path, error.status, error.code, error.message, param)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {first['msg']}. Correct the request and send it again."
        status = 400 if request.url.path.startswith(PREFIX) else 422
        return error_response(request.url.path, status, "invalid_request", message, param_of(first["loc"]))

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        code, path = STATUS_WORDS.get(error.status_code, "refused"), request.url.path
        return error_response(path, error.status_code, code, f"{request.method} {path}: {error.detail}.")

    for kind in (psycopg.OperationalError, psycopg_pool.PoolTimeout, redis.ConnectionError, redis.TimeoutError):
        app.add_exception_handler(kind, _unavailable)
    app.add_exception_handler(UnavailableError, _unavailable)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        path = request.url.path
        log.error("%s %s failed: %s", request.method, path, type(error).__name__, exc_info=error)
        message = "Something went wrong on the server; its log says what. Try again."
        return error_response(path, 500, "internal", message)


def _unavailable(request: Request, error: Exception) -> JSONResponse:
    path = request.url.path
    log.warning("%s %s: a dependency does not answer: %s", request.method, path, error)
    message = "A part of the service does not answer right now; try again shortly."
    return error_response(path, 503, "unavailable", message)
