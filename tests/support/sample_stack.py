"""A small stack to back up: real Postgres and Chroma with a few documents, a model store, a configuration.

It writes as the RAG service does: the Chroma call and the commit that goes with it under the shared write gate.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from backups import chroma, process
from backups.freeze import GATE_CLASS, REMOVAL_GATE, WRITE_GATE
from backups.job import RepositoryPlace
from backups.manifest import SET_JSON, Manifest
from backups.repository import Repository
from tests.support import servers
from tests.support.faultpoints import arm

COLLECTIONS = chroma.COLLECTIONS
DIMENSION = 16
COLLECTION = "kb_test_16_1"

SCHEMA = """
CREATE TABLE users (id uuid PRIMARY KEY, email text NOT NULL);
CREATE TABLE documents (id uuid PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, bytes bigint NOT NULL,
    state text NOT NULL);
CREATE TABLE chunks (id uuid PRIMARY KEY, document uuid NOT NULL REFERENCES documents);
CREATE VIEW backup_files AS SELECT substr(sha256, 1, 2) || '/' || sha256 AS path, sha256, bytes FROM documents;
CREATE VIEW backup_collections AS SELECT 'kb_test_16_1'::text AS name, 16 AS dimension, 'all-minilm'::text AS model,
    'sha256:0'::text AS model_digest, '{}'::text AS prefixes;
CREATE VIEW backup_chunks AS SELECT c.id::text AS chunk_id, 'kb_test_16_1'::text AS collection
    FROM chunks c JOIN documents d ON d.id = c.document WHERE d.state = 'ready';
CREATE VIEW backup_documents AS SELECT id::text AS document_id, name, sha256, state FROM documents;
CREATE VIEW backup_counts AS SELECT 'users' AS name, count(*) AS value FROM users
    UNION ALL SELECT 'documents', count(*) FROM documents UNION ALL SELECT 'chunks', count(*) FROM chunks;
INSERT INTO users VALUES (gen_random_uuid(), 'ada@example.org');
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """What an agent left behind: its lines, exit status and log."""

    lines: list[dict[str, Any]]
    status: int
    log: str

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]

    def steps(self, state: str = "done") -> list[str]:
        return [line["name"] for line in self.lines if line["type"] == "step" and line["state"] == state]


