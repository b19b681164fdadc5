"""Embeddings over Ollama's API.

Ollama adds no prefixes of its own, so the ones that a model was trained with are added here: one for questions,
one for passages. The embedder's identity (model, digest, dimension, prefixes) decides which collection fits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from rag_api.errors import EmbedderDownError, EmbedderRefusedError

Vector = list[float]

# Prefixes for (questions, passages), by the start of the model's name; from the models' own cards.
PREFIXES: dict[str, tuple[str, str]] = {
    "nomic-embed-text": ("search_query: ", "search_document: "),
    "mxbai-embed-large": ("Represent this sentence for searching relevant passages: ", ""),
    "bge-": ("Represent this sentence for searching relevant passages: ", ""),
    "snowflake-arctic-embed": ("Represent this sentence for searching relevant passages: ", ""),
}


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts in their order, and how many tokens the model read."""

    vectors: list[Vector]
    tokens: int


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What two sets of vectors must share to be comparable."""

    model: str
    digest: str
    dimension: int
    prefixes: str


class Embedder:
    """A client of one embedding model; safe to use from several threads."""

    def __init__(self, url: str, model: str, *, timeout: float = 120) -> None:
        self.model = model
        self._query_prefix, self._passage_prefix = prefixes_of(model)
        self._client = httpx.Client(base_url=url, timeout=httpx.Timeout(timeout, connect=3))

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """Vectors of passages, in their order.

        Raises:
            EmbedderDownError: the server does not answer, is too busy, or does not have the model.
            EmbedderRefusedError: the server refused these texts.
        """
        return self._embed([self._passage_prefix + text for text in texts])

    def embed_questions(self, texts: Sequence[str]) -> list[Vector]:
        """Vectors of questions, in their order; raises as embed_passages does."""
        return self._embed([self._query_prefix + text for text in texts])

    def embed_whole(self, texts: Sequence[str]) -> Embedded:
        """Texts as they are, without a prefix, and none of them cut off.

        Raises:
            EmbedderDownError: as embed_passages does.
            EmbedderRefusedError: the server refused them, most often because one is longer than the model reads.
        """
        return self._embedded(list(texts), truncate=False)

    def identity(self) -> EmbedderIdentity:
        """Ask the server for the model's digest and the length of its vectors; raises as embed_passages does."""
        tags = self._call("GET", "/api/tags", None)
        names = {self.model, f"{self.model}:latest"}
        digests = [m.get("digest", "") for m in tags.get("models", []) if m.get("name") in names]
        if not digests:
            raise EmbedderDownError(f"the model {self.model} is not in the model server; pull it first")
        dimension = len(self._embed(["dimension"])[0])
        return EmbedderIdentity(self.model, digests[0], dimension, f"{self._query_prefix!r} {self._passage_prefix!r}")

    def answers(self) -> bool:
        """Whether the server is there and has the model."""
        try:
            tags = self._call("GET", "/api/tags", None)
        except (EmbedderDownError, EmbedderRefusedError):
            return False
        return any(m.get("name") in {self.model, f"{self.model}:latest"} for m in tags.get("models", []))

    def close(self) -> None:
        self._client.close()

    def _embed(self, texts: list[str]) -> list[Vector]:
        return self._embedded(texts, truncate=True).vectors if texts else []

    def _embedded(self, texts: list[str], *, truncate: bool) -> Embedded:
        answer = self._call("POST", "/api/embed", {"model": self.model, "input": texts, "truncate": truncate})
        vectors: list[Vector] = answer.get("embeddings", [])
        if len(vectors) != len(texts):
            raise EmbedderRefusedError(f"the model server sent {len(vectors)} vectors for {len(texts)} texts")
        return Embedded(vectors, answer.get("prompt_eval_count", 0))

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise EmbedderDownError(f"the model server does not answer: {error}") from error
        # 404 is a model that is not there (yet); that is no fault of the texts.
        if answer.status_code >= 500 or answer.status_code in {404, 429}:
            raise EmbedderDownError(f"the model server answered {answer.status_code}: {answer.text[:200]}")
        if answer.status_code >= 400:
            raise EmbedderRefusedError(f"the model server answered {answer.status_code}: {answer.text[:200]}")
        body_out: dict[str, Any] = answer.json()
        return body_out


def prefixes_of(model: str) -> tuple[str, str]:
    """The prefixes (questions, passages) that `model` was trained with; empty for models without."""
    name = model.rsplit("/", 1)[-1]
    for start, prefixes in PREFIXES.items():
        if name.startswith(start):
            return prefixes
    return ("", "")
