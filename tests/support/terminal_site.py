"""The portal and a worker as processes of their own, on the servers of a test; services have shells, but do not run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from backups import process
from config.celery import app
from tests.support import portal_web, servers


@contextmanager
def worker(valkey: servers.Valkey, var: Path) -> Iterator[process.Running]:
    """A Celery worker on the database of this test; the end of the block is its end."""
    database = connection.settings_dict
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.support.portal_worker",
        "RAGKEEP_VAR": str(var),
        "TEST_PG_PORT": str(database["PORT"]),
        "TEST_PG_NAME": str(database["NAME"]),
        "TEST_PG_USER": str(database["USER"]),
        "TEST_PG_PASSWORD": str(database["PASSWORD"]),
        "TEST_VALKEY_URL": valkey.url,
    }
    app.conf["broker_url"] = valkey.url
    app.control.purge()
    argv = [sys.executable, "-m", "celery", "-A", "config.celery", "worker", "--pool", "threads", "--concurrency", "2"]
    argv += ["--loglevel", "WARNING", "--without-mingle", "--without-gossip"]
    with process.Running(argv, env=env, cwd=servers.REPO) as running:
        yield running


@contextmanager
def site(valkey: servers.Valkey, var: Path) -> Iterator[str]:
    """Both; yields the portal's address."""
    with worker(valkey, var), portal_web.portal_server(valkey, var) as address:
        yield address
