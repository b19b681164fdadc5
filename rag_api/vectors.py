"""The gateway to Chroma's Rust server, over its v2 HTTP API.

Collections are made without an embedding function and with cosine distance; a vector's id is the id of its chunk.
Collections are looked up by name and their ids cached: after a restore the same name may have another id, so a
404 drops the cached id and the call is made once more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from rag_api.errors import VectorsDownError, VectorsRefusedError

ROOT = "/api/v2/tenants/default_tenant/databases/default_database/collections"
PAGE = 5000
# Chroma refuses more than 5461 records a call; smaller ones keep the write gate short.
WRITE_BATCH = 500
# What changes nothing may be asked again; seconds before each further attempt.
_READS = ("query", "get", "count")
_READ_AGAIN = (0.02, 0.1, 0.3)


@dataclass(frozen=True, slots=True)
class VectorHit:
    """A chunk near the question; `score` is the cosine similarity, 1 for equal directions."""

    chunk_id: UUID
    score: float


@dataclass(frozen=True, slots=True)
class VectorRecord:
    """One chunk's vector with the facts Chroma filters by."""

    chunk_id: UUID
    vector: Sequence[float]
    base_id: UUID
    document_id: UUID


class Vectors:
    """A client of Chroma; safe to use from several threads.

    Every method raises VectorsDownError when Chroma does not answer or fails inside, and VectorsRefusedError when
    it refuses, for example a vector of the wrong dimension or a collection that does not exist.
    """

    def __init__(self, url: str, *, timeout: float = 60) -> None:
        self._client = httpx.Client(base_url=url, timeout=httpx.Timeout(timeout, connect=3))
        self._ids: dict[str, str] = {}
        self._lock = threading.Lock()

    def create_collection(self, name: str, metadata: dict[str, str | int]) -> None:
        """Make the collection unless it exists."""
        body = {"name": name, "get_or_create": True, "metadata": metadata}
        answer = self._call("POST", ROOT, {**body, "configuration": {"hnsw": {"space": "cosine"}}})
        with self._lock:
            self._ids[name] = str(answer.json()["id"])

    def delete_collection(self, name: str) -> None:
        """Remove the collection and its vectors; one that is not there is left at that."""
        with self._lock:
            self._ids.pop(name, None)
        if name in self.collection_names():
            self._call("DELETE", f"{ROOT}/{name}", None)

    def collection_names(self) -> set[str]:
        answer = self._call("GET", f"{ROOT}?limit=1000", None)
        return {str(item["name"]) for item in answer.json()}

    def upsert(self, collection: str, records: Sequence[VectorRecord]) -> None:
        """Write the vectors; to be called inside the write gate only."""
        for start in range(0, len(records), WRITE_BATCH):
            part = records[start : start + WRITE_BATCH]
            body = {
                "ids": [str(r.chunk_id) for r in part],
                "embeddings": [r.vector for r in part],
                "metadatas": [{"base": str(r.base_id), "document": str(r.document_id)} for r in part],
            }
            self._on(collection, "upsert", body)

    def delete(self, collection: str, chunk_ids: Sequence[UUID]) -> None:
        """Remove the vectors of these chunks, present or not; to be called inside the write gate only."""
        for start in range(0, len(chunk_ids), WRITE_BATCH):
            self._on(collection, "delete", {"ids": [str(i) for i in chunk_ids[start : start + WRITE_BATCH]]})

    def document_ids(self, collection: str, document_ids: Sequence[UUID]) -> set[UUID]:
        """The chunk ids that Chroma holds of these documents, whatever their generation."""
        where = {"document": {"$in": [str(i) for i in document_ids]}}
        return {i for page in self._pages(collection, where) for i in page}

    def present(self, collection: str, chunk_ids: Sequence[UUID]) -> set[UUID]:
        """Those of `chunk_ids` that Chroma holds."""
        found: set[UUID] = set()
        for start in range(0, len(chunk_ids), PAGE):
            part = [str(i) for i in chunk_ids[start : start + PAGE]]
            answer = self._on(collection, "get", {"ids": part, "include": []}).json()
            found.update(UUID(i) for i in answer["ids"])
        return found

    def fetch(self, collection: str, chunk_ids: Sequence[UUID]) -> dict[UUID, list[float]]:
        """The stored vectors of these chunks; missing ones are left out."""
        found: dict[UUID, list[float]] = {}
        for start in range(0, len(chunk_ids), WRITE_BATCH):
            part = [str(i) for i in chunk_ids[start : start + WRITE_BATCH]]
            answer = self._on(collection, "get", {"ids": part, "include": ["embeddings"]}).json()
            found.update(zip((UUID(i) for i in answer["ids"]), answer["embeddings"] or [], strict=True))
        return found

    def all_ids(self, collection: str) -> set[UUID]:
        """Every chunk id in the collection."""
        return {i for page in self._pages(collection, None) for i in page}

    def count(self, collection: str) -> int:
        return int(self._on(collection, "count", None).json())

    def query(
        self, collection: str, vectors: Sequence[Sequence[float]], k: int, bases: Sequence[UUID] | None = None
    ) -> list[list[VectorHit]]:
        """The `k` nearest chunks for each vector, best first, of these bases only when they are given."""
        body: dict[str, Any] = {"query_embeddings": [list(v) for v in vectors], "n_results": k}
        if bases is not None:
            body["where"] = {"base": {"$in": [str(b) for b in bases]}}
        answer = self._on(collection, "query", {**body, "include": ["distances"]}).json()
        return [
            [VectorHit(UUID(i), 1 - float(d)) for i, d in zip(ids, distances, strict=True)]
            for ids, distances in zip(answer["ids"], answer["distances"], strict=True)
        ]

    def answers(self) -> bool:
        """Whether Chroma is there."""
        try:
            self._call("GET", "/api/v2/heartbeat", None)
        except (VectorsDownError, VectorsRefusedError):
            return False
        return True

    def close(self) -> None:
        self._client.close()

    def _pages(self, collection: str, where: dict[str, Any] | None) -> Iterator[list[UUID]]:
        offset = 0
        while True:
            body: dict[str, Any] = {"include": [], "limit": PAGE, "offset": offset}
            answer = self._on(collection, "get", {**body, "where": where} if where else body).json()
            ids = [UUID(i) for i in answer["ids"]]
            yield ids
            if len(ids) < PAGE:
                return
            offset += PAGE

    def _on(self, collection: str, action: str, body: dict[str, Any] | None) -> httpx.Response:
        """Call a collection by name; reads are tried again when Chroma stumbles over a record that is being deleted."""
        for pause in _READ_AGAIN if action in _READS else ():
            try:
                return self._named(collection, action, body)
            except ChromaFailedError:
                time.sleep(pause)
        return self._named(collection, action, body)

    def _named(self, collection: str, action: str, body: dict[str, Any] | None) -> httpx.Response:
        """The cached id of a collection may be from before a restore, so a 404 is looked up again."""
        method = "GET" if action == "count" else "POST"
        known = self._ids.get(collection)
        if known is not None:
            try:
                return self._call(method, f"{ROOT}/{known}/{action}", body)
            except CollectionGoneError:
                pass
        found = str(self._call("GET", f"{ROOT}/{collection}", None).json()["id"])
        with self._lock:
            self._ids[collection] = found
        return self._call(method, f"{ROOT}/{found}/{action}", body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise VectorsDownError(f"Chroma does not answer: {error}") from error
        if answer.status_code == 404:
            raise CollectionGoneError(f"Chroma answered 404: {answer.text[:200]}")
        if answer.status_code >= 500 or answer.status_code == 429:
            raise ChromaFailedError(f"Chroma answered {answer.status_code}: {answer.text[:200]}")
        if answer.status_code >= 400:
            raise VectorsRefusedError(f"Chroma answered {answer.status_code}: {answer.text[:200]}")
        return answer


class ChromaFailedError(VectorsDownError):
    """Chroma answered, and failed inside. A query that meets a delete does so: "Error finding id"."""


class CollectionGoneError(VectorsRefusedError):
    """The collection does not exist (any more)."""
