"""The thread that keeps an operation ours, and notices when it no longer is or somebody wants it to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models.functions import Now

from portal.operations.models import Operation, State
from portal.operations.transitions import HELD

log = logging.getLogger(__name__)


class Monitor:
    """Whether the handler may go on; shared by an operation and its children."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._stop = threading.Event()
        self.fenced = threading.Event()
        self.cancelled = threading.Event()
        self._callbacks: dict[threading.Event, list[Callable[[], None]]] = {self.fenced: [], self.cancelled: []}
        if operation.cancel_requested:
            self.cancelled.set()

    @contextmanager
    def interrupting(self, callback: Callable[[], None], *, on_cancel: bool = True) -> Iterator[None]:
        """Call `callback` from another thread as soon as the operation is taken from us, or (`on_cancel`) cancelled."""
        events = [self.fenced, self.cancelled] if on_cancel else [self.fenced]
        for event in events:
            self._callbacks[event].append(callback)
        if any(event.is_set() for event in events):
            callback()
        try:
            yield
        finally:
            for event in events:
                self._callbacks[event].remove(callback)

    @contextmanager
    def beating(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, name=f"heartbeat-{self._operation.pk}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def beat(self) -> None:
        """Renew the heartbeat, and take over what the row says."""
        row = Operation.objects.filter(pk=self._operation.pk, attempt=self._operation.attempt, state__in=HELD)
        state = row.values_list("state", flat=True).first() if row.update(heartbeat_at=Now()) else None
        if state is None:
            self._interrupt(self.fenced)
        elif state == State.CANCELLING:
            self._interrupt(self.cancelled)

    def _interrupt(self, event: threading.Event) -> None:
        if event.is_set():
            return
        event.set()
        for callback in list(self._callbacks[event]):
            callback()

    def _run(self) -> None:
        try:
            while not self._stop.wait(settings.OPERATION_HEARTBEAT_SECONDS):
                try:
                    self.beat()
                except DatabaseError as error:
                    log.warning("no heartbeat for operation %s: %s", self._operation.pk, error)
                    connection.close()
        finally:
            connection.close()
