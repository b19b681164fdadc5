"""The whole product, as a newcomer starts it: `manage.py up` with state and ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from backups import process
from portal.runtime import ports
from tests.support import faultpoints
from tests.support.servers import REPO, wait_until

# Offsets of the ports an installation takes above its base port.
SPAN = 24


@dataclass(slots=True)
class Product:
    """A running installation. `env` is what every command of it needs."""

    var: Path
    port: int
    env: dict[str, str]
    first: dict[str, Any] = field(default_factory=dict)

    def manage(self, *words: str, check: bool = True, timeout: float = 600) -> process.Completed:
        """Run a verb of manage.py to its end."""
        return process.run([sys.executable, REPO / "manage.py", *words], env=self.env, timeout=timeout, check=check)

    def json(self, *words: str, timeout: float = 600) -> dict[str, Any]:
        """Run a verb with --json and return its object; anything else on standard output fails the test."""
        told = self.manage(*words, "--json", timeout=timeout)
        answer: dict[str, Any] = json.loads(told.stdout)
        return answer

    @property
    def stack(self) -> Path:
        return self.var / "stacks" / "rag"

    @property
    def volumes(self) -> Path:
        return self.stack / "volumes"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def secret(self, name: str) -> str:
        return (self.stack / "secrets" / name).read_text().strip()

    def api(self, *, password: str = "") -> httpx.Client:
        """A client of the RAG API, signed in as the administrator through nginx, whose first password it is unless
        another one is given: accounts come back with a set."""
        credentials = {"email": "admin@ragkeep.local", "password": password or self.secret("admin_password")}
        answer = httpx.post(f"{self.url}/api/session", json=credentials, timeout=30)
        answer.raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['token']}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120)

    def rag_database(self) -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommit connection to the stack's database, as its owner."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port + 16,
            user="rag",
            dbname="rag",
            password=self.secret("postgres_password"),
            autocommit=True,
        )

    def variables(self, service: str) -> dict[str, str]:
        """The environment of the process of one of the stack's services."""
        listed = self.json("status")["services"]["rag"]
        pid = next(int(one["pid"]) for one in listed if one["service"] == service)
        entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def set_pending(self, **values: str) -> None:
        """Have the next deploy set these."""
        file = self.var / "control" / "pending" / "rag.json"
        file.parent.mkdir(exist_ok=True, mode=0o700)
        file.write_text(json.dumps(values))

    def arm(self, point: str) -> Path:
        """Make the next agent stop at `point`; returns the file that appears when it has."""
        return faultpoints.arm(self.var, point)


def free_base() -> int:
    """A base port with its whole span free, out of reach of the kernel's outgoing connections."""
    while True:
        (base,) = ports.free_ports(1)
        if all(ports.is_free(base + offset) for offset in range(SPAN)):
            return base


@contextmanager
def installation() -> Iterator[Product]:
    """An installation that is not started yet; whatever of it runs is stopped at the end, also on failure."""
    # A short path: the supervisor's socket must fit into 108 bytes.
    var = Path(tempfile.mkdtemp(prefix="rk-"))
    (var / "tools").mkdir()
    (var / "tools" / "bin").symlink_to(Path(os.environ.get("RAGKEEP_VAR", REPO / "var")) / "tools" / "bin")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("RAGKEEP", "DJANGO", "PYTEST"))}
    product = Product(var, free_base(), {**env, "RAGKEEP_VAR": str(var)})
    try:
        yield product
    finally:
        product.manage("down", check=False)
        keep = os.environ.get("RAGKEEP_KEEP_TEST_STATE")
        if not keep:
            shutil.rmtree(var, ignore_errors=True)


@contextmanager
def running() -> Iterator[Product]:
    """A started installation, with its first backup taken and proven."""
    with installation() as product:
        product.first = product.json("up", "--port", str(product.port))
        _plan_nothing_soon(product)
        yield product


def _plan_nothing_soon(product: Product) -> None:
    """A backup on schedule in the middle of a test holds the stack, which looks like a fault of what is tested."""
    far = datetime.now() + timedelta(hours=12)
    product.json("plans", "set", "default", "--cron", f"{far.minute} {far.hour} * * *")


def settled(api: httpx.Client, expected: int, *, seconds: float = 240) -> None:
    """Wait until `expected` documents are ready and nothing is on its way."""

    def done() -> bool:
        counts = api.get("/api/documents", params={"limit": 1}).json()["counts"]
        moving = {state: n for state, n in counts.items() if n and state not in {"ready", "failed"}}
        return not moving and counts.get("ready", 0) >= expected

    wait_until(done, what=f"{expected} documents ready", seconds=seconds)


def upload(api: httpx.Client, files: dict[str, bytes]) -> dict[str, str]:
    """Upload `files` and return their document ids by name."""
    ids = {}
    for name, content in files.items():
        answer = api.post("/api/documents", files={"file": (name, content)})
        answer.raise_for_status()
        ids[name] = answer.json()["id"]
    return ids
