"""Building the word index from the passages that are served, without the worker that keeps it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg

from rag_api.db import open_pool
from rag_api.retrieval.lexical import LexicalWriter
from rag_api.settings import Settings
from rag_api.worker.embedding import indexed_text

_ROWS = """
SELECT document_id, generation, base_id, chunk_id, heading, text FROM visible_chunks ORDER BY document_id, ordinal
"""
_PAGE = 2000
_BUILDING = ".building-"


class IndexInUseError(Exception):
    """An ingest worker has the index open."""


class WrongPlaceError(Exception):
    """The index cannot be built from there, or not into that folder; the message says why."""


def build_words(settings: Settings, *, database: str | None = None, beside: str | None = None) -> int:
    """Replace the index by one of every passage that is served; returns how many those are.

    A restore has the index of a database built that is not in use yet, beside the one in use.

    Args:
        database: another database of the same server.
        beside: name of another folder beside the index's own, made when it is missing.

    Raises:
        IndexInUseError: an ingest worker has it open.
        WrongPlaceError: `beside` is no name of a folder, or the database has no passages as this program knows them.
        psycopg.OperationalError: the database does not answer.
    """
    if beside is not None and Path(beside).name != beside:
        raise WrongPlaceError(f"{beside!r} is no name of a folder beside the index; give one without slashes.")
    source = replace(settings, postgres_url=_of_database(settings.postgres_url, database))
    try:
        if beside is None:
            return _build(source, settings.index_dir)
        return _build_beside(source, settings.index_dir.with_name(beside))
    except psycopg.errors.UndefinedTable:
        raise WrongPlaceError(f"The database {database or ''} holds no passages of this version.") from None


def _build_beside(settings: Settings, folder: Path) -> int:
    """Build under a name of this process alone: one that was given up may still be at work on an earlier try."""
    for left in folder.parent.glob(f"*{_BUILDING}*"):
        shutil.rmtree(left, ignore_errors=True)
    fresh = folder.with_name(f"{folder.name}{_BUILDING}{os.getpid()}")
    count = _build(settings, fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return count


def _of_database(url: str, name: str | None) -> str:
    return url if name is None else urlsplit(url)._replace(path=f"/{quote(name, safe='')}").geturl()


def _build(settings: Settings, folder: Path) -> int:
    count = 0
    try:
        writer = LexicalWriter(folder)
    except ValueError:
        raise IndexInUseError(f"The word index in {folder} is in use; stop the ingest service.") from None
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
