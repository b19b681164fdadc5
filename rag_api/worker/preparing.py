"""stored -> parsed -> chunked."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid5

from rag_api.db import Connection, Row
from rag_api.parsing import Chunk, ParsedDocument, ParseFailure, chunk, parse
from rag_api.worker.context import Context
from rag_api.worker.leases import Claim, fail_document, held, note_attempt
from rag_api.worker.stage import TRANSIENT

CLAIMED_AT_ONCE = 4
# Cutting a document up to this size takes milliseconds, less than it costs to record that it has been read.
SMALL_BYTES = 64 * 1024


def prepare_some(context: Context) -> bool:
    """Parse and chunk a few documents; returns whether there were any."""
    with context.leases.claim(["received", "stored", "parsed"], limit=CLAIMED_AT_ONCE) as claim:
        for document in claim.documents:
            _prepare(context, claim, document)
        return bool(claim.documents)


def chunk_id(document_id: UUID, generation: int, ordinal: int) -> UUID:
    """The id of a chunk, the same however often it is made."""
    return uuid5(document_id, f"{generation}:{ordinal}")


def _prepare(context: Context, claim: Claim, document: Row) -> None:
    try:
        parsed = parse(context.storage.path(document["sha256"]), document["name"])
        if document["bytes"] > SMALL_BYTES:
            with context.pool.connection() as connection:
                _note_parsed(connection, claim, document, parsed)
        chunks = chunk(parsed, context.services.settings.embed_model)
        with context.pool.connection() as connection:
            _note_parsed(connection, claim, document, parsed)
            _store_chunks(connection, claim, document, chunks)
    except ParseFailure as failure:
        with context.pool.connection() as connection:
            fail_document(connection, claim, document["id"], failure.code, failure.message)
    except FileNotFoundError:
        reason = f"The stored file of {document['name']} is missing on the server; upload it again under another name."
        with context.pool.connection() as connection:
            fail_document(connection, claim, document["id"], "content_missing", reason)
    except TRANSIENT:
        raise
    except Exception as error:
        with context.pool.connection() as connection:
            note_attempt(connection, claim, document, error)


def _note_parsed(connection: Connection, claim: Claim, document: Row, parsed: ParsedDocument) -> None:
    numbered = [page for page in parsed.pages if page.number is not None]
    connection.execute(
        "UPDATE documents SET state = 'parsed', title = %s, pages = %s, updated_at = now()"
        " WHERE id = %s AND lease_owner = %s",
        (parsed.title or "", len(numbered) or None, document["id"], claim.owner),
    )


def _store_chunks(connection: Connection, claim: Claim, document: Row, chunks: Sequence[Chunk]) -> None:
    if document["id"] not in held(connection, claim):
        return
    generation = document["generation"]
    connection.execute("DELETE FROM chunks WHERE document_id = %s AND generation = %s", (document["id"], generation))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO chunks (id, document_id, generation, ordinal, text, page, start, \"end\", heading)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    chunk_id(document["id"], generation, c.ordinal), document["id"], generation, c.ordinal,
                    c.text, c.page, c.start, c.end, c.heading,
                )
                for c in chunks
            ],
        )  # fmt: skip
    connection.execute(
        "UPDATE documents SET state = 'chunked', chunk_count = %s, lease_owner = NULL, lease_until = NULL,"
        " attempts = 0, updated_at = now() WHERE id = %s",
        (len(chunks), document["id"]),
    )
