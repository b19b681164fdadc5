"""What runs in the process of a loaded model: take one request at a time from a pipe, answer with events.

Nothing but plain tuples crosses the pipe:
    to the child     ("run", request) | ("cancel", None)
    from the child   ("ready", facts) | ("token", text) | ("end", result) | ("error", (kind, message, data))

Standard library only at import time: the native libraries are loaded by the engine, after the process is bound to
its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

Event = tuple[str, Any]

_PR_SET_PDEATHSIG = 1
# An answer is written for seconds, on every core: searches and the embeddings they need go before it.
WRITING_NICENESS = 5


@dataclass(frozen=True, slots=True)
class Spec:
    """What a process is started with; two equal specs can share a process.

    Attributes:
        kind: "llama" or "onnx".
        files: role -> path of a verified blob; roles are "model" and, for onnx, "tokenizer".
        context: tokens.
        threads: cores to use.
    """

    kind: str
    files: tuple[tuple[str, str], ...]
    context: int
    threads: int

    def file(self, role: str) -> str:
        return dict(self.files)[role]


class EngineError(Exception):
    """An engine refuses a request; `kind` is "bad_request", "too_long" or "failed"."""

    def __init__(self, kind: str, message: str, data: dict[str, int] | None = None) -> None:
        self.kind = kind
        self.message = message
        self.data = data or {}
        super().__init__(message)


class Engine(Protocol):
    """One loaded model. `cancelled` is cheap and true once nobody wants the answer any more."""

    def run(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> Iterator[Event]: ...


def main(pipe: Connection, spec: Spec) -> None:
    """Load the model and serve until the pipe is closed."""
    _bind_to_parent()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            engine = _engine(spec)
        except Exception as error:
            pipe.send(("error", ("failed", f"the model could not be loaded: {error}", {})))
            return
        pipe.send(("ready", None))
        while True:
            word, request = pipe.recv()
            if word == "run":
                _serve(pipe, engine, request)


def _serve(pipe: Connection, engine: Engine, request: dict[str, Any]) -> None:
    stopped = False

    def cancelled() -> bool:
        nonlocal stopped
        stopped = stopped or (pipe.poll() and pipe.recv()[0] == "cancel")
        return stopped

    try:
        for event in engine.run(request, cancelled):
            pipe.send(event)
    except EngineError as error:
        pipe.send(("error", (error.kind, error.message, error.data)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        pipe.send(("error", ("failed", f"the model failed: {error}", {})))


def _engine(spec: Spec) -> Engine:
    if spec.kind == "llama":
        os.nice(WRITING_NICENESS)
        from rag_api.modelserver.llama_engine import LlamaEngine

        return LlamaEngine(spec)
    from rag_api.modelserver.onnx_engine import OnnxEngine

    return OnnxEngine(spec)


def _bind_to_parent() -> None:
    """Die with the server (also when it is killed), and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
