"""The installation's chat model by itself, without documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from rag_api.answers.chat import stream_chat
from rag_api.answers.prompt import Message
from rag_api.settings import Settings


@dataclass(slots=True)
class PlainAnswering:
    """Messages for the model; `answer` and the counts grow while `tokens` is read."""

    settings: Settings
    messages: Sequence[Message]
    wishes: Mapping[str, object]
    answer: str = ""
    cut: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0

    async def tokens(self) -> AsyncGenerator[str, None]:
        """Yield the answer piece by piece; raises ModelUnavailableError."""
        url, model = self.settings.ollama_url, self.settings.chat_model
        async with aclosing(stream_chat(url, model, self.messages, self.wishes)) as stream:
            async for token in stream:
                self.answer += token.text
                self.answer_tokens += bool(token.text)
                self.prompt_tokens = token.prompt_tokens or self.prompt_tokens
                self.cut = token.cut
                if token.text:
                    yield token.text
