"""Sending what is read piece by piece, without holding up anybody else, and ending it when the reader leaves."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)

# Each reads a repository and holds a thread; more at a time only make all of them slower.
AT_ONCE = 4
_seats = threading.BoundedSemaphore(AT_ONCE)
# Threads of our own, so that slow repositories never use up those that answer pages.
_pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="download")


class Full(Exception):  # noqa: N818 - a state, not a fault
    """As many downloads run as may."""


class Blocks:
    """The blocks of a download as an asynchronous iterator that may be consumed once.

    The first block is read at once: what cannot even begin is told before anything was sent.
    """

    def __init__(self, blocks: Iterator[bytes], stop: Callable[[], None]) -> None:
        """Takes a seat until `close`.

        Raises:
            Full: none is left.
            Exception: whatever reading the first block raises.
        """
        self._open = False
        if not _seats.acquire(blocking=False):
            raise Full
        self._open, self._lock = True, threading.Lock()
        self._blocks, self._stop = blocks, stop
        try:
            self._first = next(blocks, b"")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what still runs. Called by the response at its end, also when the reader has left."""
        if not self._open:
            return
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            self._stop()
            _seats.release()

    def __del__(self) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        loop, block = asyncio.get_running_loop(), self._first
        try:
            while block:
                yield block
                block = await loop.run_in_executor(_pool, next, self._blocks, b"")
        except Exception as error:
            # The connection breaks off, which is how a browser learns that the file is not whole.
            log.warning("a download broke off: %s", error)
            raise
        finally:
            self.close()
