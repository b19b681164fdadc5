"""Streaming a chat answer from Ollama's API."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import httpx

from rag_api.answers.prompt import ANSWER_TOKENS, CONTEXT_TOKENS, Message
from rag_api.errors import ModelUnavailableError

# A cold model is loaded and the prompt evaluated before the first token comes.
_TIMEOUT = httpx.Timeout(180, connect=3)
_OPTIONS = {"num_ctx": CONTEXT_TOKENS, "num_predict": ANSWER_TOKENS, "temperature": 0, "repeat_penalty": 1.1}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer; the last one has no text, the model's own count of the prompt's tokens, and whether the
    answer was `cut` because it got too long."""

    text: str
    prompt_tokens: int | None = None
    cut: bool = False


async def stream_chat(
    url: str, model: str, messages: Sequence[Message], wishes: Mapping[str, object] | None = None
) -> AsyncGenerator[Token, None]:
    """Yield the answer token by token; closing the iterator ends the generation on the server too.

    Args:
        wishes: options of Ollama's API that the asker wants otherwise than they are here.

    Raises:
        ModelUnavailableError: the model server does not answer, is busy, lacks the model, or broke off.
    """
    options = {**_OPTIONS, **(wishes or {})}
    body = {"model": model, "messages": list(messages), "stream": True, "options": options}
    try:
        async with (
            httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, verify=_tls()) as client,
            client.stream("POST", "/api/chat", json=body) as answer,
        ):
            await _accepted(answer, model)
            done = False
            async for line in answer.aiter_lines():
                token, done = _token(line)
                yield token
            if not done:
                raise ModelUnavailableError("it broke off in the middle")
    except httpx.TransportError as error:
        raise ModelUnavailableError("its server does not answer") from error


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # reading the certificates takes longer than a call


async def _accepted(answer: httpx.Response, model: str) -> None:
    if answer.status_code == 200:
        return
    await answer.aread()
    if answer.status_code == 404:
        raise ModelUnavailableError(f"the model {model} is not in the model server")
    raise ModelUnavailableError(f"its server answered {answer.status_code}")


def _token(line: str) -> tuple[Token, bool]:
    try:
        part = json.loads(line)
    except ValueError as error:
        raise ModelUnavailableError("its server sent something unreadable") from error
    if "error" in part:
        raise ModelUnavailableError(str(part["error"])[:200])
    text = str(part.get("message", {}).get("content", ""))
    done = bool(part.get("done"))
    cut = done and part.get("done_reason") == "length"
    return Token(text, part.get("prompt_eval_count") if done else None, cut), done
