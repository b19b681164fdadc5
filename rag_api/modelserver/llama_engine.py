"""Text generation by llama.cpp, in the process of a loaded model."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import xllamacpp

from rag_api.modelserver.child import EngineError, Event, Spec


class LlamaEngine:
    """One GGUF model with one sequence; the chat template is the one inside the file."""

    def __init__(self, spec: Spec) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = spec.file("model")
        params.n_ctx = spec.context
        params.n_parallel = 1
        # While they write, llama.cpp's threads wait for each other at every token by spinning: with a thread on each of
        # two busy cores 2 to 15 tokens a second came out, with one thread 14 to 38. One core stays free. Reading the
        # prompt on both cost no more processor time than on one (about 9 s for 700 tokens).
        params.cpuparams.n_threads = max(1, spec.threads - 1)
        params.cpuparams_batch.n_threads = spec.threads
        params.use_jinja = True
        params.warmup = False
        # A cache of prompts in RAM may grow to gigabytes; the last prompt stays in the sequence anyway.
        params.cache_ram_mib = 0
        params.verbosity = 1
        # The class opens a loopback port of its own that nobody here uses: lock it.
        params.ui = False
        params.endpoint_slots = False
        params.api_keys = [secrets.token_urlsafe(32)]
        self._server = xllamacpp.Server(params)

    def run(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> Iterator[Event]:
        """Yield ("token", text) as they are made, then ("end", counts and milliseconds).

        `request` is {"chat": bool, "body": a request of llama.cpp's OpenAI-like API}.

        Raises:
            EngineError: llama.cpp refused the request.
        """
        handle = self._server.handle_chat_completions if request["chat"] else self._server.handle_completions
        body = {**request["body"], "stream": True, "stream_options": {"include_usage": True}}
        end: dict[str, Any] = {"reason": "stop", "cancelled": False}
        for chunk in _stream(handle, body, cancelled):
            if error := chunk.get("error"):
                raise _refusal(error, body)
            yield from _tokens(chunk, end)
        yield ("end", end)


def _tokens(chunk: dict[str, Any], end: dict[str, Any]) -> Iterator[Event]:
    for choice in chunk.get("choices", []):
        text = choice.get("text") or choice.get("delta", {}).get("content")
        if text:
            yield ("token", text)
        if choice.get("finish_reason"):
            end["reason"] = choice["finish_reason"]
    if usage := chunk.get("usage"):
        end["prompt_tokens"], end["tokens"] = usage["prompt_tokens"], usage["completion_tokens"]
    if timings := chunk.get("timings"):
        end["prompt_ms"], end["eval_ms"] = timings["prompt_ms"], timings["predicted_ms"]


def _stream(
    handle: Callable[[dict[str, Any], Callable[[dict[str, Any]], bool]], None],
    body: dict[str, Any],
    cancelled: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """Turn llama.cpp's callback into an iterator; the callback's True ends the generation."""
    chunks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    stop = threading.Event()

    def receive(chunk: dict[str, Any]) -> bool:
        chunks.put(chunk)
        return stop.is_set()

    def work() -> None:
        try:
            handle(body, receive)
        except Exception as error:
            chunks.put({"error": {"code": 500, "message": str(error)}})
        finally:
            chunks.put(None)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while (chunk := chunks.get()) is not None:
            if cancelled():
                stop.set()
            yield chunk
    finally:
        stop.set()
        worker.join()


def _refusal(error: dict[str, Any], body: dict[str, Any]) -> EngineError:
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        return EngineError("too_long", message, {"tokens": error["n_prompt_tokens"], "limit": error["n_ctx"]})
    if error.get("code") == 400:
        return EngineError("bad_request", message)
    # llama.cpp calls a schema that it cannot compile an error of its own.
    if "response_format" in body:
        return EngineError("bad_request", f"format: {message}")
    return EngineError("failed", message)
