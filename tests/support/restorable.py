"""A small stack that can be backed up, destroyed and restored: real Postgres, Chroma, restic and files."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np

from backups import backup, chroma
from backups.job import Job, RepositoryPlace
from backups.journal import Context, Fence, Journal
from backups.manifest import Manifest
from backups.repository import Repository
from backups.restore import sets
from backups.restore.database import Server
from backups.secret import Secret, write_secret
from tests.support import servers

COLLECTION = "kb_tiny_8_1"
DIMENSION = 8
TOKEN = "internal-token-of-a-test"

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, email text);
CREATE TABLE documents (id uuid PRIMARY KEY, name text, sha256 text, bytes bigint, state text);
CREATE TABLE chunks (id uuid PRIMARY KEY, document_id uuid REFERENCES documents ON DELETE CASCADE);
CREATE VIEW backup_files AS SELECT substr(sha256, 1, 2) || '/' || sha256 AS path, sha256, max(bytes) AS bytes
    FROM documents WHERE state <> 'deleting' GROUP BY sha256;
CREATE VIEW backup_collections AS SELECT 'kb_tiny_8_1' AS name, 8 AS dimension, 'tiny' AS model,
    'sha256:0' AS model_digest, '' AS prefixes;
CREATE VIEW backup_chunks AS SELECT c.id::text AS chunk_id, 'kb_tiny_8_1' AS collection
    FROM chunks c JOIN documents d ON d.id = c.document_id WHERE d.state = 'ready';
CREATE VIEW backup_documents AS SELECT id::text AS document_id, name, sha256, state FROM documents;
CREATE VIEW backup_counts AS SELECT 'users' AS name, count(*) AS value FROM users
    UNION ALL SELECT 'documents', count(*) FROM documents UNION ALL SELECT 'chunks', count(*) FROM backup_chunks;
"""


@dataclass
class SmallStack:
    """Volumes, database and repository of one stack below `root`; nothing of it runs but Postgres."""

    root: Path
    postgres: servers.Postgres
    database: str
    api_url: str = "http://127.0.0.1:9"
    vectordb_url: str = "http://127.0.0.1:9"
    operation: str = field(default_factory=lambda: str(uuid4()))

    @property
    def server(self) -> Server:
        return Server(self.postgres.host, self.postgres.port, self.postgres.user, Secret(self.postgres.password))

    def volume(self, name: str) -> Path:
        return self.root / "volumes" / name

    def live(self, name: str) -> Path:
        return self.volume(name) / "live"

    @property
    def work(self) -> Path:
        return self.root / "operations" / self.operation

    @property
    def repository(self) -> Repository:
        place = RepositoryPlace("", str(self.root / "repository"), self.root / "secrets" / "repository")
        return Repository(place, servers.RESTIC, self.root / "cache")

    def create(self) -> None:
        """Make folders, secrets and an empty repository."""
        for name in ("documents", "vectors", "models", "index"):
            self.live(name).mkdir(parents=True)
        (self.root / "secrets").mkdir()
        write_secret(self.root / "secrets" / "repository", "repository-password")
        write_secret(self.root / "secrets" / "postgres", self.postgres.password)
        write_secret(self.root / "secrets" / "token", TOKEN)
        (self.root / "config").mkdir()
        (self.root / "config" / "stack.yaml").write_text("name: rag\n")
        (self.live("index") / "words").write_text("derived\n")
        self.repository.init()

    def fill(self, documents: int = 12, chunks: int = 3) -> None:
        """Put documents, chunks with vectors and a model into every store."""
        rng = np.random.default_rng(7)
        self.server.create(self.database)
        found: dict[str, list[float]] = {}
        with self.server.connect(self.database) as connection:
            connection.execute(SCHEMA.encode())
            connection.execute("INSERT INTO users VALUES (1, 'admin@example.org'), (2, 'user@example.org')")
            for number in range(documents):
                document, content = uuid4(), f"document {number}\n".encode() * (number + 1)
                sha256 = self.add_file(content)
                row = (document, f"doc-{number:02}.txt", sha256, len(content), "ready")
                connection.execute("INSERT INTO documents VALUES (%s, %s, %s, %s, %s)", row)
                for _ in range(chunks):
                    chunk = uuid4()
                    connection.execute("INSERT INTO chunks VALUES (%s, %s)", (chunk, document))
                    found[str(chunk)] = rng.normal(size=DIMENSION).tolist()
        add_model(self.live("models"), "tiny", b"weights of a tiny model")
        with chroma.serving(self.live("vectors")) as store:
            add_vectors(store, found)
        chroma.prepare(self.live("vectors"))

    def add_file(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.live("documents") / sha256[:2] / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return sha256

    def destroy(self) -> None:
        """What a bad day does: half the documents deleted, the vectors wiped, the models removed."""
        with self.server.connect(self.database) as connection:
            gone = connection.execute("SELECT sha256 FROM documents ORDER BY name LIMIT 6").fetchall()
            connection.execute("DELETE FROM documents WHERE sha256 = ANY(%s)", ([row[0] for row in gone],))
        for (sha256,) in gone:
            (self.live("documents") / sha256[:2] / sha256).unlink()
        for name in ("vectors", "models"):
            shutil.rmtree(self.live(name))
            self.live(name).mkdir()

    def job(self, kind: str, *, set_id: str | None = None, attempt: int = 1, **options: Any) -> Job:  # noqa: ANN401
        """A job as the portal would send it."""
        return Job.from_json(json.dumps(self.job_fields(kind, set_id=set_id, attempt=attempt, options=options)))

    def job_fields(self, kind: str, *, set_id: str | None, attempt: int, options: dict[str, Any]) -> dict[str, Any]:
        place = self.repository.place
        return {
            "kind": kind, "operation": self.operation, "attempt": attempt,
            "fence": str(self.work / "fence"), "work": str(self.work), "set": set_id, "options": options,
            "stack": {
                "name": "rag", "environment": "test", "vectordb_url": self.vectordb_url, "ollama_url": "",
                "api_url": self.api_url, "internal_token_file": str(self.root / "secrets" / "token"),
                "volumes": {name: str(self.volume(name)) for name in ("documents", "vectors", "models", "index")},
                "config": [str(self.root / "config")],
                "postgres": {
                    "host": self.postgres.host, "port": self.postgres.port, "user": self.postgres.user,
                    "database": self.database, "password_file": str(self.root / "secrets" / "postgres"),
                },
            },
            "repository": {"id": None, "url": place.url, "password_file": str(place.password_file)},
            "tools": {"restic": str(servers.RESTIC), "pg_bin": str(servers.PG_BIN)},
        }  # fmt: skip


def add_model(store: Path, name: str, weights: bytes) -> None:
    """A model in Ollama's store layout."""
    digest = hashlib.sha256(weights).hexdigest()
    (store / "blobs").mkdir(parents=True, exist_ok=True)
    (store / "blobs" / f"sha256-{digest}").write_bytes(weights)
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"layers": [{"digest": f"sha256:{digest}", "size": len(weights)}]}))


