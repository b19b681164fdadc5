"""Hybrid retrieval: ask Chroma and tantivy, fuse, and serve only what Postgres says may be served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from uuid import UUID

from rag_api.collections import active_collection
from rag_api.db import Pool, Row
from rag_api.retrieval.fusion import Evidence, coverage, fuse, scale_of
from rag_api.retrieval.lexical import LexicalReader, terms
from rag_api.retrieval.share import chunk_counts, share_of, unfiltered_depth
from rag_api.services import Services
from rag_api.vectors import CollectionGoneError

# Candidates asked of each list; deeper gives min-max scaling a steadier floor and recall its room.
DEPTH = 100
# What Chroma holds beyond what Postgres serves (documents being deleted or replaced) must not eat up the k asked for.
_SLACK = 20

_VISIBLE = """
SELECT chunk_id, document_id, base_id, name, page, ordinal, text, heading FROM visible_chunks
WHERE chunk_id = ANY(%(chunks)s) AND base_id = ANY(%(bases)s)
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that answers a question, best first in every list.

    Attributes:
        document: name of the file as uploaded.
        page: page number from 1, None for formats without pages.
        score: fused score, 0 to 1, comparable within one list only.
        evidence: what it is worth on an absolute scale.
    """

    chunk_id: UUID
    document_id: UUID
    document: str
    page: int | None
    heading: str
    passage: str
    score: float
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Hits, and whether any of them is convincing: without one the documents say nothing about the question."""

    hits: list[Hit]

    @property
    def found(self) -> bool:
        return any(hit.evidence.convincing for hit in self.hits)

    @property
    def convincing(self) -> list[Hit]:
        return [hit for hit in self.hits if hit.evidence.convincing]


@cache
def lexical_index(folder: Path) -> LexicalReader:
    """The process's reader of the index in `folder`."""
    return LexicalReader(folder)


def hybrid(services: Services, question: str, bases: Sequence[UUID], k: int) -> Retrieval:
    """The `k` best passages of these bases by meaning and words; blocks, so call it from a thread.

    Args:
        bases: the bases whose documents the asker may read; nothing outside them is served or weighed.

    Raises:
        EmbedderDownError, VectorsDownError: a dependency does not answer.
        EmbedderRefusedError, VectorsRefusedError: the model or the collection does not fit.
    """
    if not bases or not question.strip():
        return Retrieval([])
    dense = _dense(services, question, bases)
    index = lexical_index(services.settings.index_dir)
    lexical = dict(index.search(question, bases, DEPTH))
    rows = _visible(services.pool, [*dense, *lexical], bases)
    near = dict(islice(_served(dense, rows).items(), DEPTH))
    ranked = fuse(near, _served(lexical, rows))[:k]
    weights, scale = index.weights(question), scale_of(services.settings.embed_model)

    def judged(row: Row) -> Evidence:
        words = set(terms(f"{row['heading']}\n{row['text']}", limit=None))
        return Evidence(dense.get(row["chunk_id"]), coverage(weights, words), scale)

    return Retrieval([_hit(rows[chunk_id], score, judged(rows[chunk_id])) for chunk_id, score in ranked])


def nearest(services: Services, collection: str, vectors: Sequence[Sequence[float]], k: int) -> list[list[UUID]]:
    """For each vector the `k` nearest chunks that are served, of all bases: what a restore is checked with.

    Raises:
        VectorsDownError, VectorsRefusedError: Chroma does not answer, or has no such collection.
    """
    found = services.vectors.query(collection, vectors, k + _SLACK)
    wanted = list({hit.chunk_id for hits in found for hit in hits})
    with services.pool.connection() as connection:
        rows = connection.execute("SELECT chunk_id FROM visible_chunks WHERE chunk_id = ANY(%s)", (wanted,)).fetchall()
    served = {row["chunk_id"] for row in rows}
    return [[hit.chunk_id for hit in hits if hit.chunk_id in served][:k] for hits in found]


def _dense(services: Services, question: str, bases: Sequence[UUID]) -> dict[UUID, float]:
    """Score of each chunk near the question, nearest first; some of them may have to be dropped, see `share`."""
    with services.pool.connection() as connection:
        collection = active_collection(connection)
    if collection is None:
        return {}
    share = share_of(chunk_counts(services.pool).now(), bases)
    unfiltered = unfiltered_depth(share, DEPTH, _SLACK)
    (vector,) = services.embedder.embed_questions([question])
    try:
        (hits,) = services.vectors.query(collection.name, [vector], unfiltered or DEPTH, None if unfiltered else bases)
    except CollectionGoneError:
        return {}  # wiped, and not yet rebuilt by the ingest worker: words still find
    return {hit.chunk_id: hit.score for hit in hits}


def _visible(pool: Pool, chunks: Sequence[UUID], bases: Sequence[UUID]) -> dict[UUID, Row]:
    with pool.connection() as connection:
        rows = connection.execute(_VISIBLE, {"chunks": list(set(chunks)), "bases": list(bases)}).fetchall()
    return {row["chunk_id"]: row for row in rows}


def _served(scores: Mapping[UUID, float], rows: Mapping[UUID, Row]) -> dict[UUID, float]:
    # Before fusing, so that what nobody may see does not stretch the scale either.
    return {chunk_id: score for chunk_id, score in scores.items() if chunk_id in rows}


def _hit(row: Row, score: float, evidence: Evidence) -> Hit:
    return Hit(
        chunk_id=row["chunk_id"],
        document_id=row["document_id"],
        document=row["name"],
        page=row["page"],
        heading=row["heading"],
        passage=row["text"],
        score=score,
        evidence=evidence,
    )
