"""Operations on a real Postgres and Valkey: states, claims, joining, cancelling, children, without a worker process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import connection
from pytest_django import Settings

from portal.core.models import AuditEntry
from portal.operations import reaper, selectors, transitions, worker
from portal.operations.errors import OperationRefused
from portal.operations.models import Claim, Operation, State, StepState
from portal.operations.services import operation_cancel, operation_start
from tests.support import servers
from tests.support.portal_kinds import kinds

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("control_plane"),
]
assert kinds


def walk(tmp_path: Path, *, open_gate: bool = True) -> dict[str, Any]:
    gate = tmp_path / "gate"
    if open_gate:
        gate.touch()
    return {"trace": str(tmp_path / "trace"), "gate": str(gate)}


def run_and_close(operation: Operation) -> None:
    worker.execute(operation.pk)
    connection.close()


def at_once(count: int, act: Callable[[], Any]) -> list[Any]:
    """Run `act` in `count` threads that start together; results or exceptions."""
    barrier, results = threading.Barrier(count), list[Any]()

    def one() -> None:
        barrier.wait()
        try:
            results.append(act())
        except OperationRefused as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_walk_is_journaled_audited_and_releases_its_claims(tmp_path: Path) -> None:
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    assert operation.state == State.QUEUED
    assert Claim.objects.filter(operation=operation).count() == 1

    worker.execute(operation.pk)

    row = selectors.operation_get(operation.pk)
    assert (row.state, row.result, row.error) == (State.SUCCEEDED, {"attempt": 1}, {})
    assert [(s.name, s.state, s.data) for s in selectors.operation_steps(row)] == [
        (name, StepState.DONE, {"seen": True}) for name in ("first", "second", "third")
    ]
    assert row.progress["stage"] == "third"
    assert None not in (row.started_at, row.finished_at, row.heartbeat_at)
    assert not Claim.objects.exists()
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert actions == ["test.walk.requested", "test.walk.succeeded"]


def test_changes_are_published_with_a_rising_seq(tmp_path: Path, valkey_server: servers.Valkey) -> None:
    with redis.Redis.from_url(valkey_server.url) as client, client.pubsub() as channel:
        channel.subscribe("ragkeep:events")
        channel.get_message(timeout=5)
        operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
        worker.execute(operation.pk)
        seen = []
        while message := channel.get_message(timeout=0.3):
            seen.append(json.loads(message["data"]))
    assert {event["id"] for event in seen} == {str(operation.pk)}
    numbers = [event["seq"] for event in seen]
    assert numbers == sorted(numbers)
    assert numbers[-1] == selectors.operation_get(operation.pk).seq


def test_identical_triggers_at_once_become_one_operation(tmp_path: Path) -> None:
    started = at_once(6, lambda: operation_start(kind="test.alone", target="stack:a"))
    assert {o.pk for o in started} == {Operation.objects.get().pk}


def test_exclusive_claim_refuses_others_and_names_the_holder(tmp_path: Path) -> None:
    operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    with pytest.raises(OperationRefused, match="Walk of a is queued") as refused:
        operation_start(kind="test.alone", target="stack:a")
    assert refused.value.remedy
    assert operation_start(kind="test.alone", target="stack:b").state == State.QUEUED


def test_of_many_conflicting_triggers_at_once_one_wins(tmp_path: Path) -> None:
    gate = threading.Lock()
    turn = iter(["test.walk", "test.alone"] * 4)

    def act() -> Operation:
        with gate:
            kind = next(turn)
        return operation_start(kind=kind, target="stack:a", params={})

    results = at_once(8, act)
    kinds_running = set(Operation.objects.values_list("kind", flat=True))
    assert len(kinds_running) == 1
    assert sum(isinstance(r, OperationRefused) for r in results) == 4


def test_shared_claims_go_together(tmp_path: Path) -> None:
    operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    operation_start(kind="test.parent", target="stack:b", params=walk(tmp_path))
    with pytest.raises(OperationRefused):
        operation_start(kind="test.walk", target="stack:b", params=walk(tmp_path))


def test_only_one_worker_takes_a_queued_operation(tmp_path: Path) -> None:
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    at_once(4, lambda: worker.execute(operation.pk))
    assert (tmp_path / "trace").read_text().split() == ["first", "1", "second", "1", "third", "1"]


def test_cancel_of_a_queued_operation_ends_it_at_once(tmp_path: Path) -> None:
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    assert operation_cancel(operation=operation).state == State.CANCELLED
    worker.execute(operation.pk)
    assert selectors.operation_steps(operation) == []
    with pytest.raises(OperationRefused, match="ended already"):
        operation_cancel(operation=operation)
    assert operation_start(kind="test.alone", target="stack:a").state == State.QUEUED


def test_cancel_of_a_running_operation_undoes_first(tmp_path: Path, settings: Settings) -> None:
    settings.OPERATION_HEARTBEAT_SECONDS = 0.05
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path, open_gate=False))
    runner = threading.Thread(target=lambda: run_and_close(operation))
    runner.start()
    servers.wait_until(lambda: operation.steps.filter(name="second").exists(), what="the second step")
    assert operation_cancel(operation=operation).state == State.CANCELLING
    runner.join(10)
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    assert {s.name: s.state for s in operation.steps.all()} == {
        "first": StepState.UNDONE,
        "second": StepState.FAILED,
        "undo": StepState.DONE,
    }
    assert not Claim.objects.exists()


def test_failure_keeps_code_sentence_and_remedy() -> None:
    operation = operation_start(kind="test.fail", target="stack:a")
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.FAILED
    assert operation.error == {"code": "space_short", "message": "The disk is full.", "remedy": "Free some space."}
    good, bad = selectors.operation_steps(operation)
    assert (good.state, bad.state) == (StepState.DONE, StepState.FAILED)
    assert bad.data["error"]["code"] == "space_short"
    assert [line.text for line in selectors.operation_log(operation)] == ["so far so good"]


def test_unforeseen_error_shows_no_detail() -> None:
    operation = operation_start(kind="test.crash", target="stack:a")
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.FAILED
    assert "a detail" not in str(operation.error)
    assert "ValueError" in operation.error["message"]


def test_child_runs_under_the_claim_of_its_parent(tmp_path: Path) -> None:
    operation = operation_start(kind="test.parent", target="stack:a", params=walk(tmp_path))
    worker.execute(operation.pk)
    operation.refresh_from_db()
    (child,) = selectors.operation_children(operation)
    assert operation.result == {"child": str(child.pk), "child_state": "succeeded"}
    assert selectors.operation_list_recent() == [operation]


def test_fenced_attempt_writes_nothing_more(tmp_path: Path, settings: Settings) -> None:
    settings.OPERATION_HEARTBEAT_SECONDS = 0.05
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path, open_gate=False))
    runner = threading.Thread(target=lambda: run_and_close(operation))
    runner.start()
    servers.wait_until(lambda: operation.steps.filter(name="second").exists(), what="the second step")
    Operation.objects.filter(pk=operation.pk).update(state=State.QUEUED, attempt=2)
    runner.join(10)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt) == (State.QUEUED, 2)

    (tmp_path / "gate").touch()
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert (operation.state, operation.result) == (State.SUCCEEDED, {"attempt": 2})
    assert (tmp_path / "operations" / str(operation.pk) / "fence").read_text() == "2\n"


def test_successor_waits_until_the_former_worker_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.operations import fencing

    monkeypatch.setattr(worker, "PREDECESSOR_SECONDS", 0.2)
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    with fencing.held(fencing.work_dir(operation.pk) / "worker.lock", seconds=0) as ours:
        assert ours
        worker.execute(operation.pk)
        operation.refresh_from_db()
        assert operation.state == State.QUEUED
        assert not (tmp_path / "trace").exists()
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED


def test_many_dead_workers_make_it_lost(tmp_path: Path, settings: Settings) -> None:
    settings.OPERATION_STALE_SECONDS = 0
    operation = operation_start(kind="test.walk", target="stack:a", params=walk(tmp_path))
    for _ in range(reaper.MAX_ATTEMPTS):
        operation.refresh_from_db()
        assert transitions.take(operation)
        assert reaper.reap() == 1
    operation.refresh_from_db()
    assert (operation.state, operation.error["code"]) == (State.LOST, "lost")
    assert not Claim.objects.exists()


def test_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OperationRefused, match=r"no operation called 'test\.typo'") as refused:
        operation_start(kind="test.typo", target="stack:a")
    assert "test.walk" in refused.value.remedy
