"""How much of everything a question may look at.

Chroma evaluates a filter over every record: at 100,000 chunks a question that may see nearly all of them takes a
second and more with the filter, and milliseconds without. So whoever may read most of what there is asks without one,
for as many more as will be dropped: Postgres says afterwards, as always, what is served.

What decides is how much there is, never what was found: the time of an answer says nothing about others' documents.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from uuid import UUID

from rag_api.db import Pool

# From this share on. Below, more than every second hit would be dropped.
UNFILTERED = 0.5
SECONDS = 60.0

_CHUNKS = """
SELECT base_id, sum(chunk_count) AS chunks FROM documents
WHERE live_generation IS NOT NULL AND state <> 'deleting' GROUP BY base_id
"""


class ChunkCounts:
    """Chunks of each base, as of at most a minute ago."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._counts: Mapping[UUID, int] = {}
        self._until = 0.0

    def now(self) -> Mapping[UUID, int]:
        with self._lock:
            if time.monotonic() >= self._until:
                with self._pool.connection() as connection:
                    rows = connection.execute(_CHUNKS).fetchall()
                self._counts = {row["base_id"]: int(row["chunks"] or 0) for row in rows}
                self._until = time.monotonic() + SECONDS
            return self._counts


@cache
def chunk_counts(pool: Pool) -> ChunkCounts:
    """The counts of the process, one for each pool."""
    return ChunkCounts(pool)


def share_of(counts: Mapping[UUID, int], bases: Sequence[UUID]) -> float:
    """The part of all chunks that lies in `bases`, 0 to 1; 0 while there are none."""
    total = sum(counts.values())
    return sum(counts.get(base, 0) for base in set(bases)) / total if total else 0.0


def unfiltered_depth(share: float, depth: int, slack: int) -> int | None:
    """How many hits to ask for without a filter so that about `depth` of them may be served; None: use the filter."""
    return math.ceil(depth / share) + slack if share >= UNFILTERED else None
