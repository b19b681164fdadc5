"""What looks wrong about a set although nothing is missing from it, as far as the set itself shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backups.manifest import Anomaly, Collection

# Vectors of documents that are just being taken in are more than those of ready ones; this many more are not.
APART_VECTORS = 100
APART_SHARE = 0.2


def of_collections(collections: Iterable[Collection]) -> Iterator[Anomaly]:
    """Collections whose vectors and ready passages are far apart; fewer vectors than passages never get this far."""
    for found in collections:
        surplus = found.vectors - found.chunks
        if surplus > max(APART_VECTORS, found.chunks * APART_SHARE):
            yield Anomaly(
                "vectors_apart",
                "vectors",
                f"{found.name} holds {found.vectors:,} vectors for {found.chunks:,} passages of ready documents",
            )
