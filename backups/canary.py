"""The canary's questions: stored vectors, and the chunks that are exactly nearest to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from backups.manifest import Question

QUESTIONS = 8
NEAREST = 10
# Two chunks whose similarity to a question differs by less may change places on another processor.
_GAP = 1e-4

Vectors = NDArray[np.float32]


def candidates(collection: str, ids: Sequence[str], vectors: Vectors) -> Iterator[Question]:
    """Stored vectors spread over a collection, each with its exact nearest chunks; four times as many as are asked.

    Args:
        ids: ids of the ready chunks, in a stable order.
        vectors: their vectors, shape (len(ids), dimension), any length but not zero.

    A vector that another chunk shares is no question: which of the two comes first would be chance.
    """
    if not len(ids):
        return
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    for row in _spread(len(ids), QUESTIONS * 4):
        similarity = unit @ unit[row]
        if _alone(similarity):
            yield Question(collection, tuple(map(float, vectors[row])), _first(ids, similarity))


def answerable(questions: Iterable[Question], ask: Callable[[Question], Sequence[str]]) -> list[Question]:
    """Up to `QUESTIONS` of the questions, those that an intact index answers.

    The search of an index is approximate, and on some data it finds little more than half of what is nearest. A
    question that is answered wrongly today would be so after a perfect restore as well, which would then be undone.
    Where too few are answered as they should be, others are asked for their first hit alone.

    Args:
        ask: what the index finds for a question, nearest first.
    """
    whole, first = list[Question](), list[Question]()
    for question in questions:
        found = ask(question)
        if list(found[:1]) != list(question.nearest[:1]):
            continue
        if set(question.nearest) <= set(found):
            whole.append(question)
        else:
            first.append(replace(question, nearest=question.nearest[:1]))
        if len(whole) == QUESTIONS:
            break
    return [*whole, *first][:QUESTIONS]


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` row numbers over the whole range; every fourth of them first, so that few also spread."""
    rows = sorted({int(row) for row in np.linspace(0, count - 1, min(count, wanted))})
    return [row for start in range(4) for row in rows[start::4]]


def _alone(similarity: Vectors) -> bool:
    return len(similarity) == 1 or bool(np.partition(similarity, -2)[-2] < 1 - _GAP)


def _first(ids: Sequence[str], similarity: Vectors) -> tuple[str, ...]:
    order = np.argsort(-similarity, kind="stable")[:NEAREST]
    return tuple(ids[int(row)] for row in order)
