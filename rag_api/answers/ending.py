"""Where an answer ends: small models go on after they have said what they can, or say it again. Pure."""

from __future__ import annotations

import re

# The prompt asks for two; one more is let pass.
SENTENCES = 3
# A stop, what closes a quotation and names passages, and then something that begins a sentence.
_END = re.compile(r"[.!?][\"')\]]*(?:\s*\[\d{1,2}\])*(?=\s+[\"'(]?[A-Z])")
_LAST = re.compile(r".*[.!?][\"')\]]*(?:\s*\[\d{1,2}\])*(?=\s|$)", re.S)
_CITATION = re.compile(r"\[\d{1,2}\]")
_LETTERS = re.compile(r"\w+")


def ending(text: str) -> int | None:
    """Where to cut an answer that is still being written; None while it may go on.

    It has had its sentences when the next one begins, and it is over before a sentence that was there already.
    """
    start = 0
    said: set[tuple[str, ...]] = set()
    for end in (match.end() for match in _END.finditer(text)):
        words = tuple(_LETTERS.findall(_CITATION.sub("", text[start:end]).lower()))
        if words in said:
            return start
        said.add(words)
        if len(said) == SENTENCES:
            return end
        start = end
    return None


def whole_sentences(text: str) -> str:
    """An answer that was cut off, up to its last whole sentence; one without any is marked as going on."""
    found = _LAST.match(text)
    return found.group() if found else f"{text.rstrip()} ..."
