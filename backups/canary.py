"""The canary's questions: stored vectors, and the chunks that are exactly nearest to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backups.manifest import Question

QUESTIONS = 8
NEAREST = 10
# Two chunks whose similarity to a question differs by less may change places on another processor.
_GAP = 1e-4

Vectors = NDArray[np.float32]


def choose(collection: str, ids: Sequence[str], vectors: Vectors, questions: int = QUESTIONS) -> list[Question]:
    """Up to `questions` stored vectors spread over a collection, each with its exact nearest chunks.

    Args:
        ids: ids of the ready chunks, in a stable order.
        vectors: their vectors, shape (len(ids), dimension), any length but not zero.

    A vector that another chunk shares is no question: which of the two comes first would be chance.
    """
    if not len(ids):
        return []
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    chosen: list[Question] = []
    for row in _spread(len(ids), questions * 4):
        similarity = unit @ unit[row]
        if len(chosen) < questions and _alone(similarity):
            chosen.append(Question(collection, tuple(map(float, vectors[row])), _first(ids, similarity)))
    return chosen


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` row numbers over the whole range; every fourth of them first, so that few also spread."""
    rows = sorted({int(row) for row in np.linspace(0, count - 1, min(count, wanted))})
    return [row for start in range(4) for row in rows[start::4]]


def _alone(similarity: Vectors) -> bool:
    return len(similarity) == 1 or bool(np.partition(similarity, -2)[-2] < 1 - _GAP)


def _first(ids: Sequence[str], similarity: Vectors) -> tuple[str, ...]:
    order = np.argsort(-similarity, kind="stable")[:NEAREST]
    return tuple(ids[int(row)] for row in order)
