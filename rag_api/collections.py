"""Which Chroma collection belongs to which embedder: one active collection for all knowledge bases."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rag_api.db import Connection, enter_write_gate
from rag_api.embedder import EmbedderIdentity
from rag_api.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Collection:
    """A row of `collections`."""

    id: int
    name: str
    identity: EmbedderIdentity


def active_collection(connection: Connection) -> Collection | None:
    """The collection that new vectors go to and questions are asked of; None before the first ingest."""
    row = connection.execute("SELECT * FROM collections WHERE active").fetchone()
    if row is None:
        return None
    return Collection(
        row["id"],
        row["name"],
        EmbedderIdentity(row["model"], row["model_digest"], row["dimension"], row["prefixes"]),
    )


def activate_collection(connection: Connection, vectors: Vectors, identity: EmbedderIdentity) -> Collection:
    """Make sure the active collection is one of this embedder, and that Chroma has it.

    When the embedder has changed, a new collection becomes the active one and every document that has vectors
    elsewhere goes back to `chunked`, to be embedded again; it stays findable by its words meanwhile.
    """
    current = active_collection(connection)
    if current is None or current.identity != identity:
        current = _start_collection(connection, identity)
        connection.execute(
            "UPDATE documents SET state = 'chunked', updated_at = now()"
            " WHERE state IN ('embedded', 'indexed', 'ready') AND collection_id IS DISTINCT FROM %s",
            (current.id,),
        )
    enter_write_gate(connection)
    vectors.create_collection(current.name, {"model": identity.model, "digest": identity.digest})
    return current


def _start_collection(connection: Connection, identity: EmbedderIdentity) -> Collection:
    connection.execute("UPDATE collections SET active = false WHERE active")
    row = connection.execute("SELECT coalesce(max(id), 0) + 1 AS n FROM collections").fetchone()
    assert row is not None
    model = re.sub(r"[^A-Za-z0-9-]+", "-", identity.model).strip("-")
    name = f"kb_{model}_{identity.dimension}_{row['n']}"
    made = connection.execute(
        "INSERT INTO collections (name, model, model_digest, dimension, prefixes, active)"
        " VALUES (%s, %s, %s, %s, %s, true) RETURNING id",
        (name, identity.model, identity.digest, identity.dimension, identity.prefixes),
    ).fetchone()
    assert made is not None
    return Collection(made["id"], name, identity)
