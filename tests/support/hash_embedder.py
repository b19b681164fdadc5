"""A model server for tests of the state machine: Ollama's two calls, with vectors made of hashed words.

Deterministic and quick, and it can be told to be slow or down, which a real one cannot. Tests of what is found use
the real model server.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIMENSION = 64


@dataclass
class HashEmbedder:
    """Set `down` to have it answer 503, `seconds` to have every call take that long, `digest` to be another model."""

    url: str = ""
    digest: str = "0" * 64
    down: bool = False
    seconds: float = 0.0
    embedded: int = 0


def vector(text: str) -> list[float]:
    """One bucket for each word, of length 1."""
    values = [0.0] * DIMENSION
    for word in text.lower().split():
        values[hashlib.sha256(word.encode()).digest()[0] % DIMENSION] += 1.0
    length = sum(v * v for v in values) ** 0.5 or 1.0
    return [v / length for v in values]


@contextmanager
def hash_embedder() -> Iterator[HashEmbedder]:
    state = HashEmbedder()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"models": [{"name": "all-minilm:latest", "digest": state.digest}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(state.seconds)
            state.embedded += len(body["input"])
            self._answer({"embeddings": [vector(text) for text in body["input"]]})

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def _answer(self, body: dict[str, object]) -> None:
            data = json.dumps({"error": "down"} if state.down else body).encode()
            self.send_response(503 if state.down else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # a client that was killed
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
