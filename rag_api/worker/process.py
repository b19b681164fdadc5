"""The ingest process as a whole: start, watch, stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from rag_api.db import GATE_CONNECTIONS, INGEST_LOCK, LOCK_CLASS, open_pool
from rag_api.readiness import dependency_states, postgres_state
from rag_api.retrieval.lexical import LexicalWriter
from rag_api.services import Services
from rag_api.worker.context import Context
from rag_api.worker.embedding import embed_some
from rag_api.worker.indexing import drop_stale_generations, index_some
from rag_api.worker.leases import HEARTBEAT_SECONDS
from rag_api.worker.preparing import prepare_some
from rag_api.worker.reconcile import Reconciler
from rag_api.worker.removal import remove_some
from rag_api.worker.stage import Stage

log = logging.getLogger(__name__)

CONNECTIONS = 10
STOP_SECONDS = 8.0


class LockLostError(Exception):
    """The connection that proves we are the only ingest process broke; start anew."""


class IngestProcess:
    """Waits for the database, takes the ingest lock, and runs the stages until told to stop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stop = threading.Event()
        self._stages: list[Stage] = []
        self._reconciler: Reconciler | None = None
        self._comparing: Stage | None = None

    def stop(self) -> None:
        self._stop.set()

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Readiness: dependencies answer, the stores have been compared once, and no stage is in trouble.

        Where there are as many vectors as passages nobody waits for their comparison one by one, which takes as long
        as there are vectors.
        """
        dependencies = dependency_states(self._services)
        served = self._reconciler is not None and self._reconciler.is_served
        compared = self._comparing is not None and self._comparing.rounds > 0
        troubles = [stage.trouble for stage in self._stages if stage.trouble]
        ready = served and not troubles and all(state == "ok" for state in dependencies.values())
        return ready, {"dependencies": dependencies, "served": served, "reconciled": compared, "troubles": troubles}

    def run(self) -> None:
        """Return after stop(); raises LockLostError when another process could take over."""
        self._wait_for_schema()
        lock = self._take_lock()
        if lock is None:
            return
        gate = open_pool(self._services.settings, name="gate", size=GATE_CONNECTIONS)
        lexical = LexicalWriter(self._services.settings.index_dir)
        try:
            context = Context(self._services, gate, lexical)
            context.storage.prepare()
            released = context.leases.break_all()
            log.info("ingest begins; %d documents were left in the middle", released)
            self._start_stages(context)
            self._watch(context, lock)
        finally:
            self._stop.set()
            end = time.monotonic() + STOP_SECONDS
            for stage in self._stages:
                stage.join(max(0.0, end - time.monotonic()))
            lexical.close()
            gate.close()
            lock.close()

    def _start_stages(self, context: Context) -> None:
        self._reconciler = Reconciler(context)
        self._comparing = self._stage("reconcile", self._reconciler.step, context, idle=0.5)
        self._stages = [
            self._comparing,
            *(self._stage(f"prepare-{n}", lambda: prepare_some(context), context) for n in (1, 2)),
            *(self._stage(f"embed-{n}", lambda: embed_some(context), context) for n in (1, 2)),
            self._stage("index", lambda: index_some(context), context),
            self._stage("remove", lambda: remove_some(context), context),
            self._stage("tidy", lambda: drop_stale_generations(context), context, idle=2),
        ]
        for stage in self._stages:
            stage.start()

    def _stage(self, name: str, step: Callable[[], bool], context: Context, idle: float = 0.25) -> Stage:
        return Stage(name, step, self._stop, idle=idle, on_trouble=context.note_trouble)

    def _watch(self, context: Context, lock: psycopg.Connection[Any]) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                lock.execute("SELECT 1")
            except psycopg.Error as error:
                raise LockLostError("the ingest lock is lost with its connection") from error
            try:
                context.leases.renew()
            except psycopg.Error as error:
                log.warning("leases could not be renewed: %s", error)

    def _wait_for_schema(self) -> None:
        told = ""
        while (state := postgres_state(self._services)) != "ok":
            if state != told:
                log.info("waiting: %s", state)
                told = state
            if self._stop.wait(0.5):
                return

    def _take_lock(self) -> psycopg.Connection[Any] | None:
        """A connection that holds the ingest lock for as long as it lives; None when told to stop before."""
        told = False
        while not self._stop.is_set():
            try:
                connection = psycopg.connect(
                    self._services.settings.postgres_conninfo(), autocommit=True, connect_timeout=5
                )
                row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, INGEST_LOCK)).fetchone()
                if row and row[0]:
                    return connection
                connection.close()
                if not told:
                    log.info("waiting: another ingest process holds the lock")
                    told = True
            except psycopg.OperationalError as error:
                log.warning("waiting for the database: %s", error)
            self._stop.wait(0.5)
        return None
