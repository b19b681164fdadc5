"""The RAG service on real servers: api and ingest as processes, with settings and secrets as the stack gives them."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from backups import process
from rag_api.db import LOCK_CLASS
from rag_api.settings import Settings, load_settings
from tests.support import servers

ADMIN = "admin@example.org"


@dataclass
class RagStack:
    """One database, one data folder, one api, and an ingest process that may be stopped, killed and started."""

    env: dict[str, str]
    root: Path
    admin_password: str
    api_url: str
    ingest_port: int
    _ingest: list[process.Running] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return load_settings(self.env)

    @property
    def ingest_url(self) -> str:
        return f"http://127.0.0.1:{self.ingest_port}"

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """A connection of its own, autocommit, as the backup agent has."""
        conninfo = self.settings.postgres_conninfo()
        return psycopg.connect(conninfo, autocommit=True, row_factory=dict_row)

    def query(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with self.connect() as connection:
            return connection.execute(statement.encode(), values).fetchall()

    @contextmanager
    def gate(self, key: int, *, shared: bool = False) -> Iterator[None]:
        """Hold an advisory lock as the agent does."""
        side = "_shared" if shared else ""
        with self.connect() as connection:
            connection.execute(f"SELECT pg_advisory_lock{side}(%s, %s)".encode(), (LOCK_CLASS, key))
            yield

    def sign_in(self, email: str, password: str) -> httpx.Client:
        """A client that carries a session of this account."""
        answer = httpx.post(f"{self.api_url}/api/session", json={"email": email, "password": password})
        answer.raise_for_status()
        return self.client(answer.json()["token"])

    def client(self, token: str) -> httpx.Client:
        return httpx.Client(base_url=self.api_url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def admin(self) -> httpx.Client:
        return self.sign_in(ADMIN, self.admin_password)

    def new_user(self, admin: httpx.Client, name: str) -> httpx.Client:
        """Create an account with a random e-mail address and sign it in."""
        email, password = f"{name}-{secrets.token_hex(4)}@example.org", secrets.token_urlsafe(16)
        admin.post("/api/users", json={"email": email, "name": name, "password": password}).raise_for_status()
        return self.sign_in(email, password)

    def start_ingest(self) -> None:
        argv = [sys.executable, "-m", "rag_api.ingest", "--health-port", str(self.ingest_port)]
        self._ingest.append(process.Running(argv, env=self.env, cwd=servers.REPO))

    def kill_ingest(self) -> None:
        """kill -9."""
        running = self._ingest.pop()
        running.kill()
        running.wait(10)

    def stop_ingest(self) -> None:
        while self._ingest:
            assert self._ingest.pop().stop() == 0

    def ingest_ready(self) -> bool:
        return servers.http_ok(f"{self.ingest_url}/ready")

    def settled(self, client: httpx.Client) -> dict[str, int]:
        """Wait until nothing is on its way any more; returns how many documents are in each state."""
        counts: dict[str, int] = {}

        def done() -> bool:
            counts.clear()
            counts.update(client.get("/api/documents", params={"limit": 1}).json()["counts"])
            return set(counts) <= {"ready", "failed"}

        servers.wait_until(done, what="ingestion", seconds=60)
        return counts


@contextmanager
def rag_stack(
    root: Path, postgres: servers.Postgres, valkey: servers.Valkey, vectordb_url: str, ollama_url: str
) -> Iterator[RagStack]:
    """The service with an empty database and folder; the ingest process is started by the test."""
    env = _environment(root, postgres, valkey, vectordb_url, ollama_url)
    process.run([sys.executable, "-m", "rag_api", "migrate"], env=env, cwd=servers.REPO)
    port = servers.free_port()
    stack = RagStack(
        env, root, (root / "secrets" / "admin").read_text().strip(), f"http://127.0.0.1:{port}", servers.free_port()
    )
    argv = [
        sys.executable, "-m", "uvicorn", "rag_api.app:create_app", "--factory", "--port", str(port),
        "--no-access-log",
    ]  # fmt: skip
    with process.Running(argv, env=env, cwd=servers.REPO) as api:
        try:
            servers.wait_until(
                lambda: api.poll() is not None or servers.http_ok(f"{stack.api_url}/health"), what="the api"
            )
            assert api.poll() is None, api.stderr
            yield stack
        finally:
            stack.stop_ingest()


def _environment(
    root: Path, postgres: servers.Postgres, valkey: servers.Valkey, vectordb_url: str, ollama_url: str
) -> dict[str, str]:
    folder = root / "secrets"
    folder.mkdir(parents=True)
    values = {
        "postgres": postgres.password,
        "redis": valkey.password,
        "internal": secrets.token_urlsafe(24),
        "admin": secrets.token_urlsafe(16),
    }
    for name, value in values.items():
        (folder / name).write_text(value + "\n")
    return {
        "PATH": os.environ["PATH"],
        "POSTGRES_URL": f"postgresql://rag@{postgres.host}:{postgres.port}/{postgres.create_database('rag')}",
        "POSTGRES_PASSWORD_FILE": str(folder / "postgres"),
        "REDIS_URL": f"redis://{valkey.host}:{valkey.port}/0",
        "REDIS_PASSWORD_FILE": str(folder / "redis"),
        "VECTORDB_URL": vectordb_url,
        "OLLAMA_URL": ollama_url,
        "DOCUMENTS_DIR": str(root / "documents" / "live"),
        "INDEX_DIR": str(root / "index" / "live"),
        "INTERNAL_TOKEN_FILE": str(folder / "internal"),
        "ADMIN_EMAIL": ADMIN,
        "ADMIN_PASSWORD_FILE": str(folder / "admin"),
        "MAX_UPLOAD_BYTES": "200000",
        "ENVIRONMENT": "test",
    }
