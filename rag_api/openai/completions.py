"""Answers in OpenAI's format, whole or as chunks."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from rag_api.errors import ApiError
from rag_api.openai.errors import error_body


class Writing(Protocol):
    """An answer that grows while its tokens are read; `cut` when it became too long."""

    answer: str
    cut: bool
    prompt_tokens: int
    answer_tokens: int

    def tokens(self) -> AsyncGenerator[str, None]: ...


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


def _now() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer on its way; `model` as the client named it, `more` what is told of it beside the choices."""

    model: str
    writing: Writing
    more: Callable[[], dict[str, Any]]
    id: str = field(default_factory=_new_id)
    created: int = field(default_factory=_now)

    def whole(self) -> dict[str, Any]:
        """The answer that has been read to its end."""
        message = {"role": "assistant", "content": self.writing.answer, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage, **self.more()}

    async def events(self, *, usage: bool) -> AsyncGenerator[str, None]:
        """The answer as server-sent events: chunks, one with the end and what is told beside it, `[DONE]`.

        What fails on the way is told in OpenAI's form, and then there is no `[DONE]`.

        Args:
            usage: whether a chunk with the counts of tokens is wanted before `[DONE]`.
        """
        none = {"usage": None} if usage else {}
        yield self._chunk({"role": "assistant", "content": ""}, **none)
        try:
            async with aclosing(self.writing.tokens()) as tokens:
                async for token in tokens:
                    yield self._chunk({"content": token}, **none)
        except ApiError as error:
            yield _event(error_body(error.status, error.code, error.message))
            return
        yield self._chunk({}, self._reason, **none, **self.more())
        if usage:
            yield _event({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage})
        yield "data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(self, delta: dict[str, str], reason: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({**self._head("chat.completion.chunk"), "choices": [choice], **more})

    @property
    def _reason(self) -> str:
        return "length" if self.writing.cut else "stop"

    @property
    def _usage(self) -> dict[str, int]:
        read, written = self.writing.prompt_tokens, self.writing.answer_tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
