"""chunked -> embedded: vectors from the model server into Chroma.

Chunks of many documents share a batch, and two batches are under way at a time, so that the model server always
has one to work on while the other is written. The write gate is held around the Chroma call and the commit only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from rag_api.collections import Collection
from rag_api.db import Row, enter_write_gate
from rag_api.embedder import Vector
from rag_api.vectors import VectorRecord
from rag_api.worker.context import Context
from rag_api.worker.leases import Claim, held, note_attempt
from rag_api.worker.stage import TRANSIENT

log = logging.getLogger(__name__)

# Small, so that a question asked meanwhile waits for a second at most; the calls cost little beside the embedding.
BATCH = 16
WRITTEN_AT_ONCE = 256
DOCUMENTS = 32

# The same text in the same base, embedded already; never of another base, whose content must not show even by time.
TWINS = """
SELECT c.id, min(t.id::text)::uuid AS twin
FROM chunks c
JOIN documents d ON d.id = c.document_id AND d.generation = c.generation
JOIN documents o ON o.base_id = d.base_id AND o.live_sha256 = d.sha256 AND o.id <> d.id
    AND o.live_collection_id = %(collection)s AND o.state <> 'deleting'
JOIN chunks t ON t.document_id = o.id AND t.generation = o.live_generation AND t.ordinal = c.ordinal
    AND t.text = c.text AND t.heading = c.heading
WHERE c.document_id = ANY(%(documents)s) GROUP BY c.id
"""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk on its way into Chroma."""

    id: UUID
    document_id: UUID
    base_id: UUID
    text: str


def embed_some(context: Context) -> bool:
    """Embed one batch; returns whether there was any."""
    collection = context.collection()
    with context.leases.claim(["chunked"], limit=DOCUMENTS, chunks=BATCH) as claim:
        if not claim.documents:
            return False
        try:
            _embed(context, collection, claim)
        except TRANSIENT:
            raise
        except Exception as error:
            log.warning("a batch of %d documents failed, trying them one by one: %r", len(claim.documents), error)
            _embed_each(context, collection, claim)
        return True


def indexed_text(heading: str, text: str) -> str:
    """What is embedded and indexed: the passage under its headings."""
    return f"{heading}\n{text}" if heading else text


def _embed(context: Context, collection: Collection, claim: Claim) -> None:
    passages = _passages(context, claim)
    twins = _twin_vectors(context, collection, claim)
    for copied in _slices([passage for passage in passages if passage.id in twins], WRITTEN_AT_ONCE):
        _write(context, collection, claim, [_record(passage, twins[passage.id]) for passage in copied], done=False)
    present = set(twins)
    if len(passages) > BATCH:
        # A large document whose embedding was cut off goes on where it stopped.
        present |= context.services.vectors.present(collection.name, [passage.id for passage in passages])
    slices = list(_slices([passage for passage in passages if passage.id not in present], BATCH)) or [[]]
    for number, part in enumerate(slices, start=1):
        vectors = context.services.embedder.embed_passages([passage.text for passage in part])
        records = [_record(passage, vector) for passage, vector in zip(part, vectors, strict=True)]
        # Only the last write moves the documents on.
        _write(context, collection, claim, records, done=number == len(slices))


def _write(
    context: Context, collection: Collection, claim: Claim, records: Sequence[VectorRecord], *, done: bool
) -> None:
    with context.gate.connection() as connection:
        enter_write_gate(connection)
        # The rows stay locked until the commit: a delete or a new generation waits and then sees these vectors.
        ours = held(connection, claim)
        context.services.vectors.upsert(collection.name, [r for r in records if r.document_id in ours])
        if done:
            connection.execute(
                "UPDATE documents SET state = 'embedded', collection_id = %s, lease_owner = NULL, lease_until = NULL,"
                " attempts = 0, updated_at = now() WHERE id = ANY(%s) AND lease_owner = %s",
                (collection.id, list(ours), claim.owner),
            )


def _passages(context: Context, claim: Claim) -> list[Passage]:
    with context.pool.connection() as connection:
        rows = connection.execute(
            "SELECT c.id, c.document_id, d.base_id, c.heading, c.text FROM chunks c"
            " JOIN documents d ON d.id = c.document_id AND d.generation = c.generation"
            " WHERE d.id = ANY(%s) AND d.lease_owner = %s ORDER BY d.seq, c.ordinal",
            (claim.ids, claim.owner),
        ).fetchall()
    return [
        Passage(row["id"], row["document_id"], row["base_id"], indexed_text(row["heading"], row["text"]))
        for row in rows
    ]


def _twin_vectors(context: Context, collection: Collection, claim: Claim) -> dict[UUID, Vector]:
    """Vectors by chunk that are there already for the same text."""
    with context.pool.connection() as connection:
        rows = connection.execute(TWINS, {"collection": collection.id, "documents": claim.ids}).fetchall()
    stored = context.services.vectors.fetch(collection.name, [row["twin"] for row in rows])
    return {row["id"]: stored[row["twin"]] for row in rows if row["twin"] in stored}


def _embed_each(context: Context, collection: Collection, claim: Claim) -> None:
    """Find the document that cannot be embedded, and let the others pass."""
    for document in claim.documents:
        alone = Claim(claim.owner, [document])
        try:
            _embed(context, collection, alone)
        except TRANSIENT:
            raise
        except Exception as error:
            _note(context, alone, document, error)


def _note(context: Context, claim: Claim, document: Row, error: Exception) -> None:
    with context.pool.connection() as connection:
        note_attempt(connection, claim, document, error)


def _slices(passages: Sequence[Passage], size: int) -> Iterator[Sequence[Passage]]:
    for start in range(0, len(passages), size):
        yield passages[start : start + size]


def _record(passage: Passage, vector: Vector) -> VectorRecord:
    return VectorRecord(passage.id, vector, passage.base_id, passage.document_id)
