"""A Chroma server of our own on a folder: to create a store, and to prove that a copy of one can be read.

Chroma's on-disk format is its own affair: what a copy holds is asked from Chroma itself, over HTTP.
"""

from __future__ import annotations

import importlib.metadata
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from backups.errors import StagingInvalid, ToolMissing
from backups.process import Running
from backups.sources.vectors import DATABASE

Vectors = NDArray[np.float32]

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
PAGE = 5000
START_SECONDS = 60.0


def program() -> Path:
    """The `chroma` program that was installed with this interpreter.

    Raises:
        ToolMissing: there is none.
    """
    found = Path(sys.executable).parent / "chroma"
    if not found.exists():
        raise ToolMissing(f"chroma is not installed at {found}", "Install the extra `rag` into this environment.")
    return found


def version() -> str:
    """The version of the installed Chroma, e.g. "1.5.9" (its program counts separately).

    Raises:
        ToolMissing: it is not installed.
    """
    try:
        return importlib.metadata.version("chromadb")
    except importlib.metadata.PackageNotFoundError:
        raise ToolMissing("chroma is not installed", "Install the extra `rag` into this environment.") from None


def prepare(folder: Path) -> None:
    """Give a store that no server runs on what a short freeze needs: Chroma's file, in WAL mode, which Chroma keeps.

    Idempotent; an empty or missing folder becomes an empty store.

    Raises:
        ToolMissing: chroma does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / DATABASE).exists():
        with serving(folder):
            pass
    with closing(sqlite3.connect(folder / DATABASE, timeout=10)) as connection:
        connection.execute("PRAGMA journal_mode=WAL").fetchone()


@contextmanager
def serving(folder: Path) -> Iterator[Store]:
    """Run Chroma on `folder` (which it may change) on a free loopback port until the block ends.

    Raises:
        ToolMissing: it did not answer within a minute.
    """
    port = _free_port()
    argv = (str(program()), "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port))
    with (
        Running(argv, env={**os.environ, "ANONYMIZED_TELEMETRY": "False"}, cwd=folder) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client,
    ):
        server.discard_output()
        _wait(server, client)
        yield Store(client)


class Store:
    """Reads a running Chroma."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def collections(self) -> dict[str, str]:
        """Name -> id."""
        return {str(one["name"]): str(one["id"]) for one in self._ask("GET", f"{COLLECTIONS}?limit=1000")}

    def count(self, collection: str) -> int:
        return int(self._ask("GET", f"{COLLECTIONS}/{collection}/count"))

    def vectors(self, collection: str) -> Iterator[tuple[list[str], Vectors]]:
        """Every stored vector, in pages of at most 5,000: ids and an array (n, dimension).

        Chroma looks up the next page while the caller has the last one.
        """
        with ThreadPoolExecutor(1, "page") as ahead:
            page, offset = ahead.submit(self._page, collection, 0), 0
            while (found := page.result())["ids"]:
                offset += len(found["ids"])
                page = ahead.submit(self._page, collection, offset)
                yield found["ids"], np.asarray(found["embeddings"], dtype=np.float32)

    def _page(self, collection: str, offset: int) -> Any:  # noqa: ANN401 - decoded JSON
        body = {"limit": PAGE, "offset": offset, "include": ["embeddings"]}
        return self._ask("POST", f"{COLLECTIONS}/{collection}/get", body)

    def nearest(self, collection: str, vector: Vectors, k: int) -> list[str]:
        """What the index itself finds for a vector of shape (dimension,)."""
        body = {"query_embeddings": [vector.tolist()], "n_results": k, "include": []}
        return list(self._ask("POST", f"{COLLECTIONS}/{collection}/query", body)["ids"][0])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - decoded JSON
        try:
            answer = self._client.request(method, path, json=body)
            answer.raise_for_status()
            return orjson.loads(answer.content)
        except (httpx.HTTPError, ValueError) as error:
            raise StagingInvalid(f"Chroma cannot read the copy of its store: {error}") from None


def _wait(server: Running, client: httpx.Client) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            if client.get("/api/v2/heartbeat").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise ToolMissing(f"chroma did not start: {server.stderr[-500:].strip()}", "Run `manage.py doctor`.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
