"""What a stack holds now: its database, its folders and its vector store, as far as they can be read.

A stack that has to be restored is often damaged: whatever cannot be read is left unknown, and nothing here raises for
it but a server that refuses us altogether.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import psycopg

from backups.restore import compare, preview
from backups.restore.errors import CanaryUnreached
from backups.restore.preview import Document, Side
from backups.restore.swap import Target


def live_side(target: Target, vectordb_url: str) -> Side:
    """The live side of a preview; an empty one where there is no database yet, or not one of the RAG service."""
    models = frozenset(preview.model_names(target.folders("models").live))
    if target.server is None or target.database not in target.server.oids():
        return Side(_vectors(vectordb_url), Counter(), models, frozenset())
    with target.server.connect(target.database) as connection:
        counts = {str(n): int(str(v)) for n, v in _rows(connection, "SELECT name, value FROM backup_counts")}
        documents = [
            (str(name), str(sha256))
            for name, sha256, state in _rows(connection, "SELECT name, sha256, state FROM backup_documents")
            if state not in preview.GONE
        ]
        return Side(
            {**counts, **_vectors(vectordb_url)},
            Counter(documents),
            models,
            users=_users(connection),
            deleted=frozenset(str(key) for (key,) in _rows(connection, "SELECT document_id FROM backup_deletions")),
            damaged=list(_damaged(connection, documents, target.folders("documents").live)),
        )


def _users(connection: psycopg.Connection) -> frozenset[str] | None:
    if connection.execute("SELECT to_regclass('backup_accounts') IS NULL").fetchone() == (True,):
        return None
    return frozenset(str(email) for (email,) in _rows(connection, "SELECT email FROM backup_accounts"))


def damaged_files(connection: psycopg.Connection, folder: Path) -> Iterator[str]:
    """SHA-256 of every file that the database lists and the folder lacks, or has in another length."""
    for path, sha256, size in _rows(connection, "SELECT path, sha256, bytes FROM backup_files"):
        try:
            whole = (folder / str(path)).stat().st_size == size
        except OSError:
            whole = False
        if not whole:
            yield str(sha256)


def _damaged(connection: psycopg.Connection, documents: list[Document], folder: Path) -> Iterator[Document]:
    names: dict[str, list[str]] = defaultdict(list)
    for name, sha256 in documents:
        names[sha256].append(name)
    for sha256 in damaged_files(connection, folder):
        yield from ((name, sha256) for name in names.get(sha256, [sha256]))


def _vectors(url: str) -> dict[str, int]:
    try:
        return {"vectors": sum(compare.running_vectors(url).values())} if url else {}
    except CanaryUnreached:
        return {}


def _rows(connection: psycopg.Connection, query: str) -> list[tuple[object, ...]]:
    """Rows of one of the service's views; none where it is missing."""
    try:
        return connection.execute(query.encode()).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return []
