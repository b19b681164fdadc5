"""The data of the benches: a stack with as many chunks as wanted, filled without waiting for a model.

What is written is what the RAG service would have written: its schema by its own migrations, its collection by its own
code, chunk ids by its own rule, vectors that its embedder gives for these texts, files under their checksum. The
service then starts on it, compares its stores and finds nothing to repair. Prepared data is kept for the next run.

The passages' texts are given to Chroma too, which the service does not do: without them 100,000 chunks weigh 230 MB,
with them as much as stores that other programs filled, and the backup has that to carry.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

import httpx
import numpy as np
import orjson
import psycopg

from backups import chroma, process
from rag_api.collections import Collection, activate_collection
from rag_api.services import open_services
from rag_api.vectors import ROOT
from rag_api.worker.preparing import chunk_id
from tests.bench import embedder
from tests.bench.harness import Say
from tests.bench.installation import Installation

CHUNKS_PER_DOCUMENT = 20
WORDS_PER_CHUNK = 108
_DOCUMENTS_AT_ONCE = 100
_FORMAT = 3


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk: its id, its text and where that stands in its document."""

    id: UUID
    text: str
    start: int
    vector: embedder.Vectors


@dataclass(frozen=True, slots=True)
class Document:
    """A document of CHUNKS_PER_DOCUMENT passages; its file is their texts with an empty line between."""

    id: UUID
    name: str
    passages: list[Passage]

    @property
    def content(self) -> bytes:
        return "\n\n".join(passage.text for passage in self.passages).encode()


def installation(cache: Path, folder: Path, chunks: int, say: Say) -> Path:
    """A stopped installation with `chunks` chunks below `folder`, copied from `cache` where it is made once.

    Returns:
        Its root.
    """
    kept = cache / f"{_FORMAT}-chroma{chroma.version()}-{chunks}x{embedder.DIMENSION}"
    if not kept.exists():
        making = cache / f"making-{secrets.token_hex(4)}"
        making.mkdir(parents=True)
        say(f"preparing {chunks:,} chunks, once; they are kept in {kept}")
        try:
            _make(making, chunks, say)
            making.rename(kept)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    say(f"copying the prepared data of {chunks:,} chunks")
    root = folder / f"stack-{chunks}-{secrets.token_hex(2)}"
    copy(kept, root)
    return root


def copy(source: Path, target: Path) -> None:
    """Copy a tree with owners, modes and times, sharing blocks where the filesystem can."""
    process.run(["cp", "-a", "--reflink=auto", str(source), str(target)])


def volume_bytes(root: Path) -> dict[str, int]:
    """What lies in each volume."""
    found = {}
    for volume in sorted((root / "volumes").iterdir()):
        found[volume.name] = sum(file.stat().st_size for file in volume.rglob("*") if file.is_file())
    return found


def documents(chunks: int) -> Iterator[Document]:
    """As many documents as hold `chunks` chunks, the same every time."""
    rng = np.random.default_rng(7)
    for number in range(0, chunks, CHUNKS_PER_DOCUMENT):
        size = min(CHUNKS_PER_DOCUMENT, chunks - number)
        # The third power makes a few words frequent and most of them rare, as in a language.
        rows = (embedder.WORDS * rng.random((size, WORDS_PER_CHUNK)) ** 3).astype(np.int64)
        yield _document(number // CHUNKS_PER_DOCUMENT, rows)


def _document(number: int, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Document:
    document, start, passages = uuid5(NAMESPACE_OID, str(number)), 0, list[Passage]()
    for ordinal, (row, vector) in enumerate(zip(rows, embedder.embed_rows(rows), strict=True)):
        text = " ".join(map(embedder.word, row))
        passages.append(Passage(chunk_id(document, 1, ordinal), text, start, vector))
        start += len(text) + 2
    return Document(document, f"document-{number:06}.txt", passages)


def _make(root: Path, chunks: int, say: Say) -> None:
    made = Installation.create(root)
    try:
        made.start("postgres", "redis", "vectordb", "models", "api")
        _fill(made, chunks, say)
        say("starting the ingest process, which indexes the words")
        made.start("ingest")
    finally:
        made.stop()


def _fill(made: Installation, chunks: int, say: Say) -> None:
    services = open_services(made.settings, name="bench", connections=2)
    try:
        with services.pool.connection() as connection:
            collection = activate_collection(connection, services.vectors, services.embedder.identity())
            base = connection.execute("SELECT id, owner_id FROM bases").fetchone()
        assert base is not None
        with httpx.Client(base_url=made.env["VECTORDB_URL"], timeout=120) as client:
            handle = client.get(f"{ROOT}/{collection.name}").raise_for_status().json()["id"]
            for done, batch in _batches(chunks):
                _write_vectors(client, handle, base["id"], batch)
                with made.connect() as connection:
                    _write_rows(connection, collection, base["id"], base["owner_id"], batch)
                _write_files(made, batch)
                say(f"{done:,} of {chunks:,} chunks written")
    finally:
        services.close()


def _batches(chunks: int) -> Iterator[tuple[int, list[Document]]]:
    batch, done = list[Document](), 0
    for document in documents(chunks):
        batch.append(document)
        done += len(document.passages)
        if len(batch) == _DOCUMENTS_AT_ONCE or done == chunks:
            yield done, batch
            batch = []


def _write_vectors(client: httpx.Client, handle: str, base: UUID, batch: list[Document]) -> None:
    passages = [(document.id, passage) for document in batch for passage in document.passages]
    body = {
        "ids": [str(passage.id) for _, passage in passages],
        "embeddings": np.stack([passage.vector for _, passage in passages]),
        "documents": [passage.text for _, passage in passages],
        "metadatas": [{"base": str(base), "document": str(document)} for document, _ in passages],
    }
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = {"Content-Type": "application/json"}
    client.post(f"{ROOT}/{handle}/upsert", content=content, headers=headers).raise_for_status()


_DOCUMENT_COLUMNS = (
    "id, base_id, created_by, path, name, sha256, bytes, chunk_count, live_generation, live_sha256, live_bytes,"
    " collection_id, live_collection_id, state"
)
_CHUNK_COLUMNS = 'id, document_id, generation, ordinal, text, start, "end"'


def _write_rows(
    connection: psycopg.Connection[object], collection: Collection, base: UUID, owner: UUID, batch: list[Document]
) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY documents ({_DOCUMENT_COLUMNS}) FROM STDIN".encode()) as rows:
            for document in batch:
                sha256, size = hashlib.sha256(document.content).hexdigest(), len(document.content)
                rows.write_row(
                    (
                        document.id, base, owner, document.name, document.name, sha256, size, len(document.passages),
                        1, sha256, size, collection.id, collection.id, "ready",
                    )
                )  # fmt: skip
        with cursor.copy(f"COPY chunks ({_CHUNK_COLUMNS}) FROM STDIN".encode()) as rows:
            for document in batch:
                for ordinal, passage in enumerate(document.passages):
                    end = passage.start + len(passage.text)
                    rows.write_row((passage.id, document.id, 1, ordinal, passage.text, passage.start, end))


def _write_files(made: Installation, batch: list[Document]) -> None:
    for document in batch:
        sha256 = hashlib.sha256(document.content).hexdigest()
        target = made.live("documents") / sha256[:2] / sha256
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(document.content)
