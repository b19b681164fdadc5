"""What a request or a worker needs to reach the outside: pool, Redis, embedder, Chroma."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from rag_api.db import Pool, open_pool
from rag_api.embedder import Embedder
from rag_api.settings import Settings
from rag_api.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Services:
    """Clients that are safe to share between threads; open for the life of the process."""

    settings: Settings
    pool: Pool
    redis: redis.Redis
    embedder: Embedder
    vectors: Vectors

    def close(self) -> None:
        self.pool.close()
        self.redis.close()
        self.embedder.close()
        self.vectors.close()


def open_services(settings: Settings, *, name: str, connections: int) -> Services:
    """Open every client; none of them waits for its server."""
    return Services(
        settings=settings,
        pool=open_pool(settings, name=name, size=connections),
        redis=redis.Redis.from_url(
            settings.redis_url,
            password=settings.redis_password.reveal(),
            socket_timeout=5,
            socket_connect_timeout=3,
        ),
        embedder=Embedder(settings.ollama_url, settings.embed_model),
        vectors=Vectors(settings.vectordb_url),
    )
