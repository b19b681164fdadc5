"""Parsing in processes of its own, so that a bomb or a crash of a parser ends that process and nothing else.

`multiprocessing` with the spawn method: a forked copy would share the parent's sockets and locks. A child serves
many documents, is replaced when it dies or overruns, and leaves by itself when idle or when its parent is gone.
"""

from __future__ import annotations

import multiprocessing
import resource
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from rag_api.parsing.document import Limits, ParsedDocument, ParseFailure

Reader = Callable[[Path, str, Limits], ParsedDocument]

_IDLE_SECONDS = 30.0
_START_SECONDS = 30.0  # importing the readers on a busy machine


def serve(connection: Connection) -> None:
    """Main of a child: (reader, path, name, limits) in, ParsedDocument or ParseFailure out, until idle."""
    while connection.poll(_IDLE_SECONDS):
        try:
            reader, path, name, limits = connection.recv()
        except EOFError:
            return
        connection.send(_guarded(reader, path, name, limits))


def _guarded(reader: Reader, path: Path, name: str, limits: Limits) -> ParsedDocument | ParseFailure:
    _limit(limits)
    try:
        return reader(path, name, limits)
    except ParseFailure as failure:
        return failure
    except MemoryError:
        return ParseFailure("too_long", f"{name} needs more memory than one document may take. Split it.")
    except Exception as error:
        return ParseFailure("unreadable", f"{name} cannot be read ({type(error).__name__}). Export or save it again.")


def _limit(limits: Limits) -> None:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    processor = int(spent.ru_utime + spent.ru_stime) + limits.seconds + 1
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        with suppress(ValueError, OSError):  # a hard limit below ours already protects
            resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


class _Child:
    """One parsing process and our end of its pipe."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), name="parser", daemon=True)
        self.process.start()
        theirs.close()
        self.used = time.monotonic()
        self.fresh = True

    def usable(self) -> bool:
        return self.process.is_alive() and time.monotonic() - self.used < _IDLE_SECONDS / 2

    def ask(self, reader: Reader, path: Path, name: str, limits: Limits) -> ParsedDocument | ParseFailure:
        """Raises EOFError or OSError when the child died, TimeoutError when it overran."""
        allowed = limits.seconds + (_START_SECONDS if self.fresh else 0)
        self.pipe.send((reader, path, name, limits))
        if not self.pipe.poll(allowed):
            raise TimeoutError
        answer: ParsedDocument | ParseFailure = self.pipe.recv()
        self.used, self.fresh = time.monotonic(), False
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.join(5)
        self.pipe.close()


class Sandbox:
    """At most `size` parsing processes; safe to use from many threads."""

    def __init__(self, size: int = 2) -> None:
        self._slots = threading.BoundedSemaphore(size)
        self._idle: list[_Child] = []
        self._lock = threading.Lock()

    def read(self, reader: Reader, path: Path, name: str, limits: Limits) -> ParsedDocument:
        """Run `reader` in a child.

        Raises:
            ParseFailure: what the reader found, or `timeout` or `crashed` when it never answered.
        """
        with self._slots:
            child = self._borrow()
            try:
                answer = child.ask(reader, path, name, limits)
            except BaseException as error:
                child.end()
                raise self._lost(error, name, limits) from error
            with self._lock:
                self._idle.append(child)
        if isinstance(answer, ParseFailure):
            raise answer
        return answer

    def _borrow(self) -> _Child:
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        if idle is None:
            return _Child()
        if idle.usable():
            return idle
        idle.end()
        return _Child()

    @staticmethod
    def _lost(error: BaseException, name: str, limits: Limits) -> BaseException:
        if isinstance(error, TimeoutError):
            message = f"{name} could not be read within {limits.seconds} s. Split it, or save it in a simpler form."
            return ParseFailure("timeout", message)
        if isinstance(error, EOFError | OSError):
            return ParseFailure(
                "crashed", f"{name} made the reader fail: the file is damaged. Export or save it again."
            )
        return error

    def close(self) -> None:
        """End every idle child; those at work end with their document."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()
