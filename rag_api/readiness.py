"""Whether the things we depend on answer, each with a word on what is wrong."""

from __future__ import annotations

import psycopg
import psycopg_pool
import redis

from rag_api.schema import READ, read_schema
from rag_api.services import Services


def dependency_states(services: Services) -> dict[str, str]:
    """`ok` or a sentence for each dependency."""
    return {
        "postgres": postgres_state(services),
        "redis": _redis_state(services),
        "vectordb": "ok" if services.vectors.answers() else "Chroma does not answer",
        "ollama": "ok"
        if services.embedder.answers()
        else f"the model server does not answer or has no model {services.embedder.model}",
    }


def postgres_state(services: Services) -> str:
    """`ok` when the database answers and has the schema this program expects."""
    try:
        with services.pool.connection(timeout=3) as connection:
            row = connection.execute(READ).fetchone()
    except psycopg.errors.UndefinedTable:
        return "the schema is missing; run python -m rag_api migrate"
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        return "the database does not answer"
    if row is None or not read_schema(row).fits:
        return "the schema is of another version; run python -m rag_api migrate"
    return "ok"


def _redis_state(services: Services) -> str:
    try:
        services.redis.ping()
    except redis.RedisError:
        return "Redis does not answer"
    return "ok"