def add_vectors(store: chroma.Store, vectors: dict[str, list[float]]) -> None:
    client: httpx.Client = store._client
    made = client.post(
        chroma.COLLECTIONS, json={"name": COLLECTION, "configuration": {"hnsw": {"space": "cosine"}}}
    ).raise_for_status()
    body = {"ids": list(vectors), "embeddings": list(vectors.values())}
    client.post(f"{chroma.COLLECTIONS}/{made.json()['id']}/upsert", json=body).raise_for_status()


def back_up(stack: SmallStack) -> str:
    """A set made by the product's own backup job; returns its id."""
    job = stack.job("backup")
    job.work.mkdir(parents=True, exist_ok=True)
    result = backup.run(job, Context(Journal(io.StringIO()), Fence(job.fence, job.attempt)))
    assert result["state"] == "complete", result
    return str(result["set"])


def alter_set(
    stack: SmallStack, set_id: str, tags: tuple[str, ...] = (), change: Callable[[Manifest], Manifest] = lambda m: m
) -> str:
    """A copy of a set with another set.json, as an older or newer program, or a damaged disk, could leave it."""
    staging, new_id = stack.root / "altered", f"20200101T000000Z-{secrets.token_hex(3)}"
    found = sets.find_set(stack.repository, set_id)
    stack.repository.restore(found.snapshot.id, folder="/", target=staging)
    altered = replace(change(found.manifest), set_id=new_id)
    altered.write(staging / "set" / "set.json")
    stack.repository.backup(
        cwd=staging,
        paths=["set", str(stack.live("documents"))],
        files=sorted((stack.live("models") / "blobs").iterdir()),
        tags=["ragkeep", f"set:{new_id}", "stack:rag", *tags],
        host="rag-test",
    )
    shutil.rmtree(staging)
    return new_id


@contextmanager
def internal_api(stack: SmallStack, vectordb_url: str) -> Iterator[str]:
    """The internal side of a RAG service over the stack's own Chroma and Postgres; yields its address."""
    client = httpx.Client(base_url=vectordb_url, timeout=30, trust_env=False)
    store = chroma.Store(client)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with stack.server.connect(stack.database) as connection:
                self._answer(dict(connection.execute("SELECT name, value FROM backup_counts").fetchall()))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            collection = store.collections().get(body["collection"])
            vectors = [np.asarray(vector, dtype=np.float32) for vector in body["vectors"]]
            found = [store.nearest(collection, vector, body["k"]) if collection else [] for vector in vectors]
            self._answer({"chunk_ids": found})

        def _answer(self, value: dict[str, Any]) -> None:
            allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(json.dumps(value if allowed else {}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output free of request lines."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        client.close()
