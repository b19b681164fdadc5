"""What the stages of the ingest process share."""

from __future__ import annotations

import threading

from rag_api.collections import Collection, activate_collection
from rag_api.db import Pool
from rag_api.retrieval.lexical import LexicalWriter
from rag_api.services import Services
from rag_api.storage import Storage
from rag_api.vectors import CollectionGoneError
from rag_api.worker.leases import Leases


class Context:
    """Clients, the one writer of the word index, and the collection in use."""

    def __init__(self, services: Services, gate: Pool, lexical: LexicalWriter) -> None:
        self.services = services
        self.pool = services.pool
        self.gate = gate
        """Connections for transactions inside the write gate alone: their number bounds Chroma's writers."""
        self.lexical = lexical
        self.storage = Storage(services.settings)
        self.leases = Leases(services.pool)
        self.words = threading.RLock()
        """Held from a change of the word index to the change in Postgres that belongs to it."""
        self.reconcile_now = threading.Event()
        self._collection: Collection | None = None
        self._lock = threading.Lock()

    def collection(self) -> Collection:
        """The collection of the embedder in use, made when it is missing.

        Raises:
            EmbedderDownError, VectorsDownError: not to be had now.
        """
        with self._lock:
            if self._collection is None:
                identity = self.services.embedder.identity()
                with self.gate.connection() as connection:
                    self._collection = activate_collection(connection, self.services.vectors, identity)
            return self._collection

    def refresh_collection(self) -> None:
        """Look the embedder up again with the next use: its model may have been replaced under the same name."""
        with self._lock:
            self._collection = None

    def note_trouble(self, error: Exception) -> None:
        """A collection that is gone, as after its folder was wiped, is made anew and refilled."""
        if isinstance(error, CollectionGoneError):
            self.refresh_collection()
            self.reconcile_now.set()
