"""The command `ollama` of the stand-in image: serve, list, pull NAME. The server is rag_api.modelserver."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, NoReturn

DEFAULT_HOST = "127.0.0.1:11434"


def main(words: Sequence[str]) -> int:
    """Run one command; returns its exit status."""
    host, _, port = os.environ.get("OLLAMA_HOST", DEFAULT_HOST).partition(":")
    try:
        match words:
            case ["serve"]:
                _serve(host, port or "11434")
            case ["list" | "ls"]:
                for model in _ask(port, "GET", "/api/tags", None)["models"]:
                    sys.stdout.write(f"{model['name']}\n")
            case ["pull", name]:
                told = _ask(port, "POST", "/api/pull", {"model": name, "stream": False})
                sys.stdout.write(f"{told.get('status', told)}\n")
            case _:
                sys.stderr.write("usage: ollama serve | list | pull NAME\n")
                return 2
    except urllib.error.URLError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


def _serve(host: str, port: str) -> NoReturn:
    store = os.environ.get("OLLAMA_MODELS", "/data/models/live")
    argv = [sys.executable, "-m", "rag_api.modelserver", "--store", store, "--host", host, "--port", port]
    os.execv(sys.executable, argv)  # noqa: S606 - no shell is the point


def _ask(port: str, method: str, path: str, body: object) -> Any:  # noqa: ANN401 - decoded JSON
    request = urllib.request.Request(
        f"http://127.0.0.1:{port or '11434'}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310 - loopback only
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
