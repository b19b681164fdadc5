"""A conversation as the page shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from frontend.client import Answer, Json, Source


@dataclass(frozen=True, slots=True)
class Message:
    """One question or answer; `found` is False for an answer that says nothing was found."""

    role: Literal["user", "assistant"]
    text: str
    sources: list[Source] = field(default_factory=list)
    found: bool = True


def from_answer(answer: Answer) -> Message:
    """What arrived of an answer, whole or not."""
    return Message("assistant", answer.text, answer.sources, answer.found)


def from_history(items: Iterable[Json]) -> list[Message]:
    """The messages that the service kept; a question asked again because nothing came appears once."""
    shown: list[Message] = []
    for item in items:
        sources = [Source.from_json(source) for source in item.get("sources") or []]
        message = Message(item["role"], item["text"], sources, item.get("found") is not False)
        if not shown or shown[-1] != message:
            shown.append(message)
    return shown


def unanswered(messages: list[Message]) -> str | None:
    """The last question when nothing followed it."""
    return messages[-1].text if messages and messages[-1].role == "user" else None


def last_question(messages: list[Message]) -> str:
    """The question asked last; empty when there is none."""
    return next((message.text for message in reversed(messages) if message.role == "user"), "")


def in_reading_order(sources: Iterable[Source]) -> list[Source]:
    """Passages that the answer cites first, each group by number."""
    return sorted(sources, key=lambda source: (not source.cited, source.n))


def one_line(text: str, width: int = 60) -> str:
    """`text` on one line of at most `width` characters, cut at a word where one ends near."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    cut = line[: width - 1]
    head, _, _ = cut.rpartition(" ")
    return (head if len(head) > width // 2 else cut).rstrip() + "…"
