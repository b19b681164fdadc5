"""Documents as their owners see them: store, list, read, delete, retry."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from rag_api.access import Need, User, authorise, bases_visible
from rag_api.db import Connection, Row
from rag_api.errors import ApiError, not_found
from rag_api.services import Services
from rag_api.storage import Incoming, Storage

STATES = ("received", "stored", "parsed", "chunked", "embedded", "indexed", "ready", "failed", "deleting")


def lock_content(connection: Connection, *sha256: str) -> None:
    """Until the end of the transaction nobody else adds or removes these contents' files or references."""
    for digest in sorted(set(sha256)):
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (digest,))


def document_store(
    services: Services, storage: Storage, *, user: User, base_id: UUID | None, path: str, incoming: Incoming
) -> tuple[Row, bool]:
    """Keep a finished incoming file as the document at `path` of a base (the user's own one by default).

    The same content at the same path changes nothing; other content there becomes the document's next generation,
    and the older one goes on answering until that is ready.

    Returns:
        The document's row, and whether there is now new content to be ingested.

    Raises:
        ApiError: the base is not the user's to write to.
    """
    with services.pool.connection() as connection:
        base = base_id or personal_base(connection, user.id)
        authorise(connection, user, Need.WRITE, base)
        lock_content(connection, incoming.sha256)
        row = _locked_at(connection, base, path)
        storage.keep(incoming)
        if row is None:
            row = _insert(connection, user, base, path, incoming)
            if row is not None:
                return row, True
            row = _locked_at(connection, base, path)
            assert row is not None
        if row["sha256"] == incoming.sha256:
            return row, False
        return _next_generation(connection, row, incoming), True


def personal_base(connection: Connection, user_id: UUID) -> UUID:
    row = connection.execute("SELECT id FROM bases WHERE owner_id = %s AND personal", (user_id,)).fetchone()
    assert row is not None, "every account is created with a base of its own"
    found: UUID = row["id"]
    return found


def document_get(connection: Connection, user: User, document_id: UUID, need: Need = Need.READ) -> Row:
    """The document's row; raises ApiError 404 when it is not there or not the user's to see, 403 as authorise does."""
    row = connection.execute("SELECT * FROM documents WHERE id = %s", (document_id,)).fetchone()
    if row is None:
        raise not_found("document")
    try:
        authorise(connection, user, need, row["base_id"])
    except ApiError as refusal:
        raise not_found("document") if refusal.status == 404 else refusal from None
    return row


def document_list(
    connection: Connection,
    user: User,
    *,
    base_id: UUID | None,
    state: str | None,
    limit: int,
    after: int | None,
    name: str | None = None,
) -> tuple[list[Row], dict[str, int]]:
    """Documents the user may see, newest first, starting behind the one with sequence number `after`.

    Returns:
        Up to `limit` rows, those with `name` in their file name, and how many documents there are in each state
        (whatever `state` and `name` were asked for).
    """
    if base_id is not None:
        authorise(connection, user, Need.READ, base_id)
    bases = [base_id] if base_id is not None else bases_visible(connection, user)
    rows = connection.execute(
        "SELECT * FROM documents WHERE base_id = ANY(%(bases)s) AND (%(state)s::text IS NULL OR state = %(state)s)"
        " AND (%(name)s::text IS NULL OR strpos(lower(name), lower(%(name)s)) > 0)"
        " AND (%(after)s::bigint IS NULL OR seq < %(after)s) ORDER BY seq DESC LIMIT %(limit)s",
        {"bases": bases, "state": state, "after": after, "limit": limit, "name": name},
    ).fetchall()
    counts = connection.execute(
        "SELECT state, count(*) AS n FROM documents WHERE base_id = ANY(%s) GROUP BY state", (bases,)
    ).fetchall()
    return rows, {row["state"]: row["n"] for row in counts}


def document_delete(connection: Connection, user: User, document_id: UUID) -> Row:
    """Mark a document as going; from this commit on nobody finds it, the ingest process does the rest."""
    document_get(connection, user, document_id, Need.WRITE)
    row = connection.execute(
        "UPDATE documents SET state = 'deleting', deleted_by = %s, lease_owner = NULL, lease_until = NULL,"
        " retry_at = NULL, updated_at = now() WHERE id = %s AND state <> 'deleting' RETURNING *",
        (user.id, document_id),
    ).fetchone()
    return row or document_get(connection, user, document_id, Need.WRITE)


def document_retry(connection: Connection, user: User, document_id: UUID) -> Row:
    """Send a failed document through ingestion again; raises ApiError 409 when it has not failed."""
    document_get(connection, user, document_id, Need.WRITE)
    row = connection.execute(
        # A new generation, so that no vector of a half-done attempt can pass for one of this.
        "UPDATE documents SET state = 'stored', generation = generation + 1, reason = NULL, reason_code = NULL,"
        " attempts = 0, retry_at = NULL, updated_at = now() WHERE id = %s AND state = 'failed' RETURNING *",
        (document_id,),
    ).fetchone()
    if row is None:
        raise ApiError(409, "not_failed", "Only a failed document can be retried; this one has not failed.")
    return row


def document_json(row: Row) -> dict[str, Any]:
    """The document as the API shows it."""
    same = ("name", "path", "state", "reason", "bytes", "sha256", "pages", "generation")
    shown = {key: row[key] for key in same}
    ids = {"id": str(row["id"]), "base": str(row["base_id"]), "chunks": row["chunk_count"]}
    return {**shown, **ids, "created_at": row["created_at"].isoformat(), "updated_at": row["updated_at"].isoformat()}


def _locked_at(connection: Connection, base_id: UUID, path: str) -> Row | None:
    return connection.execute(
        "SELECT * FROM documents WHERE base_id = %s AND path = %s AND state <> 'deleting' FOR UPDATE", (base_id, path)
    ).fetchone()


def _insert(connection: Connection, user: User, base_id: UUID, path: str, incoming: Incoming) -> Row | None:
    return connection.execute(
        "INSERT INTO documents (base_id, created_by, path, name, sha256, bytes, state)"
        " VALUES (%s, %s, %s, %s, %s, %s, 'stored')"
        " ON CONFLICT (base_id, path) WHERE state <> 'deleting' DO NOTHING RETURNING *",
        (base_id, user.id, path, PurePosixPath(path).name, incoming.sha256, incoming.size),
    ).fetchone()


def _next_generation(connection: Connection, row: Row, incoming: Incoming) -> Row:
    if row["sha256"] != row["live_sha256"]:
        request_file_removal(connection, row["sha256"])
    changed = connection.execute(
        "UPDATE documents SET sha256 = %s, bytes = %s, generation = generation + 1, state = 'stored', reason = NULL,"
        " reason_code = NULL, attempts = 0, retry_at = NULL, lease_owner = NULL, lease_until = NULL,"
        " pages = NULL, chunk_count = NULL, updated_at = now() WHERE id = %s RETURNING *",
        (incoming.sha256, incoming.size, row["id"]),
    ).fetchone()
    assert changed is not None
    return changed


def request_file_removal(connection: Connection, sha256: str) -> None:
    """Have the ingest process remove the content's file when nothing refers to it (any more)."""
    connection.execute("INSERT INTO file_removals (sha256) VALUES (%s) ON CONFLICT DO NOTHING", (sha256,))
