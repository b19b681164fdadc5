"""What integration tests share: a portal with folder and queue, rows, a client for each role, a worker; a runtime."""

from __future__ import annotations

import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from config.celery import app
from portal.operations import queue, worker
from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.paths import RuntimePaths
from tests.support import portal_web, servers
from tests.support.portal_web import Rows


@pytest.fixture
def control_plane(settings: Settings, valkey_server: servers.Valkey, tmp_path: Path) -> None:
    """The portal keeps its state in this test's folder, and its queue and channel in the session's Valkey."""
    settings.VAR_DIR = tmp_path
    settings.VALKEY_URL = app.conf["broker_url"] = valkey_server.url


@pytest.fixture
def used(control_plane: None, tmp_path: Path) -> Rows:
    """What a portal in use has in its database."""
    return portal_web.rows(tmp_path)


@pytest.fixture
def seen() -> dict[str, Client]:
    """A client for each role."""
    return portal_web.clients()


@pytest.fixture
def operator(seen: dict[str, Client]) -> Client:
    return seen["operator"]


@pytest.fixture
def worker_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Operations run in a thread as soon as they are enqueued."""
    threads: list[threading.Thread] = []

    def run(operation_id: uuid.UUID) -> None:
        worker.execute(operation_id)
        connection.close()

    def enqueue(operation_id: uuid.UUID) -> None:
        threads.append(threading.Thread(target=run, args=[operation_id]))
        threads[-1].start()

    monkeypatch.setattr(queue, "enqueue", enqueue)
    yield
    for thread in threads:
        thread.join(60)


@pytest.fixture
def runtime() -> Iterator[EmbeddedRuntime]:
    """The runtime of processes, in a folder of its own whose name is short enough for sockets."""
    var = Path(tempfile.mkdtemp(prefix="rk-"))
    found = EmbeddedRuntime(RuntimePaths(var))
    try:
        yield found
    finally:
        found.supervisor.shutdown()
        shutil.rmtree(var, ignore_errors=True)
