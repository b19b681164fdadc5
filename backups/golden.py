"""A drill's questions of its own: sentences out of the set's documents, which must find those documents again.

They are asked as words, so that they also prove the embedding model and the index of words, which the canary's vectors
pass by.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from backups.manifest import Golden
from backups.sources.postgres import Snapshot

QUESTIONS = 8
# Some documents have no sentence worth asking, and some sentences stand in many documents.
_TRIED = 4 * QUESTIONS
_SHARED_BY = 3

_MIN_WORDS, _MAX_WORDS, _MAX_CHARS = 6, 30, 300
_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[^\W\d_]{2,}")


def choose(snapshot: Snapshot) -> list[Golden]:
    """Up to eight questions, of documents spread over the whole set; none when the service names no passages."""
    passages = snapshot.passages(_TRIED)
    sentences = {document: best for document, text in passages.items() if (best := sentence(text))}
    holders = snapshot.holders(list(sentences.values()))
    found = [
        Golden(text, tuple(sorted(holders.get(text, [document]))))
        for document, text in sentences.items()
        if len(holders.get(text, [])) <= _SHARED_BY
    ]
    return spread(found, QUESTIONS)


def sentence(text: str) -> str:
    """The sentence of a passage with the most words, within what a question may be; empty when it has none.

    The text stands as it is in the passage, so that it can be looked for there.
    """
    candidates = [part.strip() for part in _END.split(text)]
    fitting = [part for part in candidates if _fits(part)]
    return max(fitting, key=lambda part: len(_WORD.findall(part)), default="")


def spread(found: Sequence[Golden], wanted: int) -> list[Golden]:
    """At most `wanted` of them, evenly over the whole list."""
    if len(found) <= wanted:
        return list(found)
    return [found[number * len(found) // wanted] for number in range(wanted)]


def _fits(part: str) -> bool:
    return _MIN_WORDS <= len(_WORD.findall(part)) <= _MAX_WORDS and len(part) <= _MAX_CHARS
