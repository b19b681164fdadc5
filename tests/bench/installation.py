"""A stack in one folder, as real processes that a bench can stop and start one by one."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from backups import chroma, process
from backups.secret import write_secret
from portal.runtime import ports
from rag_api.settings import Settings, load_settings
from tests.bench import embedder
from tests.support import servers
from tests.support.restorable import add_model
from tests.support.sample_stack import Ended, run_agent

ADMIN = "admin@example.org"
SERVERS = ("postgres", "redis", "vectordb", "models", "api", "ingest")
# What uses the data that a restore exchanges; stopped in this order, started in the other.
USERS_OF_DATA = ("ingest", "api", "vectordb")
SECRETS = ("postgres", "redis", "internal", "admin", "repository")
_PATIENCE = 180.0


class Installation:
    """The volumes, secrets and servers of one stack below `root`.

    The models are a small store of their own beside the model server of `tests.bench.embedder`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports = dict(zip(SERVERS, ports.free_ports(len(SERVERS)), strict=True))
        self._running: dict[str, process.Running] = {}

    @classmethod
    def create(cls, root: Path) -> Installation:
        """Folders, secrets, an empty database server and an empty vector store; nothing runs yet."""
        for name in ("documents", "index", "models"):
            (root / "volumes" / name / "live").mkdir(parents=True)
        for name in ("secrets", "config"):
            (root / name).mkdir()
        (root / "config" / "stack.yaml").write_text("name: rag\n")
        add_model(root / "volumes" / "models" / "live", "bench", secrets.token_bytes(4 << 20))
        with servers.postgres(root) as made, psycopg.connect(made.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE rag")
        for name in SECRETS:
            write_secret(root / "secrets" / name, made.password if name == "postgres" else secrets.token_urlsafe(24))
        chroma.prepare(root / "volumes" / "vectors" / "live")
        return cls(root)

    def live(self, volume: str) -> Path:
        return self.root / "volumes" / volume / "live"

    def secret(self, name: str) -> str:
        return (self.root / "secrets" / name).read_text().strip()

    @property
    def env(self) -> dict[str, str]:
        """The environment of api and ingest."""
        folder = self.root / "secrets"
        return {
            "PATH": os.environ["PATH"],
            "POSTGRES_URL": f"postgresql://rag@127.0.0.1:{self.ports['postgres']}/rag",
            "POSTGRES_PASSWORD_FILE": str(folder / "postgres"),
            "REDIS_URL": f"redis://127.0.0.1:{self.ports['redis']}/0",
            "REDIS_PASSWORD_FILE": str(folder / "redis"),
            "VECTORDB_URL": f"http://127.0.0.1:{self.ports['vectordb']}",
            "OLLAMA_URL": f"http://127.0.0.1:{self.ports['models']}",
            "DOCUMENTS_DIR": str(self.live("documents")),
            "INDEX_DIR": str(self.live("index")),
            "INTERNAL_TOKEN_FILE": str(folder / "internal"),
            "ADMIN_EMAIL": ADMIN,
            "ADMIN_PASSWORD_FILE": str(folder / "admin"),
            "EMBED_MODEL": embedder.MODEL,
            "ENVIRONMENT": "bench",
        }

    @property
    def settings(self) -> Settings:
        return load_settings(self.env)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.settings.postgres_conninfo(), autocommit=True)

    def sign_in(self) -> httpx.Client:
        """A client of the api that carries the administrator's session."""
        body = {"email": ADMIN, "password": self.secret("admin")}
        token = httpx.post(f"{self.api_url}/api/session", json=body, timeout=60).raise_for_status().json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.api_url, headers=headers, timeout=60, trust_env=False)

    def start(self, *names: str) -> None:
        """Start servers (all when none is named) and wait for each until it is ready."""
        for name in names or SERVERS:
            if name == "api":
                process.run([sys.executable, "-m", "rag_api", "migrate"], env=self.env, cwd=servers.REPO)
            running = self._running[name] = process.Running(self._argv(name), env=self._env(name), cwd=servers.REPO)
            running.discard_output()
            self._wait(name, running)

    def stop(self, *names: str) -> None:
        """Stop servers (all when none is named), the users of others first; what does not run is left at that."""
        for name in names or reversed(SERVERS):
            running = self._running.pop(name, None)
            if running is None:
                continue
            if name == "postgres":
                os.kill(running.pid, signal.SIGINT)  # does not wait for clients, as a plain SIGTERM would
            else:
                os.kill(running.pid, signal.SIGTERM)
            running.wait(_PATIENCE)
            running.__exit__()

    def _wait(self, name: str, running: process.Running) -> None:
        def settled() -> bool:
            return running.poll() is not None or self.ready(name)

        servers.wait_until(settled, what=name, seconds=_PATIENCE)
        if running.poll() is not None:
            raise AssertionError(f"{name} ended: {running.stderr[-2000:]}")

    def ready(self, name: str) -> bool:
        """Whether a server says that it can serve."""
        port = self.ports[name]
        if name == "postgres":
            return servers.Postgres("127.0.0.1", port, "rag", self.secret("postgres"), self.root).answers()
        if name == "redis":
            return servers.Valkey("127.0.0.1", port, self.secret("redis")).answers()
        paths = {"vectordb": "/api/v2/heartbeat", "models": "/api/tags"}
        return servers.http_ok(f"http://127.0.0.1:{port}{paths.get(name, '/ready')}")

    def _argv(self, name: str) -> list[str]:
        port = str(self.ports[name])
        match name:
            case "postgres":
                options = ["-h", "127.0.0.1", "-k", "", "-c", "max_connections=100"]
                argv = [str(servers.PG_BIN / "postgres"), "-D", str(self.root / "pg"), "-p", port, *options]
                return servers.unprivileged(argv)
            case "redis":
                conf = self.root / "valkey.conf"
                conf.write_text(
                    f'bind 127.0.0.1\nport {port}\nrequirepass {self.secret("redis")}\nsave ""\ndir {self.root}\n'
                )
                return [str(servers.VALKEY), str(conf)]
            case "vectordb":
                folder = str(self.live("vectors"))
                return [str(servers.BIN / "chroma"), "run", "--path", folder, "--host", "127.0.0.1", "--port", port]
            case "models":
                return [sys.executable, "-m", "tests.bench.embedder", port]
            case "api":
                words = ["uvicorn", "rag_api.app:create_app", "--factory", "--port", port, "--no-access-log"]
                words += ["--timeout-keep-alive", "75"]
                return [sys.executable, "-m", *words]
        return [sys.executable, "-m", "rag_api.ingest", "--health-port", port]

    def _env(self, name: str) -> dict[str, str]:
        if name in ("api", "ingest"):
            return self.env
        return {**os.environ, "ANONYMIZED_TELEMETRY": "False", "PYTHONPATH": str(servers.REPO)}

    def job(self, kind: str, *, repository: Path, restic: Path = servers.RESTIC, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """A job for the backup agent, as the portal would send it; `changes` replace its top-level values."""
        operation = str(changes.pop("operation", uuid4()))
        work = self.root / "operations" / operation
        work.mkdir(parents=True, exist_ok=True)
        (work / "fence").write_text("1")
        password = str(self.root / "secrets" / "repository")
        return {
            "kind": kind, "operation": operation, "attempt": 1, "fence": str(work / "fence"), "work": str(work),
            "stack": self._stack(), "set": None, "options": {},
            "repository": {"id": None, "url": str(repository), "password_file": password},
            "tools": {"restic": str(restic), "pg_bin": str(servers.PG_BIN)},
            **changes,
        }  # fmt: skip

    def _stack(self) -> dict[str, Any]:
        volumes = {name: str(self.root / "volumes" / name) for name in ("documents", "vectors", "models", "index")}
        return {
            "name": "rag", "environment": "bench", "vectordb_url": f"http://127.0.0.1:{self.ports['vectordb']}",
            "ollama_url": "", "api_url": self.api_url,
            "internal_token_file": str(self.root / "secrets" / "internal"),
            "volumes": volumes, "config": [str(self.root / "config")],
            "postgres": {
                "host": "127.0.0.1", "port": self.ports["postgres"], "user": "rag", "database": "rag",
                "password_file": str(self.root / "secrets" / "postgres"),
            },
        }  # fmt: skip

    def agent(self, kind: str, **job: Any) -> Ended:  # noqa: ANN401 - the arguments of `job`
        """Run the product's agent to its end; a job that fails is a failure of the bench."""
        ended = run_agent(self.job(kind, **job))
        if ended.status != 0 or ended.last["type"] != "result":
            raise AssertionError(f"{kind} failed: {ended.lines[-1:]} {ended.log[-2000:]}")
        return ended

    def restic(self, repository: Path) -> dict[str, str]:
        """The environment of a plain restic with our password and a cache of its own."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "RESTIC_REPOSITORY": str(repository),
            "RESTIC_PASSWORD_FILE": str(self.root / "secrets" / "repository"),
            "RESTIC_CACHE_DIR": str(self.root / "restic-cache"),
        }


@contextmanager
def running(root: Path) -> Iterator[Installation]:
    """The installation in `root`, every server started; all are stopped at the end."""
    found = Installation(root)
    try:
        found.start()
        yield found
    finally:
        found.stop()
