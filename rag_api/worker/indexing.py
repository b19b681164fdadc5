"""embedded -> indexed -> ready: words into the BM25 index, vectors verified, then visible at once as a whole."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from rag_api.collections import Collection
from rag_api.db import Connection, Row, enter_write_gate
from rag_api.documents import request_file_removal
from rag_api.worker.context import Context
from rag_api.worker.embedding import indexed_text
from rag_api.worker.leases import Claim, held

log = logging.getLogger(__name__)

DOCUMENTS = 100
CHUNKS = 2000

READY = """
UPDATE documents SET state = 'ready', live_generation = generation, live_sha256 = sha256, live_bytes = bytes,
    live_collection_id = collection_id, reason = NULL, reason_code = NULL, attempts = 0,
    lease_owner = NULL, lease_until = NULL, updated_at = now()
WHERE id = ANY(%s) AND state = 'indexed' AND lease_owner = %s
"""


def index_some(context: Context) -> bool:
    """Index what is embedded and make it ready; returns whether there was any."""
    collection = context.collection()
    with context.leases.claim(["embedded", "indexed"], limit=DOCUMENTS, chunks=CHUNKS) as claim:
        if not claim.documents:
            return False
        with context.words, context.pool.connection() as connection:
            chunks = chunks_of(connection, claim.ids)
            index_documents(context, claim.documents, chunks)
            connection.execute(
                "UPDATE documents SET state = 'indexed', updated_at = now() WHERE id = ANY(%s) AND lease_owner = %s",
                (claim.ids, claim.owner),
            )
            connection.commit()
            _make_ready(connection, claim, _verified(context, collection, claim, chunks))
        return True


def _verified(context: Context, collection: Collection, claim: Claim, chunks: dict[UUID, list[Row]]) -> set[UUID]:
    """Those documents of which Chroma holds every chunk's vector, in the collection in use."""
    present = context.services.vectors.present(collection.name, [c["id"] for rows in chunks.values() for c in rows])
    complete = {i for i, rows in chunks.items() if rows and all(c["id"] in present for c in rows)}
    return {row["id"] for row in claim.documents if row["collection_id"] == collection.id} & complete


def chunks_of(connection: Connection, document_ids: Sequence[UUID]) -> dict[UUID, list[Row]]:
    """The chunks of the generation being processed, by document."""
    rows = connection.execute(
        "SELECT c.id, c.document_id, c.heading, c.text FROM chunks c"
        " JOIN documents d ON d.id = c.document_id AND d.generation = c.generation"
        " WHERE d.id = ANY(%s) ORDER BY c.document_id, c.ordinal",
        (list(document_ids),),
    ).fetchall()
    found: dict[UUID, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["document_id"]].append(row)
    return found


def index_documents(context: Context, documents: Sequence[Row], chunks: dict[UUID, list[Row]]) -> None:
    """Put the words of documents into the index, in one commit.

    Raises:
        OSError: the folder was emptied meanwhile; the index begins anew and is refilled by the reconciler.
    """
    for row in documents:
        words = [(c["id"], indexed_text(c["heading"], c["text"])) for c in chunks[row["id"]]]
        context.lexical.add(row["id"], row["generation"], row["base_id"], words)
    commit_words(context)


def commit_words(context: Context) -> None:
    """Commit the word index; when its folder was emptied under us, ask for a refill. Raises as the commit does."""
    try:
        context.lexical.commit()
    except (OSError, ValueError):
        context.reconcile_now.set()
        raise


def _make_ready(connection: Connection, claim: Claim, verified: set[UUID]) -> None:
    """Flip the verified documents; the others lack vectors and are embedded again."""
    ours = held(connection, claim)
    connection.execute(READY, (list(ours & verified), claim.owner))
    for row in claim.documents:
        if row["id"] in ours & verified and row["live_sha256"] not in (None, row["sha256"]):
            request_file_removal(connection, row["live_sha256"])
    lacking = list(ours - verified)
    if lacking:
        log.warning("%d documents lack vectors and are embedded again", len(lacking))
        connection.execute(
            "UPDATE documents SET state = 'chunked', lease_owner = NULL, lease_until = NULL, updated_at = now()"
            " WHERE id = ANY(%s)",
            (lacking,),
        )


def drop_stale_generations(context: Context) -> bool:
    """Remove chunks, words and vectors of generations that are neither live nor on their way."""
    with context.pool.connection() as connection:
        rows = connection.execute(
            "SELECT c.id, c.document_id, c.generation FROM documents d JOIN chunks c ON c.document_id = d.id"
            " WHERE d.generation > 1 AND d.state <> 'deleting' AND c.generation < d.generation"
            " AND c.generation IS DISTINCT FROM d.live_generation LIMIT 500"
        ).fetchall()
        names = [row["name"] for row in connection.execute("SELECT name FROM collections").fetchall()]
    if not rows:
        return False
    with context.words:
        for document_id, generation in {(row["document_id"], row["generation"]) for row in rows}:
            context.lexical.delete(document_id, generation)
        commit_words(context)
    ids = [row["id"] for row in rows]
    with context.gate.connection() as connection:
        enter_write_gate(connection)
        for name in names:
            context.services.vectors.delete(name, ids)
        connection.execute("DELETE FROM chunks WHERE id = ANY(%s)", (ids,))
    return True
