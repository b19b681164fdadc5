"""Server-sent events, read line by line (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name (`message` when the sender gave none) and its data, lines joined by newlines."""

    name: str
    data: str


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a stream of lines without line ends; one without data is dropped, as the standard says."""
    name, data = "", list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(name or "message", "\n".join(data))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
