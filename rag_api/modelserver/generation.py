"""Chat and generate: from Ollama's requests to llama.cpp's, and its events back to Ollama's lines."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from rag_api.modelserver.errors import BadRequestError, PromptTooLongError
from rag_api.modelserver.keepalive import keep_alive_seconds
from rag_api.modelserver.names import ModelName
from rag_api.modelserver.pool import ModelPool
from rag_api.modelserver.runner import Runner
from rag_api.modelserver.store import PARAMS, Installed, Store
from rag_api.modelserver.wire import ChatRequest, Format, GenerateRequest, Options

Line = dict[str, Any]
Body = dict[str, Any]

_PASSED_ON = (
    "seed", "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "repeat_penalty",
    "presence_penalty", "frequency_penalty",
)  # fmt: skip


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Generator:
    """Answers chat and generate requests from the pool."""

    def __init__(self, store: Store, pool: ModelPool) -> None:
        self._store = store
        self._pool = pool

    async def chat(self, request: ChatRequest) -> AsyncIterator[Line]:
        """Yield a line per token, then the line with `done` and the figures.

        Raises:
            ModelServerError: see the errors; before the first line as far as can be known by then.
        """
        model = self._completion_model(request, "chat")
        if request.tools:
            raise BadRequestError(f"{model.name} does not support tools")
        if any(message.images for message in request.messages):
            raise BadRequestError(f"{model.name} does not support images")
        body = {
            **self._sampling(model, request.options),
            **_chat_format(request.format),
            "messages": [message.model_dump(include={"role", "content"}) for message in request.messages],
        }
        async for kind, value in self._run(request, model, body if request.messages else None, chat=True):
            yield {
                "model": request.model,
                "created_at": now(),
                "message": {"role": "assistant", "content": value if kind == "token" else ""},
                **(value if kind == "end" else {"done": False}),
            }

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Line]:
        """As `chat`, for a single prompt; `raw` sends it to the model without its template."""
        model = self._completion_model(request, "generate")
        _refuse_unsupported(request, model)
        body = {**self._sampling(model, request.options), **_prompt(request)}
        async for kind, value in self._run(request, model, body if request.prompt else None, chat=not request.raw):
            yield {
                "model": request.model,
                "created_at": now(),
                "response": value if kind == "token" else "",
                **(value if kind == "end" else {"done": False}),
            }

    async def _run(
        self, request: ChatRequest | GenerateRequest, model: Installed, body: Body | None, *, chat: bool
    ) -> AsyncIterator[tuple[str, Any]]:
        """Yield ("token", text) and at last ("end", the fields of the line with `done`)."""
        started = time.perf_counter_ns()
        keep_alive = keep_alive_seconds(request.keep_alive)
        if body is None and keep_alive == 0:
            await self._pool.unload(model.name)
            yield "end", {"done": True, "done_reason": "unload"}
            return
        with self._pool.admit(model.name):
            async with self._pool.turn(model, request.options.num_ctx, keep_alive) as runner:
                if body is None:
                    yield "end", {"done": True, "done_reason": "load"}
                    return
                async with aclosing(_fitting(runner, {"chat": chat, "body": body})) as events:
                    async for word, value in events:
                        yield word, _figures(value, started, runner.load_ns) if word == "end" else value

    def _completion_model(self, request: ChatRequest | GenerateRequest, verb: str) -> Installed:
        model = self._store.get(ModelName.parse(request.model))
        if model.is_embedder:
            raise BadRequestError(f'"{request.model}" does not support {verb}')
        if request.think:
            raise BadRequestError(f'"{request.model}" does not support thinking')
        return model

    def _sampling(self, model: Installed, options: Options) -> Body:
        defaults = json.loads(self._store.text(model, PARAMS) or "{}")
        stop = options.stop if options.stop is not None else defaults.get("stop", [])
        return {
            **{name: getattr(options, name) for name in _PASSED_ON},
            "max_tokens": options.num_predict if options.num_predict >= 0 else -1,
            "n_keep": options.num_keep,
            "stop": [stop] if isinstance(stop, str) else stop,
            "cache_prompt": True,
        }


async def _fitting(runner: Runner, request: dict[str, Any]) -> AsyncGenerator[tuple[str, Any], None]:
    """Run a request; while a chat is too long for the context, leave out its oldest turn, never the system prompt.

    Raises:
        PromptTooLongError: the system prompt and the last message alone do not fit.
    """
    while True:
        try:
            async with aclosing(runner.stream(request)) as events:
                async for event in events:
                    yield event
            return
        except PromptTooLongError:
            messages = request["body"].get("messages", [])
            oldest = next((i for i, message in enumerate(messages[:-1]) if message["role"] != "system"), None)
            if oldest is None:
                raise
            del messages[oldest]


def _prompt(request: GenerateRequest) -> Body:
    if request.raw:
        return {"prompt": request.prompt}
    system = [{"role": "system", "content": request.system}] if request.system else []
    return {"messages": [*system, {"role": "user", "content": request.prompt}], **_chat_format(request.format)}


def _refuse_unsupported(request: GenerateRequest, model: Installed) -> None:
    for field in ("suffix", "template", "images"):
        if getattr(request, field):
            raise BadRequestError(f"{model.name} does not support {field}")
    # llama.cpp drops a schema it cannot compile from raw requests without a word.
    if request.raw and request.format:
        raise BadRequestError("format cannot be combined with raw; send the prompt without raw")


def _chat_format(wanted: Format) -> Body:
    if not wanted:
        return {}
    if wanted == "json":
        return {"response_format": {"type": "json_object"}}
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": wanted}}}


def _figures(end: dict[str, Any], started: int, load_ns: int) -> Line:
    return {
        "done": True,
        "done_reason": end["reason"],
        "total_duration": time.perf_counter_ns() - started,
        "load_duration": load_ns,
        "prompt_eval_count": end.get("prompt_tokens", 0),
        "prompt_eval_duration": int(end.get("prompt_ms", 0) * 1e6),
        "eval_count": end.get("tokens", 0),
        "eval_duration": int(end.get("eval_ms", 0) * 1e6),
    }
