"""Users at work: searches, uploads, deletions and writes through the gate, each timed at the client."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx
import psycopg

from rag_api.db import GATE_CONNECTIONS, Pool, enter_write_gate, open_pool
from rag_api.vectors import VectorRecord, Vectors
from rag_api.worker.preparing import chunk_id
from tests.bench import embedder
from tests.bench.installation import Installation

SEARCHERS = 3
SEARCH_PAUSE = 0.1
WRITE_PAUSE = 0.25
GATED_CHUNKS = 16
# Deleting begins when so many uploads of ours wait for it.
_KEPT = 20

READ, UPLOAD, DELETE, GATED = "search", "upload", "delete", "gated write"
WRITES = (UPLOAD, DELETE, GATED)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one client. `began` and `ended` in seconds since the epoch; `fault` says why it failed."""

    kind: str
    began: float
    ended: float
    fault: str = ""

    @property
    def milliseconds(self) -> float:
        return (self.ended - self.began) * 1000

    def overlaps(self, began: float, ended: float) -> bool:
        return self.began < ended and self.ended > began

    def within(self, began: float, ended: float) -> bool:
        return self.began > began and self.ended < ended


@dataclass
class Load:
    """Clients that go on until the block of `working` ends; `calls` grows meanwhile."""

    stack: Installation
    calls: list[Call] = field(default_factory=list)
    writer: GatedWriter | None = None
    _ended: threading.Event = field(default_factory=threading.Event)
    _uploaded: list[str] = field(default_factory=list)

    def since(self, began: float, *kinds: str) -> list[Call]:
        return [call for call in list(self.calls) if call.kind in kinds and call.ended > began]

    def search(self, client: httpx.Client) -> bool:
        words = " ".join(embedder.word(int(embedder.WORDS * random.random() ** 3)) for _ in range(8))
        answer = client.post("/api/search", json={"question": words, "k": 5}).raise_for_status().json()
        if not answer["hits"]:
            raise ValueError("the search found nothing")
        return True

    def upload(self, client: httpx.Client) -> bool:
        words = " ".join(embedder.word(random.randrange(embedder.WORDS)) for _ in range(160))
        name = f"upload-{secrets.token_hex(8)}.txt"
        answer = client.post("/api/documents", files={"file": (name, words.encode())}).raise_for_status()
        self._uploaded.append(str(answer.json()["id"]))
        return True

    def delete(self, client: httpx.Client) -> bool:
        if len(self._uploaded) <= _KEPT:
            return False
        client.delete(f"/api/documents/{self._uploaded.pop(0)}").raise_for_status()
        return True

    def repeat(self, kind: str, act: Callable[[], bool], pause: float) -> None:
        """Call `act` again and again and note how long each call took; one that had nothing to do says False."""
        while not self._ended.wait(pause * random.uniform(0.5, 1.5)):
            began, fault = time.time(), ""
            try:
                if not act():
                    continue
            except httpx.HTTPStatusError as refused:
                fault = f"status {refused.response.status_code}: {refused.response.text[:300]}"
            except (httpx.HTTPError, psycopg.Error, ValueError, RuntimeError) as error:
                fault = f"{type(error).__name__}: {error}"
            self.calls.append(Call(kind, began, time.time(), fault))

    def stop(self) -> None:
        self._ended.set()


@contextmanager
def working(stack: Installation) -> Iterator[Load]:
    """Three people who search, one who uploads, one who deletes, and one writer through the gate."""
    load = Load(stack)
    with stack.sign_in() as client, gated_writer(stack) as writer:
        load.writer = writer
        jobs: list[tuple[str, Callable[[], bool], float]] = [
            *((READ, lambda: load.search(client), SEARCH_PAUSE) for _ in range(SEARCHERS)),
            (UPLOAD, lambda: load.upload(client), WRITE_PAUSE),
            (DELETE, lambda: load.delete(client), WRITE_PAUSE),
            (GATED, writer.write, WRITE_PAUSE),
        ]
        threads = [threading.Thread(target=load.repeat, args=job, daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load.stop()
            for thread in threads:
                thread.join(30)


@dataclass
class GatedWriter:
    """What ingestion does when a document becomes ready, in one section of the gate, timed as a whole.

    Ingestion does it behind the back of whoever uploaded; here the client itself waits for the gate, the vectors and
    the commit, with the RAG service's own gate and gateway. Every other call takes the last document away again.
    """

    pool: Pool
    vectors: Vectors
    # When the slowest write began, and how long it waited for the gate and took behind it, in ms.
    slowest: tuple[float, float, float] = (0.0, 0.0, 0.0)
    _last: UUID | None = None

    def write(self) -> bool:
        began = time.time()
        with self.pool.connection() as connection:
            enter_write_gate(connection)
            entered = time.time()
            if self._last is None:
                self._last = self._add(connection)
            else:
                self._remove(connection, self._last)
                self._last = None
        waited, worked = (entered - began) * 1000, (time.time() - entered) * 1000
        if waited + worked > self.slowest[1] + self.slowest[2]:
            self.slowest = (began, waited, worked)
        return True

    def _add(self, connection: psycopg.Connection[dict[str, object]]) -> UUID:
        document = uuid4()
        row = connection.execute(
            # The content is that of another document, so that there is a file.
            "INSERT INTO documents (id, base_id, path, name, sha256, bytes, chunk_count, live_generation, live_sha256,"
            " live_bytes, collection_id, live_collection_id, state) SELECT %s, base_id, %s, name, sha256, bytes, %s, 1,"
            " sha256, bytes, collection_id, collection_id, 'ready' FROM documents WHERE seq = 1"
            " RETURNING base_id, (SELECT name FROM collections WHERE active) AS collection",
            (document, f"gated/{document}", GATED_CHUNKS),
        ).fetchone()
        assert row is not None
        chunks = [chunk_id(document, 1, ordinal) for ordinal in range(GATED_CHUNKS)]
        with connection.cursor() as cursor:
            cursor.executemany(
                'INSERT INTO chunks (id, document_id, generation, ordinal, text, start, "end")'
                " VALUES (%s, %s, 1, %s, 'gated', 0, 5)",
                [(chunk, document, ordinal) for ordinal, chunk in enumerate(chunks)],
            )
        vectors = embedder.embed_texts([f"w{random.randrange(embedder.WORDS)} w{n}" for n in range(GATED_CHUNKS)])
        base = UUID(str(row["base_id"]))
        records = [VectorRecord(c, v.tolist(), base, document) for c, v in zip(chunks, vectors, strict=True)]
        self.vectors.upsert(str(row["collection"]), records)
        return document

    def _remove(self, connection: psycopg.Connection[dict[str, object]], document: UUID) -> None:
        row = connection.execute("SELECT name FROM collections WHERE active").fetchone()
        assert row is not None
        self.vectors.delete(str(row["name"]), [chunk_id(document, 1, ordinal) for ordinal in range(GATED_CHUNKS)])
        connection.execute("DELETE FROM documents WHERE id = %s", (document,))


@contextmanager
def gated_writer(stack: Installation) -> Iterator[GatedWriter]:
    """A writer with a connection of the RAG service's pool of gates; what it wrote last is taken away at the end."""
    pool = open_pool(stack.settings, name="bench-gate", size=GATE_CONNECTIONS)
    vectors = Vectors(stack.env["VECTORDB_URL"])
    try:
        writer = GatedWriter(pool, vectors)
        yield writer
    finally:
        vectors.close()
        pool.close()
