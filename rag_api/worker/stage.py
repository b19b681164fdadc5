"""A stage of ingestion: a thread that does one step again and again, and waits out whatever is down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psycopg

from rag_api.allocator import give_back_memory
from rag_api.errors import UnavailableError
from rag_api.vectors import CollectionGoneError

log = logging.getLogger(__name__)

# What passes by itself: a server that is down or restarting, a connection that broke, a collection to be made anew.
# It is never held against a document.
TRANSIENT = (UnavailableError, psycopg.OperationalError, psycopg.InterfaceError, CollectionGoneError)

IDLE_SECONDS = 0.25
LONGEST_PAUSE = 15.0


class Stage(threading.Thread):
    """Runs `step` until `stop` is set; `step` returns whether there was work, so that it is called again at once.

    Attributes:
        trouble: what made the last step fail, for the readiness report; None when it went well.
        rounds: steps that went well so far.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], bool],
        stop: threading.Event,
        *,
        idle: float = IDLE_SECONDS,
        on_trouble: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.trouble: str | None = None
        self.rounds = 0
        self._step = step
        self._stop_event = stop
        self._idle = idle
        self._on_trouble = on_trouble

    def run(self) -> None:
        failures, busy = 0, False
        while not self._stop_event.is_set():
            pause = 0.0
            try:
                worked = self._step()
                if not worked:
                    pause = self._idle
                    if busy:
                        give_back_memory()
                busy = worked
                self.rounds += 1
                failures, self.trouble = 0, None
            except Exception as error:
                failures += 1
                pause = min(LONGEST_PAUSE, 0.25 * 2**failures)
                self._note(error, failures)
            self._stop_event.wait(pause)

    def _note(self, error: Exception, failures: int) -> None:
        self.trouble = f"{self.name}: {error}"
        self._on_trouble(error)
        if not isinstance(error, TRANSIENT):
            log.error("%s failed", self.name, exc_info=error)
        elif failures == 1:
            log.warning("%s waits: %s", self.name, error)
