"""A real Celery worker process, killed the hard way; what it leaves behind is finished by the next one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from backups import process
from config.celery import app
from portal.operations import reaper
from portal.operations.models import Operation, State, StepState
from portal.operations.services import operation_cancel, operation_start
from tests.support import servers
from tests.support.portal_kinds import kinds

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]
assert kinds


class Workers:
    """Starts worker processes on the test's own servers, and stops those that still live at the end."""

    def __init__(self, env: dict[str, str], exits: ExitStack) -> None:
        self._env = env
        self._exits = exits

    def start(self) -> process.Running:
        argv = [sys.executable, "-m", "celery", "-A", "config.celery", "worker"]
        argv += ["--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING", "--without-mingle"]
        return self._exits.enter_context(process.Running([*argv, "--without-gossip"], env=self._env, cwd=servers.REPO))


@contextmanager
def cleaned(exits: ExitStack) -> Iterator[None]:
    try:
        yield
    finally:
        exits.close()


@pytest.fixture
def workers(
    settings: Settings, postgres_server: servers.Postgres, valkey_server: servers.Valkey, tmp_path: Path
) -> Iterator[Workers]:
    settings.VAR_DIR = tmp_path
    settings.VALKEY_URL = valkey_server.url
    settings.OPERATION_STALE_SECONDS = 1.5
    settings.OPERATION_UNCLAIMED_SECONDS = 0.5
    app.conf["broker_url"] = valkey_server.url
    app.control.purge()
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.support.portal_worker",
        "RAGKEEP_VAR": str(tmp_path),
        "TEST_PG_PORT": str(postgres_server.port),
        "TEST_PG_NAME": str(connection.settings_dict["NAME"]),
        "TEST_PG_USER": postgres_server.user,
        "TEST_PG_PASSWORD": postgres_server.password,
        "TEST_VALKEY_URL": valkey_server.url,
    }
    exits = ExitStack()
    with cleaned(exits):
        yield Workers(env, exits)


def walk(tmp_path: Path) -> dict[str, Any]:
    return {"trace": str(tmp_path / "trace"), "gate": str(tmp_path / "gate")}


def reached(operation: Operation, step: str, attempt: int = 1) -> bool:
    return operation.steps.filter(name=step, attempt=attempt, state=StepState.STARTED).exists()


def ended(operation: Operation) -> bool:
    reaper.reap()
    operation.refresh_from_db()
    return operation.is_finished


def test_worker_killed_midway_is_resumed_where_it_stopped(workers: Workers, tmp_path: Path) -> None:
    first = workers.start()
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    servers.wait_until(lambda: reached(operation, "second"), what="the second step")
    os.kill(first.pid, signal.SIGKILL)
    first.wait(10)
    (tmp_path / "gate").touch()
    workers.start()
    servers.wait_until(lambda: ended(operation), what="the resumed operation")

    assert (operation.state, operation.attempt) == (State.SUCCEEDED, 2)
    assert (tmp_path / "trace").read_text().splitlines() == ["first 1", "second 1", "second 2", "third 2"]
    interrupted = operation.steps.get(name="second", attempt=1)
    assert (interrupted.state, interrupted.data) == (StepState.FAILED, {"interrupted": True})


def test_worker_that_was_only_frozen_does_not_write_beside_its_successor(workers: Workers, tmp_path: Path) -> None:
    first = workers.start()
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    servers.wait_until(lambda: reached(operation, "second"), what="the second step")
    os.kill(first.pid, signal.SIGSTOP)
    workers.start()

    def taken_over() -> bool:
        reaper.reap()
        operation.refresh_from_db()
        return operation.attempt == 2

    servers.wait_until(taken_over, what="the new attempt")
    (tmp_path / "gate").touch()
    assert not operation.steps.filter(attempt=2).exists(), "the frozen worker still holds its lock"
    os.kill(first.pid, signal.SIGCONT)
    servers.wait_until(lambda: ended(operation), what="the resumed operation")
    assert operation.state == State.SUCCEEDED
    assert (tmp_path / "trace").read_text().splitlines()[0] == "first 1"
    assert operation.steps.filter(name="third").count() == 1


def test_killed_while_cancelling_the_next_worker_undoes(workers: Workers, tmp_path: Path) -> None:
    first = workers.start()
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    servers.wait_until(lambda: reached(operation, "second"), what="the second step")
    os.kill(first.pid, signal.SIGKILL)
    first.wait(10)
    operation_cancel(operation=operation)
    workers.start()
    servers.wait_until(lambda: ended(operation), what="the cancelled operation")
    assert operation.state == State.CANCELLED
    assert operation.steps.get(name="undo").attempt == 2


def test_operation_queued_while_the_broker_was_down_still_runs(workers: Workers, tmp_path: Path) -> None:
    good, app.conf["broker_url"] = app.conf["broker_url"], f"redis://127.0.0.1:{servers.free_port()}/0"
    (tmp_path / "gate").touch()
    try:
        operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    finally:
        app.conf["broker_url"] = good
    workers.start()
    servers.wait_until(lambda: ended(operation), what="the forgotten operation")
    assert (operation.state, operation.attempt) == (State.SUCCEEDED, 1)


def test_parent_killed_resumes_its_child(workers: Workers, tmp_path: Path) -> None:
    first = workers.start()
    operation = operation_start(kind="test.parent", target="stack:a", params=walk(tmp_path))
    servers.wait_until(
        lambda: Operation.objects.filter(parent=operation, steps__name="second").exists(), what="the child's step"
    )
    os.kill(first.pid, signal.SIGKILL)
    first.wait(10)
    (tmp_path / "gate").touch()
    workers.start()
    servers.wait_until(lambda: ended(operation), what="the resumed parent")
    child = operation.children.get()
    assert (operation.state, child.state, child.attempt) == (State.SUCCEEDED, State.SUCCEEDED, 2)
