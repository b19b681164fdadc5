"""Comparing the derived stores with Postgres, both ways, at the start, hourly, and whenever one was found emptied.

Postgres is the truth: what Chroma lacks is embedded again, what the word index lacks is indexed from the chunks,
what either has too much is removed.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from uuid import UUID

from rag_api.db import Connection, enter_write_gate
from rag_api.documents import request_file_removal
from rag_api.worker.context import Context
from rag_api.worker.embedding import indexed_text
from rag_api.worker.indexing import commit_words

log = logging.getLogger(__name__)

BATCH = 500
EVERY_SECONDS = 3600
# The passages that have a vector in a collection.
_EMBEDDED = """
FROM chunks c JOIN documents d ON d.id = c.document_id AND d.generation = c.generation
WHERE d.state IN ('embedded', 'indexed', 'ready') AND d.collection_id = %s
"""


class Reconciler:
    """Compares all stores when it is time to, or when somebody asks; the first time at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._next = 0.0
        # Set once and for good: from then on a question finds all that there is.
        self.is_served = False

    def step(self) -> bool:
        """Compare if it is due; raises what kept it from finishing, and is then due again."""
        if time.monotonic() < self._next and not self._context.reconcile_now.is_set():
            return False
        self._next = 0.0
        self._context.reconcile_now.clear()
        reconcile_words(self._context)
        self._context.refresh_collection()
        self.is_served = self.is_served or vectors_agree(self._context)
        reconcile_vectors(self._context)
        self.is_served = True
        drop_old_collections(self._context)
        sweep_files(self._context)
        self._next = time.monotonic() + EVERY_SECONDS
        return False


def reconcile_words(context: Context) -> int:
    """Bring the word index to what is visible; returns how many chunks it lacked."""
    with context.words:
        indexed = context.lexical.ids()
        with context.pool.connection() as connection:
            rows = connection.execute("SELECT chunk_id AS id FROM visible_chunks").fetchall()
            known = _all_chunks(connection)
        visible = {row["id"] for row in rows}
        if indexed - known:
            # Of another time or another database; chunks cannot be told apart by document any more.
            log.warning("the word index holds %d foreign chunks; building it anew", len(indexed - known))
            context.lexical.clear()
            indexed = set()
        missing = visible - indexed
        if missing:
            log.info("indexing the words of %d chunks that the index lacks", len(missing))
            _index_chunks(context, missing)
        return len(missing)


def _index_chunks(context: Context, missing: set[UUID]) -> None:
    with context.pool.connection() as connection:
        rows = connection.execute(
            "SELECT document_id, generation, base_id, chunk_id, heading, text FROM visible_chunks"
            " WHERE document_id IN (SELECT document_id FROM chunks WHERE id = ANY(%s)) ORDER BY document_id, ordinal",
            (list(missing),),
        ).fetchall()
    documents: dict[tuple[UUID, int, UUID], list[tuple[UUID, str]]] = defaultdict(list)
    for row in rows:
        words = (row["chunk_id"], indexed_text(row["heading"], row["text"]))
        documents[row["document_id"], row["generation"], row["base_id"]].append(words)
    for (document_id, generation, base_id), chunks in documents.items():
        context.lexical.add(document_id, generation, base_id, chunks)
    commit_words(context)


def vectors_agree(context: Context) -> bool:
    """Whether Chroma holds as many vectors as there are passages that should have one: asked in no time, however many.

    Counts say nothing of single vectors, which the comparison that follows looks at one by one.
    """
    collection = context.collection()
    with context.pool.connection() as connection:
        row = connection.execute(f"SELECT count(*) AS number {_EMBEDDED}", (collection.id,)).fetchone()
    return row is not None and row["number"] == context.services.vectors.count(collection.name)


def reconcile_vectors(context: Context) -> tuple[int, int]:
    """Have missing vectors embedded again and remove orphans; returns how many documents and vectors that were."""
    collection = context.collection()
    # The order matters: a vector counts as missing only if its row was there before Chroma was read, and as an
    # orphan only if its chunk is not there after.
    with context.pool.connection() as connection:
        rows = connection.execute(f"SELECT c.id, c.document_id {_EMBEDDED}", (collection.id,)).fetchall()
    stored = context.services.vectors.all_ids(collection.name)
    lacking = list({row["document_id"] for row in rows if row["id"] not in stored})
    with context.pool.connection() as connection:
        orphans = list(stored - _all_chunks(connection))
        again = connection.execute(
            "UPDATE documents SET state = 'chunked', lease_owner = NULL, lease_until = NULL, updated_at = now()"
            " WHERE id = ANY(%s) AND state IN ('embedded', 'indexed', 'ready')",
            (lacking,),
        ).rowcount
    for start in range(0, len(orphans), BATCH):
        with context.gate.connection() as connection:
            enter_write_gate(connection)
            context.services.vectors.delete(collection.name, orphans[start : start + BATCH])
    if again or orphans:
        log.warning("reconciled: %d documents lacked vectors, %d vectors had no chunk", again, len(orphans))
    return again, len(orphans)


def drop_old_collections(context: Context) -> None:
    """Remove collections of earlier embedders that no document needs any more."""
    with context.gate.connection() as connection:
        enter_write_gate(connection)
        rows = connection.execute(
            "DELETE FROM collections k WHERE NOT active AND NOT EXISTS"
            " (SELECT 1 FROM documents d WHERE k.id IN (d.collection_id, d.live_collection_id)) RETURNING name"
        ).fetchall()
        for row in rows:
            context.services.vectors.delete_collection(row["name"])


def sweep_files(context: Context) -> None:
    """Hand files that nothing refers to, such as an upload cut off before its commit, to the remover."""
    with context.pool.connection() as connection:
        rows = connection.execute(
            "SELECT sha256 FROM documents UNION SELECT live_sha256 FROM documents WHERE live_sha256 IS NOT NULL"
        ).fetchall()
        known = {row["sha256"] for row in rows}
        for sha256 in context.storage.contents():
            if sha256 not in known:
                request_file_removal(connection, sha256)


def _all_chunks(connection: Connection) -> set[UUID]:
    return {row["id"] for row in connection.execute("SELECT id FROM chunks").fetchall()}
