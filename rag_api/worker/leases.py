"""Leases: who works on which document, and until when.

A claim has an owner of its own, so that a result that comes too late, after the lease ran out or the document
changed, matches no row and is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg

from rag_api.db import Connection, Pool, Row

log = logging.getLogger(__name__)

LEASE_SECONDS = 30
HEARTBEAT_SECONDS = 8
MAX_ATTEMPTS = 4

# The budget is in chunks: small documents share a batch, a large one is alone. The states that are left out are said
# although nobody asks for them: a prepared plan uses the index of unfinished documents only when it can see that.
CLAIM = """
WITH open AS (
    SELECT id, seq, coalesce(chunk_count, 0) AS chunks FROM documents
    WHERE state = ANY(%(states)s) AND state NOT IN ('ready', 'failed') AND (lease_until IS NULL OR lease_until < now())
      AND (retry_at IS NULL OR retry_at <= now())
    ORDER BY seq LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), chosen AS (
    SELECT id, seq, sum(chunks) OVER (ORDER BY seq) - chunks AS before FROM open
)
UPDATE documents SET lease_owner = %(owner)s, lease_until = now() + make_interval(secs => %(seconds)s)
WHERE id IN (SELECT id FROM chosen WHERE before < %(budget)s)
RETURNING *
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """Documents held under one lease."""

    owner: str
    documents: list[Row]

    @property
    def ids(self) -> list[UUID]:
        return [row["id"] for row in self.documents]


class Leases:
    """Claims documents and keeps the claims alive while they are worked on."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._owners: set[str] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def claim(self, states: Sequence[str], *, limit: int, chunks: int = 1_000_000) -> Iterator[Claim]:
        """Hold up to `limit` documents in one of `states`, the oldest first, of about `chunks` chunks together.

        On leaving, what was not moved on is let go of, for the next to take.
        """
        owner = uuid4().hex
        wanted = {"states": list(states), "limit": limit, "budget": chunks, "owner": owner, "seconds": LEASE_SECONDS}
        with self._pool.connection() as connection:
            rows = connection.execute(CLAIM, wanted).fetchall()
        claim = Claim(owner, sorted(rows, key=lambda row: row["seq"]))
        if not rows:
            yield claim
            return
        with self._lock:
            self._owners.add(owner)
        try:
            yield claim
        finally:
            with self._lock:
                self._owners.discard(owner)
            # When this fails too, the lease runs out by itself.
            with contextlib.suppress(psycopg.Error), self._pool.connection() as connection:
                connection.execute(
                    "UPDATE documents SET lease_owner = NULL, lease_until = NULL"
                    " WHERE id = ANY(%s) AND lease_owner = %s",
                    (claim.ids, owner),
                )

    def renew(self) -> None:
        """Extend every lease in use."""
        with self._lock:
            owners = list(self._owners)
        if not owners:
            return
        with self._pool.connection() as connection:
            connection.execute(
                "UPDATE documents SET lease_until = now() + make_interval(secs => %s) WHERE lease_owner = ANY(%s)",
                (LEASE_SECONDS, owners),
            )

    def break_all(self) -> int:
        """Let go of what a predecessor held; only whoever holds the ingest lock may, as nobody else is working then."""
        with self._pool.connection() as connection:
            return connection.execute(
                "UPDATE documents SET lease_owner = NULL, lease_until = NULL WHERE lease_owner IS NOT NULL"
            ).rowcount


def held(connection: Connection, claim: Claim) -> set[UUID]:
    """Those of the claim's documents that are still ours, locked until the end of the transaction."""
    rows = connection.execute(
        "SELECT id FROM documents WHERE id = ANY(%s) AND lease_owner = %s ORDER BY id FOR UPDATE",
        (claim.ids, claim.owner),
    ).fetchall()
    return {row["id"] for row in rows}


def fail_document(connection: Connection, claim: Claim, document_id: UUID, code: str, reason: str) -> None:
    """Record that a document cannot be ingested, with a sentence for its owner; an older generation stays live."""
    connection.execute(
        "UPDATE documents SET state = 'failed', reason_code = %s, reason = %s, lease_owner = NULL, lease_until = NULL,"
        " updated_at = now() WHERE id = %s AND lease_owner = %s",
        (code, reason, document_id, claim.owner),
    )


def note_attempt(connection: Connection, claim: Claim, document: Row, error: Exception) -> None:
    """After an error nobody foresaw: try again later, and give up after MAX_ATTEMPTS with a sentence."""
    log.error("document %s in state %s: %r", document["id"], document["state"], error, exc_info=error)
    if document["attempts"] + 1 >= MAX_ATTEMPTS:
        reason = (
            f"{document['name']} could not be ingested because of an unexpected error ({type(error).__name__});"
            " retry it, and report it if it fails again."
        )
        fail_document(connection, claim, document["id"], "internal", reason)
        return
    connection.execute(
        "UPDATE documents SET attempts = attempts + 1, retry_at = now() + make_interval(secs => 5 * 2 ^ attempts),"
        " lease_owner = NULL, lease_until = NULL WHERE id = %s AND lease_owner = %s",
        (document["id"], claim.owner),
    )
