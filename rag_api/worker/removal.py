"""deleting -> gone: vectors, proof that none is left, words, file, row; in this order, each repeatable.

Files go under the exclusive side of the removal gate only. A backup holds the shared side from its freeze until it
has stored the files its snapshot names; meanwhile documents stay `deleting`, invisible, and are tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from rag_api.db import Connection, Row, enter_write_gate, try_removal_gate
from rag_api.documents import lock_content
from rag_api.errors import VectorsDownError
from rag_api.worker.context import Context
from rag_api.worker.indexing import commit_words
from rag_api.worker.leases import Claim, held

log = logging.getLogger(__name__)

DOCUMENTS = 50
AGAIN_SECONDS = 2

LEDGER = """
INSERT INTO deletions (document_id, base_id, name, sha256, chunks, vectors, file_removed, requested_by)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""


def remove_some(context: Context) -> bool:
    """Take a few documents further on their way out; returns whether there were any."""
    with context.leases.claim(["deleting"], limit=DOCUMENTS) as claim:
        if not claim.documents:
            return remove_files(context)
        fresh = Claim(claim.owner, [row for row in claim.documents if row["removed_vectors"] is None])
        if fresh.documents:
            _remove_vectors(context, fresh)
        return _remove_rows(context, claim)


def _remove_vectors(context: Context, claim: Claim) -> None:
    with context.words:
        for row in claim.documents:
            context.lexical.delete(row["id"])
        commit_words(context)
    with context.gate.connection() as connection:
        enter_write_gate(connection)
        names = [row["name"] for row in connection.execute("SELECT name FROM collections").fetchall()]
        removed = sum(_empty_collection(context, name, claim.ids) for name in names)
        connection.execute(
            "UPDATE documents d SET removed_vectors ="
            " (SELECT count(*) FROM chunks c WHERE c.document_id = d.id AND d.collection_id IS NOT NULL)"
            " WHERE id = ANY(%s) AND lease_owner = %s",
            (claim.ids, claim.owner),
        )
        connection.execute("DELETE FROM chunks WHERE document_id = ANY(%s)", (claim.ids,))
    log.info("removed %d vectors of %d documents", removed, len(claim.documents))


def _empty_collection(context: Context, name: str, document_ids: Sequence[UUID]) -> int:
    """Remove every vector of these documents and prove it; returns how many there were."""
    vectors = context.services.vectors
    if name not in vectors.collection_names():
        return 0
    found = vectors.document_ids(name, document_ids)
    if found:
        vectors.delete(name, list(found))
        if vectors.document_ids(name, document_ids):
            raise VectorsDownError(f"vectors of deleted documents are still in {name}; removing them again")
    return len(found)


def _remove_rows(context: Context, claim: Claim) -> bool:
    """File and row, in one transaction under the removal gate; False when a backup holds it."""
    with context.pool.connection() as connection:
        if not try_removal_gate(connection):
            connection.execute(
                "UPDATE documents SET lease_owner = NULL, lease_until = NULL,"
                " retry_at = now() + make_interval(secs => %s) WHERE id = ANY(%s) AND lease_owner = %s",
                (AGAIN_SECONDS, claim.ids, claim.owner),
            )
            return False
        contents = {sha for row in claim.documents for sha in (row["sha256"], row["live_sha256"]) if sha}
        lock_content(connection, *contents)
        ours = held(connection, claim)
        going = [row for row in claim.documents if row["id"] in ours]
        chunks = {row["id"]: _removed_count(connection, row) for row in going}
        connection.execute("DELETE FROM documents WHERE id = ANY(%s)", ([row["id"] for row in going],))
        removed = {sha for sha in contents if _remove_unreferenced(context, connection, sha)}
        for row in going:
            count = chunks[row["id"]]
            facts = (row["id"], row["base_id"], row["name"], row["sha256"], count, count)
            connection.execute(LEDGER, (*facts, row["sha256"] in removed, row["deleted_by"]))
    return True


def _removed_count(connection: Connection, document: Row) -> int:
    row = connection.execute("SELECT removed_vectors FROM documents WHERE id = %s", (document["id"],)).fetchone()
    return int(row["removed_vectors"] or 0) if row else 0


def _remove_unreferenced(context: Context, connection: Connection, sha256: str) -> bool:
    """Remove the content's file unless a document refers to it; the caller holds gate and content lock."""
    used = connection.execute(
        "SELECT 1 FROM documents WHERE sha256 = %(sha)s OR live_sha256 = %(sha)s LIMIT 1", {"sha": sha256}
    ).fetchone()
    return used is None and context.storage.remove(sha256)


def remove_files(context: Context) -> bool:
    """Remove files of generations that were replaced; False when there are none or a backup holds the gate."""
    with context.pool.connection() as connection:
        waiting = connection.execute("SELECT sha256 FROM file_removals LIMIT 100").fetchall()
        if not waiting or not try_removal_gate(connection):
            return False
        contents = [row["sha256"] for row in waiting]
        lock_content(connection, *contents)
        for sha256 in contents:
            _remove_unreferenced(context, connection, sha256)
        connection.execute("DELETE FROM file_removals WHERE sha256 = ANY(%s)", (contents,))
    return True
