"""Building the word index from the passages that are served, without the worker that keeps it."""

from __future__ import annotations

from itertools import groupby

from rag_api.db import open_pool
from rag_api.retrieval.lexical import LexicalWriter
from rag_api.settings import Settings
from rag_api.worker.embedding import indexed_text

_ROWS = """
SELECT document_id, generation, base_id, chunk_id, heading, text FROM visible_chunks ORDER BY document_id, ordinal
"""
_PAGE = 2000


class IndexInUseError(Exception):
    """An ingest worker has the index open."""


def build_words(settings: Settings) -> int:
    """Replace the index by one of every passage that is served; returns how many those are.

    Raises:
        IndexInUseError: an ingest worker has it open.
        psycopg.OperationalError: the database does not answer.
    """
    count = 0
    try:
        writer = LexicalWriter(settings.index_dir)
    except ValueError:
        raise IndexInUseError(f"The word index in {settings.index_dir} is in use; stop the ingest service.") from None
    try:
        writer.clear()
        with (
            open_pool(settings, name="words", size=1) as pool,
            pool.connection() as connection,
            connection.cursor(name="words") as rows,
        ):
            rows.itersize = _PAGE
            rows.execute(_ROWS)
            for key, chunks in groupby(rows, lambda row: (row["document_id"], row["generation"], row["base_id"])):
                words = [(row["chunk_id"], indexed_text(row["heading"], row["text"])) for row in chunks]
                writer.add(*key, words)
                count += len(words)
        writer.commit()
    finally:
        writer.close()
    return count
