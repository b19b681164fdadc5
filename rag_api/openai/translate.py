"""From OpenAI's requests to a question, its history and the model's options. Pure.

What a client keeps as one list of messages is three things here: the last message is the question, the ones of user
and assistant before it are the history, and those of the system go along as instructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rag_api.answers.conversations import HISTORY
from rag_api.answers.prompt import ANSWER_TOKENS, CONTEXT_TOKENS, Message, count_tokens
from rag_api.openai.errors import RequestRefusedError, too_long, unsupported
from rag_api.openai.wire import ChatMessage, ChatRequest

# As long as a question of /api/ask.
QUESTION_CHARACTERS: Final = 2000
# The plain model answers in as much as this unless it is told otherwise.
PLAIN_TOKENS: Final = 512
_OVERHEAD_TOKENS = 24
_SYSTEM_ROLES = frozenset({"system", "developer"})
_TOOL_ROLES = frozenset({"tool", "function"})

_REFUSALS: Final = {
    "n": "One answer is given to a question; leave n out or send 1.",
    "tools": "The models here call no tools; leave tools out.",
    "functions": "The models here call no functions; leave functions out.",
    "logprobs": "Probabilities of tokens are not given; leave logprobs out.",
    "top_logprobs": "Probabilities of tokens are not given; leave top_logprobs out.",
    "logit_bias": "Tokens cannot be made likelier; leave logit_bias out.",
    "response_format": 'Answers are text with citations; leave response_format out or send {"type": "text"}.',
    "modalities": 'Answers are text; leave modalities out or send ["text"].',
    "audio": "Answers are text; leave audio out.",
    "web_search_options": "Answers come from the documents, not from the web; leave web_search_options out.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the messages before it (oldest first) and what the asker wants of the answer besides."""

    question: str
    history: list[Message]
    instructions: str


def refuse_unsupported(request: ChatRequest) -> None:
    """Raise RequestRefusedError for what would change the answer and is not done here."""
    harmless = {"n": 1, "response_format": {"type": "text"}, "modalities": ["text"]}
    for name, sentence in _REFUSALS.items():
        value = getattr(request, name)
        # web_search_options is asked for by being there at all.
        wanted = value is not None if name == "web_search_options" else bool(value)
        if (wanted or (name == "n" and value is not None)) and value != harmless.get(name):
            raise unsupported(name, sentence)
    if request.stream_options and not request.stream:
        raise RequestRefusedError("stream_options", "stream_options belongs to a streamed answer; send stream too.")


def asked_of(messages: Sequence[ChatMessage]) -> Asked:
    """The question in a conversation.

    Raises:
        RequestRefusedError: the last message is not the user's or says nothing, question or instructions are longer
            than 2,000 characters, or a message is not of text.
    """
    told = messages_of(messages)
    question = _question(told)
    instructions = "\n".join(message["content"] for message in told if message["role"] == "system").strip()
    _bounded("messages", "The system's messages together", instructions)
    before = [message for message in told[:-1] if message["role"] != "system" and message["content"].strip()]
    # A question of the history is searched for together with this one, and is no longer than one.
    history = [{**message, "content": message["content"][:QUESTION_CHARACTERS]} for message in before[-HISTORY:]]
    return Asked(question, history, instructions)


def messages_of(messages: Sequence[ChatMessage]) -> list[Message]:
    """Role (system, user, assistant) and text of each message; raises RequestRefusedError for what is no text."""
    return [_message(f"messages[{index}]", message) for index, message in enumerate(messages)]


def plain_room(messages: Sequence[Message], most: int | None) -> int:
    """How many tokens the plain model may answer with.

    Raises:
        RequestRefusedError: the messages leave it no room.
    """
    tokens = sum(count_tokens(message["content"]) + _OVERHEAD_TOKENS for message in messages)
    room = CONTEXT_TOKENS - tokens
    if room < 1:
        raise too_long(
            "messages",
            f"The messages have about {tokens:,} tokens and the model is given {CONTEXT_TOKENS:,} for them and its "
            "answer; leave the oldest out.",
        )
    return min(room, most or PLAIN_TOKENS)


def most_tokens(request: ChatRequest) -> int | None:
    """The longest answer that the request allows; None when it does not say."""
    return request.max_completion_tokens or request.max_tokens


def wishes_of(request: ChatRequest, most: int = ANSWER_TOKENS) -> dict[str, object]:
    """The options of Ollama's API that the request sets.

    Args:
        most: tokens that an answer never goes beyond, however many the request allows.
    """
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    wished: dict[str, object | None] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        # Model servers know 32 bits; the same number still gives the same answer.
        "seed": None if request.seed is None else request.seed % 2**31,
        "stop": [stop for stop in stops if stop] or None,
        "num_predict": min(most_tokens(request) or most, most),
    }
    return {name: value for name, value in wished.items() if value is not None}


def _question(told: Sequence[Message]) -> str:
    param, last = f"messages[{len(told) - 1}]", told[-1]
    question = last["content"].strip()
    if last["role"] != "user" or not question:
        raise RequestRefusedError(param, "The last message is the question: it must be the user's and say something.")
    _bounded(param, "The question", question)
    return question


def _bounded(param: str, what: str, text: str) -> None:
    if len(text) > QUESTION_CHARACTERS:
        raise too_long(
            param,
            f"{what} may have {QUESTION_CHARACTERS:,} characters here, not {len(text):,}: the model needs the room "
            "for passages of the documents. Shorten it.",
        )


def _message(param: str, message: ChatMessage) -> Message:
    if message.role in _TOOL_ROLES or message.tool_calls:
        raise unsupported(param, "The models here call no tools; leave their calls and results out.")
    role = "system" if message.role in _SYSTEM_ROLES else message.role
    return {"role": role, "content": _text(f"{param}.content", message.content)}


def _text(param: str, content: Any) -> str:  # noqa: ANN401 - as it came
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestRefusedError(param, "content is a string or a list of parts of text.")
    return "\n".join(_part(f"{param}[{index}]", part) for index, part in enumerate(content))


def _part(param: str, part: object) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("text") if isinstance(part, dict) else None
    if kind != "text":
        raise unsupported(param, f"The models here read text only, no part of type {kind}; leave it out.")
    if not isinstance(text, str):
        raise RequestRefusedError(param, "A part of type text has a string called text.")
    return text
