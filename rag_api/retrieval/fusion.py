"""Fusing two ranked lists, and deciding whether they found anything at all. Pure: no store, no clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")

# Weight of meaning against words.
DENSE_WEIGHT = 0.5

# A passage is evidence when its meaning is close enough, when it holds nearly all that is rare in the question, or
# when it is near on both.
COVERED = 0.8
PARTLY_COVERED = 0.5


@dataclass(frozen=True, slots=True)
class Scale:
    """From which cosine similarity on an embedder's passages are `close`, or at least `near`."""

    close: float
    near: float


# Measured: the best passage for each of 225 questions about aeronautics has a similarity of .38 and more (median .70),
# for 35 questions about anything else of .32 and less (median .18).
MINILM = Scale(close=0.36, near=0.25)
# Embedders trained with a low temperature (bge, nomic, e5, mxbai) crowd everything above .4. Not measured here.
CROWDED = Scale(close=0.62, near=0.5)


def scale_of(embedder: str) -> Scale:
    """The scale of an embedding model by its Ollama name."""
    return MINILM if "minilm" in embedder.lower() else CROWDED


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one passage.

    Attributes:
        similarity: cosine similarity with the question, None when only its words were found.
        coverage: share of the question's terms that the passage holds, weighted by how rare they are, 0 to 1.
        scale: what similarities of this embedder mean.
    """

    similarity: float | None
    coverage: float
    scale: Scale = MINILM

    @property
    def convincing(self) -> bool:
        """Whether the passage is about the question, on an absolute scale: scaled scores always have a best of 1."""
        if self.coverage >= COVERED:
            return True
        if self.similarity is None:
            return False
        partly = self.similarity >= self.scale.near and self.coverage >= PARTLY_COVERED
        return partly or self.similarity >= self.scale.close


def scaled(scores: Mapping[Key, float]) -> dict[Key, float]:
    """Min-max scaling: the best becomes 1, the worst 0; when all are equal, all become 1."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high <= low:
        return dict.fromkeys(scores, 1.0)
    return {key: (score - low) / (high - low) for key, score in scores.items()}


def fuse(
    dense: Mapping[Key, float], lexical: Mapping[Key, float], weight: float = DENSE_WEIGHT
) -> list[tuple[Key, float]]:
    """Weighted sum of the two scaled lists, best first; what one list lacks counts 0 there.

    When one list is empty the other counts in full, so scores stay comparable. Ties keep the order of `dense`, then
    of `lexical`.
    """
    if not dense or not lexical:
        weight = 1.0 if dense else 0.0
    meaning, words = scaled(dense), scaled(lexical)
    keys = dict.fromkeys([*dense, *lexical])
    fused = {key: weight * meaning.get(key, 0.0) + (1 - weight) * words.get(key, 0.0) for key in keys}
    return sorted(fused.items(), key=lambda item: -item[1])


def spread(ranked: Sequence[Item], group: Callable[[Item], Hashable]) -> list[Item]:
    """The best of every group first, in their order, then the others in theirs."""
    seen: set[Hashable] = set()
    first: list[Item] = []
    rest: list[Item] = []
    for item in ranked:
        (rest if group(item) in seen else first).append(item)
        seen.add(group(item))
    return [*first, *rest]


def rarity(frequency: int, total: int) -> float:
    """BM25's inverse document frequency of a term that `frequency` of `total` passages hold."""
    return math.log(1 + (total - frequency + 0.5) / (frequency + 0.5))


def coverage(weights: Mapping[str, float], present: Collection[str]) -> float:
    """Share of the question's term weights that a passage with the terms `present` holds."""
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in present) / total if total else 0.0
