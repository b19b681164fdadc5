"""A real model server with the two packaged models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from backups import process
from tests.support.servers import REPO, free_port, http_ok, wait_until

CHAT = "smollm2:135m"
EMBED = "all-minilm"


@contextmanager
def model_server(store: Path) -> Iterator[str]:
    """Serve an empty store, pull both models into it, and give the address."""
    port = free_port()
    argv = [sys.executable, "-m", "rag_api.modelserver", "--store", str(store), "--port", str(port)]
    with process.Running(argv, cwd=REPO) as running:
        running.discard_output()
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: http_ok(url), what="the model server")
        for model in (EMBED, CHAT):
            httpx.post(f"{url}/api/pull", json={"model": model, "stream": False}, timeout=120).raise_for_status()
        yield url