@dataclass(frozen=True, slots=True)
class SampleStack:
    """`root` holds everything: volumes/, repositories/, operations/, secrets."""

    root: Path
    postgres: servers.Postgres
    database: str
    chroma_url: str
    handle: str

    @property
    def documents(self) -> Path:
        return self.root / "volumes/documents/live"

    @property
    def vectors(self) -> Path:
        return self.root / "volumes/vectors/live"

    @property
    def models(self) -> Path:
        return self.root / "volumes/models/live"

    @property
    def repository(self) -> Path:
        return self.root / "repositories/default"

    def opened(self) -> Repository:
        """The repository, for a look without the agent."""
        place = RepositoryPlace("", str(self.repository), self.root / "secrets/repository")
        return Repository(place, servers.RESTIC, self.root / "operations/cache")

    def manifest(self, snapshot: str) -> Manifest:
        """The set.json of a snapshot."""
        return Manifest.from_json(self.opened().dump(snapshot, SET_JSON))

    def job_with(self, *extra: dict[str, Any], tools: dict[str, Path] | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """A backup with further sources, and with other programs in place of the usual tools."""
        job = self.job(**changes)
        job["stack"]["extra"] = list(extra)
        job["tools"].update({name: str(path) for name, path in (tools or {}).items()})
        return job

    def arm(self, point: str) -> Path:
        """Make the next agent stop at `point`; returns the file that appears when it has."""
        return arm(self.root, point)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.postgres.url(self.database), autocommit=True)

    def add_document(self, text: str, chunks: int = 2) -> str:
        """Store a document with `chunks` random vectors; returns its path below the documents folder."""
        content = text.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"{sha256[:2]}/{sha256}"
        (self.documents / path).parent.mkdir(parents=True, exist_ok=True)
        (self.documents / path).write_bytes(content)
        document, ids = uuid4(), [str(uuid4()) for _ in range(chunks)]
        with self.connect() as connection:
            connection.execute(
                "INSERT INTO documents VALUES (%s, %s, %s, %s, 'embedded')", (document, "a.txt", sha256, len(content))
            )
            connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (GATE_CLASS, WRITE_GATE))
            for start in range(0, chunks, 400):
                self.upsert(ids[start : start + 400])
            with connection.transaction():
                connection.execute("INSERT INTO chunks SELECT unnest(%s::uuid[]), %s", (ids, document))
                connection.execute("UPDATE documents SET state = 'ready' WHERE id = %s", (document,))
            connection.execute("SELECT pg_advisory_unlock_shared(%s, %s)", (GATE_CLASS, WRITE_GATE))
        return path

    def gate_is_open(self) -> bool:
        """Whether a writer would get through the write gate now."""
        with self.connect() as connection:
            found = connection.execute(
                "SELECT pg_try_advisory_lock_shared(%s, %s)", (GATE_CLASS, WRITE_GATE)
            ).fetchone()
            return bool(found and found[0])

    def removal_gate_is_free(self) -> bool:
        """Whether a removal of files would get through now."""
        with self.connect() as connection:
            found = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (GATE_CLASS, REMOVAL_GATE)).fetchone()
            return bool(found and found[0])

    def upsert(self, ids: list[str]) -> None:
        vectors = [[random.gauss(0, 1) for _ in range(DIMENSION)] for _ in ids]
        answer = httpx.post(
            f"{self.chroma_url}{COLLECTIONS}/{self.handle}/upsert",
            json={"ids": ids, "embeddings": vectors, "metadatas": [{"document": "a.txt"}] * len(ids)},
            timeout=60,
        )
        answer.raise_for_status()

    def job(self, kind: str = "backup", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """A job for the agent; `changes` replace its top-level values."""
        operation = str(uuid4())
        work = self.root / "operations" / operation
        work.mkdir(parents=True)
        (work / "fence").write_text("1")
        volumes = {name: str(self.root / "volumes" / name) for name in ("documents", "vectors", "models", "index")}
        stack = {
            "name": "rag", "environment": "production", "vectordb_url": self.chroma_url, "ollama_url": "",
            "api_url": "", "internal_token_file": None, "volumes": volumes, "config": [str(self.root / "conf")],
            "postgres": {
                "host": self.postgres.host, "port": self.postgres.port, "user": self.postgres.user,
                "database": self.database, "password_file": str(self.root / "secrets/postgres"),
            },
        }  # fmt: skip
        return {
            "kind": kind, "operation": operation, "attempt": 1, "fence": str(work / "fence"), "work": str(work),
            "stack": stack, "set": None, "options": {},
            "repository": {
                "id": None, "url": str(self.repository), "password_file": str(self.root / "secrets/repository")
            },
            "tools": {"restic": str(servers.RESTIC), "pg_bin": str(servers.PG_BIN)},
            **changes,
        }  # fmt: skip


def started(job: dict[str, Any], prefix: Sequence[str] = (), **environment: str) -> process.Running:
    """An agent that has been given its job; its standard input stays open. `prefix`: what starts it."""
    root = str(Path(job["work"]).parents[1])
    env = {**os.environ, "PYTHONPATH": str(servers.REPO), "RAGKEEP_VAR": root, **environment}
    running = process.Running((*prefix, sys.executable, "-m", "backups.agent"), env=env, cwd=servers.REPO)
    running.send(json.dumps(job) + "\n")
    return running


def refused(ended: Ended) -> str:
    """The code of an agent that failed with a sentence and a remedy."""
    assert ended.status == 1, ended
    assert ended.last["type"] == "error"
    assert ended.last["message"]
    assert ended.last["remedy"]
    return str(ended.last["code"])


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """`path` is gone for the length of the block."""
    aside = path.with_name(f"{path.name}-aside")
    path.rename(aside)
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        aside.rename(path)


def program(path: Path, script: str) -> Path:
    """A shell script that stands in for a tool."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def run_agent(job: dict[str, Any], prefix: Sequence[str] = (), **environment: str) -> Ended:
    """Run an agent to its end."""
    with started(job, prefix, **environment) as running:
        lines = [json.loads(line) for line in running.lines()]
        return Ended(lines, running.wait(60), running.stderr)


@contextmanager
def sample_stack(root: Path, postgres: servers.Postgres, documents: int = 6) -> Iterator[SampleStack]:
    """A stack with `documents` documents of two chunks each, and an initialised repository."""
    for name in ("volumes/documents/live", "volumes/index/live", "secrets", "conf"):
        (root / name).mkdir(parents=True)
    (root / "conf/stack.yaml").write_text("name: rag\n")
    (root / "secrets/postgres").write_text(postgres.password + "\n")
    (root / "secrets/repository").write_text("a long password\n")
    _make_models(root / "volumes/models/live")
    vectors = root / "volumes/vectors/live"
    chroma.prepare(vectors)
    database = postgres.create_database("rag")
    with servers.chroma(vectors) as server:
        stack = SampleStack(root, postgres, database, server.url, _make_collection(server.url))
        with stack.connect() as connection:
            connection.execute(SCHEMA.encode())
        for number in range(documents):
            stack.add_document(f"document {number} of the sample")
        stack.add_document("a long document, so that Chroma writes its index files", chunks=1200)
        made = run_agent(stack.job("init"))
        assert made.last["state"] == "ok", made
        yield stack


@contextmanager
def writing(stack: SampleStack, threads: int = 2) -> Iterator[list[BaseException]]:
    """Add documents from several threads until the block ends; yields what went wrong in them."""
    over, failed = threading.Event(), list[BaseException]()

    def write(number: int) -> None:
        count = 0
        while not over.is_set():
            count += 1
            try:
                stack.add_document(f"written meanwhile by {number}: {count} {uuid4()}")
            except BaseException as error:
                failed.append(error)
                return

    workers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield failed
    finally:
        over.set()
        for worker in workers:
            worker.join(30)


@contextmanager
def upserting(stack: SampleStack) -> Iterator[list[str]]:
    """Write to Chroma past the gate, as nobody should; yields the ids that Chroma has confirmed."""
    over, confirmed = threading.Event(), list[str]()

    def write() -> None:
        while not over.is_set():
            name = str(uuid4())
            stack.upsert([name])
            confirmed.append(name)

    worker = threading.Thread(target=write)
    worker.start()
    try:
        yield confirmed
    finally:
        over.set()
        worker.join(30)


def _make_collection(url: str) -> str:
    body = {"name": COLLECTION, "get_or_create": True, "configuration": {"hnsw": {"space": "cosine"}}}
    answer = httpx.post(f"{url}{COLLECTIONS}", json=body, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _make_models(store: Path) -> None:
    (store / "blobs").mkdir(parents=True)
    layers = [_make_blob(store, f"{part} of the model".encode() * 50) for part in ("config", "weights")]
    manifest = store / "manifests/registry.ollama.ai/library/smollm2/135m"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": layers[0], "layers": layers[1:]}))
    (store / "blobs" / ("sha256-" + "0" * 64 + "-partial")).write_text("half a download")


def _make_blob(store: Path, content: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    (store / "blobs" / f"sha256-{sha256}").write_bytes(content)
    return {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{sha256}", "size": len(content)}
