"""The three classics, recognised after the fact from what services wrote and from their condition. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Classic(StrEnum):
    """What goes wrong most often."""

    PORT = "port conflict"
    PERMISSION = "permission error"
    MEMORY = "out of memory"


@dataclass(frozen=True, slots=True)
class Symptom:
    """One classic at one service; `said` is the line that shows it."""

    service: str
    classic: Classic
    said: str


_PATTERNS: tuple[tuple[Classic, re.Pattern[str]], ...] = (
    (
        Classic.MEMORY,
        re.compile(
            r"\bMemoryError\b|cannot allocate memory|\bbad_alloc\b|out of memory|OOM ?killed|more memory than its limit"
            r"|failed to allocate|Killed process|CUDA error: out of memory",
            re.IGNORECASE,
        ),
    ),
    (
        Classic.PORT,
        re.compile(
            r"address already in use|port is already allocated|EADDRINUSE|errno 98\b|could not bind .*address",
            re.IGNORECASE,
        ),
    ),
    (
        Classic.PERMISSION,
        re.compile(
            r"permission denied|operation not permitted|EACCES|read-only file system|errno 13\b"
            r"|has group or world access|not writable",
            re.IGNORECASE,
        ),
    ),
)
REMEDIES = {
    Classic.PORT: "stop the program that holds the port, or choose another base port with manage.py up --port",
    Classic.PERMISSION: "give the file or volume that the line names to the account the service runs as",
    Classic.MEMORY: "give the machine or the service more memory, or choose a smaller chat model",
}


def symptom_of(service: str, text: str) -> Symptom | None:
    """The classic that a line shows; memory first, because what runs out of it fails in every other way too."""
    for classic, pattern in _PATTERNS:
        if pattern.search(text):
            return Symptom(service, classic, text.strip()[:300])
    return None


def symptoms(service: str, lines: Sequence[str], detail: str = "") -> list[Symptom]:
    """At most one of each classic, shown by the newest line that tells it.

    Args:
        lines: the end of the service's log, oldest first.
        detail: what the runtime says of its condition, which counts most.
    """
    found: dict[Classic, Symptom] = {}
    for text in _newest_first(lines, detail):
        symptom = symptom_of(service, text)
        if symptom is not None:
            found.setdefault(symptom.classic, symptom)
    return list(found.values())


def _newest_first(lines: Sequence[str], detail: str) -> Iterable[str]:
    yield from (detail, *reversed(lines))
