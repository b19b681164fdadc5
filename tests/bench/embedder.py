"""A model server for benches: Ollama's two calls, with vectors that are sums of random word vectors.

It costs microseconds, so that a bench measures the stores and not a model; and a text that shares words with a passage
lies near it, so that searches find what they should. A process of its own: `python -m tests.bench.embedder PORT`.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import orjson
from numpy.typing import NDArray

DIMENSION = 384
WORDS = 20_000
MODEL = "all-minilm"
DIGEST = "0" * 64

Vectors = NDArray[np.float32]


@cache
def word_vectors() -> Vectors:
    """One random direction per word, shape (WORDS, DIMENSION), the same in every process."""
    return np.random.default_rng(20).standard_normal((WORDS, DIMENSION), dtype=np.float32)


def word(number: int) -> str:
    return f"w{number}"


def embed_rows(rows: NDArray[np.int64]) -> Vectors:
    """Vectors of length 1 for texts given as word numbers, shape (texts, words) -> (texts, DIMENSION)."""
    sums = np.stack([word_vectors()[row].sum(axis=0) for row in rows])
    unit: Vectors = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return unit


def embed_texts(texts: Sequence[str]) -> Vectors:
    """The same for texts; a word that is none of ours gets the direction of one that is."""
    return np.concatenate([embed_rows(np.array([[_number(w) for w in text.split()] or [0]])) for text in texts])


def _number(text: str) -> int:
    if text.startswith("w") and text[1:].isdigit():
        return int(text[1:]) % WORDS
    return zlib.crc32(text.encode()) % WORDS


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self._answer({"models": [{"name": f"{MODEL}:latest", "digest": DIGEST}]})

    def do_POST(self) -> None:
        asked = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer({"embeddings": embed_texts(asked["input"])})

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _answer(self, body: dict[str, object]) -> None:
        data = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


def main() -> None:
    word_vectors()
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
