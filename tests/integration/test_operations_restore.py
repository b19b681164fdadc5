"""Backup, restore and undo around an agent and a runtime that do nothing: order, journal, resuming, the way back."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Mapping
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from portal.core import places
from portal.operations import reaper, worker
from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_cancel, operation_start
from portal.vaults import agent, services
from portal.vaults import drill as drilling
from portal.vaults import restore as restoring
from portal.vaults.models import BackupSet, Drill, Plan, Repository, Restore, RestoreState, SetState
from portal.vaults.selectors import set_last_good, set_latest
from tests.support import portal_scene, servers
from tests.support.portal_scene import TARGET, Scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

DATA_USERS = {"api", "ingest", "vectordb", "ollama"}


scene = portal_scene.scene


def finish(operation: Operation, *, crashes: int = 0) -> Operation:
    """Run it to its end; after each crash the reaper hands it to the next worker."""
    for _ in range(crashes):
        with pytest.raises(OperationalError):
            worker.execute(operation.pk)
        assert reaper.reap() == 1
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


def crash_once(monkeypatch: pytest.MonkeyPatch, kind: str, *, after: bool, module: ModuleType = restoring) -> None:
    """Let the worker die right before or after the agent's job `kind`, once."""
    real = agent.run_agent
    armed = [True]

    def run(ctx: Context, job: Mapping[str, Any], *, undoing: bool = False) -> dict[str, Any]:
        mine = bool(armed) and job["kind"] == kind and armed.pop()
        if mine and not after:
            raise OperationalError("crash")
        result = real(ctx, job, undoing=undoing)
        if mine:
            raise OperationalError("crash")
        return result

    monkeypatch.setattr(module, "run_agent", run)


def test_backup_becomes_a_set(scene: Scene) -> None:
    operation = finish(operation_start(kind="backup", target=TARGET))
    assert operation.state == State.SUCCEEDED, operation.error
    made = BackupSet.objects.get(pk=operation.result["set_id"])
    assert (made.state, made.freeze_ms, made.bytes_total, made.stack) == (SetState.COMPLETE, 12.5, 1000, "rag")
    assert set_last_good() == made
    assert [s.name for s in operation.steps.all()] == ["backup.backup"]


def test_failed_backup_makes_no_set(scene: Scene) -> None:
    (scene.folder / "backup.fail").touch()
    operation = finish(operation_start(kind="backup", target=TARGET))
    assert operation.state == State.FAILED
    assert operation.error == {"code": "broken", "message": "The backup broke.", "remedy": "Mend it."}
    assert set_last_good() == scene.set


def test_agent_that_is_killed_is_started_again(scene: Scene) -> None:
    (scene.folder / "backup.die").touch()
    operation = finish(operation_start(kind="backup", target=TARGET))
    assert operation.state == State.SUCCEEDED
    assert scene.calls() == ["backup", "backup"]
    assert BackupSet.objects.count() == 2


def test_restore_stops_only_users_of_the_data_and_keeps_the_old(scene: Scene) -> None:
    operation = finish(scene.restore())
    assert operation.state == State.SUCCEEDED, operation.error
    assert scene.calls() == ["preflight", "stage", "swap", "canary", "kept"]
    stopped = {service for verb, _, service in scene.runtime.calls if verb == "stop"}
    assert stopped == DATA_USERS
    assert scene.stopped_and_started()
    row = Restore.objects.get(operation=operation)
    assert row.state == RestoreState.KEPT
    assert row.kept_until is not None
    assert timedelta(hours=71) < row.kept_until - timezone.now() < timedelta(hours=73)
    assert operation.result["downtime_ms"] > 0
    scene.set.refresh_from_db()
    assert scene.set.proven_at is not None


def test_safety_set_comes_first_and_is_not_the_latest(scene: Scene) -> None:
    operation = finish(scene.restore(safety=True))
    assert scene.calls()[:2] == ["preflight", "backup"]
    assert operation.result["safety_set"] is not None
    assert set_last_good() != scene.set
    assert set_latest() == scene.set


def test_restore_goes_on_when_the_damaged_state_cannot_be_backed_up(scene: Scene) -> None:
    (scene.folder / "backup.fail").touch()
    operation = finish(scene.restore(safety=True))
    assert operation.state == State.SUCCEEDED
    assert operation.result["safety_set"] is None
    assert "No complete safety set: The backup broke." in operation.log_lines.latest("seq").text


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["preflight", "stage", "swap", "canary"])
def test_worker_that_dies_is_resumed(scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: str, after: bool) -> None:
    crash_once(monkeypatch, kind, after=after)
    operation = finish(scene.restore(), crashes=1)
    assert (operation.state, operation.attempt) == (State.SUCCEEDED, 2), operation.error
    assert scene.stopped_and_started()
    assert Restore.objects.get().state == RestoreState.KEPT


def test_worker_that_dies_while_starting_starts_the_rest(scene: Scene) -> None:
    scene.runtime.crash = OperationalError("crash")
    operation = finish(scene.restore(), crashes=1)
    assert operation.state == State.SUCCEEDED
    assert scene.calls().count("swap") == 1
    assert scene.stopped_and_started()


@pytest.mark.parametrize("kind", ["preflight", "stage"])
def test_failure_before_the_stop_touches_nothing(scene: Scene, kind: str) -> None:
    (scene.folder / f"{kind}.fail").touch()
    operation = finish(scene.restore())
    assert (operation.state, operation.error["code"]) == (State.FAILED, "broken")
    assert scene.runtime.calls == []
    assert not Restore.objects.exists()
    assert ("discard" in scene.calls()) == (kind == "stage")


@pytest.mark.parametrize("kind", ["swap", "canary"])
def test_failure_after_the_stop_puts_the_old_data_back(scene: Scene, kind: str) -> None:
    (scene.folder / f"{kind}.fail").touch()
    operation = finish(scene.restore())
    assert (operation.state, operation.error["message"]) == (State.FAILED, f"The {kind} broke.")
    assert scene.calls()[-2:] == ["unswap", "discard"]
    assert scene.stopped_and_started()
    assert Restore.objects.get().state == RestoreState.FAILED


def test_worker_that_dies_on_the_way_back_goes_on_with_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    (scene.folder / "canary.fail").touch()
    crash_once(monkeypatch, "unswap", after=False)
    operation = scene.restore()
    with pytest.raises(OperationalError):
        worker.execute(operation.pk)
    (scene.folder / "canary.fail").unlink()
    assert reaper.reap() == 1
    finish(operation)
    assert (operation.state, operation.error["message"]) == (State.FAILED, "The canary broke.")
    assert scene.calls()[-2:] == ["unswap", "discard"]
    assert scene.stopped_and_started()


def test_what_stood_still_before_stays_so(scene: Scene) -> None:
    scene.runtime.stop(scene.spec, services=["ingest"])
    finish(scene.restore())
    assert scene.runtime.running(scene.spec) == set(scene.spec.services) - {"ingest"}


def test_cancel_ends_the_agent_and_removes_what_was_staged(scene: Scene) -> None:
    (scene.folder / "stage.wait").touch()
    operation = scene.restore()
    runner = threading.Thread(target=lambda: _run_and_close(operation))
    runner.start()
    servers.wait_until((scene.folder / "stage.waiting").exists, what="the staging")
    operation_cancel(operation=operation)
    runner.join(20)
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    assert scene.calls()[-1] == "discard"
    assert scene.runtime.calls == []


def _run_and_close(operation: Operation) -> None:
    worker.execute(operation.pk)
    connection.close()


def test_undo_puts_the_old_data_back_under_the_restores_name(scene: Scene) -> None:
    restored = finish(scene.restore())
    undone = finish(operation_start(kind="restore.undo", target=TARGET, params={"restore": str(restored.pk)}))
    assert undone.state == State.SUCCEEDED, undone.error
    last = [line.split()[:2] for line in (scene.folder / "calls").read_text().splitlines()][-2:]
    assert last == [["unswap", str(restored.pk)], ["discard", str(restored.pk)]]
    assert Restore.objects.get().state == RestoreState.UNDONE
    with pytest.raises(OperationRefused, match="no restore"):
        operation_start(kind="restore.undo", target=TARGET)


def test_undo_to_a_broken_state_ends_and_says_so(scene: Scene) -> None:
    finish(scene.restore())
    scene.runtime.faults["ingest"] = "a table is missing"
    undone = finish(operation_start(kind="restore.undo", target=TARGET))
    assert undone.state == State.PARTIAL
    assert "ingest" in undone.result["warning"]
    assert Restore.objects.get().state == RestoreState.UNDONE


def test_kept_data_is_removed_when_its_time_is_over(scene: Scene) -> None:
    finish(scene.restore())
    assert services.kept_expired() == []
    Restore.objects.update(kept_until=timezone.now() - timedelta(seconds=1))
    (confirmed,) = services.kept_expired()
    finish(confirmed)
    assert scene.calls()[-1] == "discard"
    assert Restore.objects.get().state == RestoreState.CONFIRMED


def test_confirming_a_restore_confirms_those_before_it(scene: Scene) -> None:
    first, second = finish(scene.restore()), finish(scene.restore())
    with pytest.raises(OperationRefused, match="Only the newest"):
        operation_start(kind="restore.confirm", target=TARGET, params={"restore": str(first.pk)})
    finish(operation_start(kind="restore.confirm", target=TARGET, params={"restore": str(second.pk)}))
    assert set(Restore.objects.values_list("state", flat=True)) == {RestoreState.CONFIRMED}
    assert scene.calls()[-2:] == ["discard", "discard"]


@pytest.mark.parametrize(("change", "sentence"), [({"state": "partial"}, "is partial"), ({"id": "x"}, "no backup set")])
def test_sets_that_cannot_be_restored_are_refused(scene: Scene, change: dict[str, str], sentence: str) -> None:
    wanted = change.get("id", scene.set.pk)
    BackupSet.objects.update(state=change.get("state", "complete"))
    with pytest.raises(OperationRefused, match=sentence):
        operation_start(kind="restore", target=TARGET, params={"set": wanted})


def test_backup_and_restore_exclude_each_other(scene: Scene) -> None:
    operation_start(kind="backup", target=TARGET)
    with pytest.raises(OperationRefused, match="Backup of rag is queued"):
        scene.restore()


def drill(scene: Scene) -> Operation:
    return operation_start(kind="drill", target=TARGET, params={"set": scene.set.pk})


def test_drill_proves_a_set_in_a_stack_of_its_own(scene: Scene) -> None:
    operation = finish(drill(scene))
    assert operation.state == State.SUCCEEDED, operation.error
    assert scene.calls() == ["stage", "swap", "canary"]
    projects = {project for _, project, _ in scene.runtime.calls}
    assert projects == {f"drill-{str(operation.pk)[:8]}"}
    started = {service for verb, _, service in scene.runtime.calls if verb == "start"}
    assert started == {"postgres", "redis", "vectordb", "ollama", "api"}
    assert [verb for verb, _, _ in scene.runtime.calls][-1] == "stop"
    scene.set.refresh_from_db()
    assert scene.set.proven_at is not None
    assert (Drill.objects.get().state, operation.result["state"]) == ("passed", "passed")


def test_drill_keeps_to_the_limits_of_the_plan_that_started_it(scene: Scene) -> None:
    limits = {"download_kib": 500}
    Plan.objects.create(name="slow", stack="rag", repository=scene.set.repository, limits=limits)
    finish(operation_start(kind="drill", target=TARGET, params={"set": scene.set.pk, "plan": "slow"}))
    carried = {kind: json.loads((scene.folder / f"{kind}.job").read_text())["limits"] for kind in ("stage", "canary")}
    assert carried == {"stage": limits, "canary": limits}


def test_drill_that_finds_a_difference_fails_and_proves_nothing(scene: Scene) -> None:
    (scene.folder / "canary.differ").touch()
    operation = finish(drill(scene))
    assert operation.state == State.FAILED
    assert "differs in: documents" in operation.error["message"]
    assert Drill.objects.get().state == "failed"
    scene.set.refresh_from_db()
    assert scene.set.proven_at is None
    assert scene.runtime.calls[-1][0] == "stop"


def test_drill_of_a_dead_worker_begins_afresh(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    crash_once(monkeypatch, "swap", after=False, module=drilling)
    operation = drill(scene)
    with pytest.raises(OperationalError):
        worker.execute(operation.pk)
    staged = scene.runtime.paths.var / "operations" / str(operation.pk) / "staged.json"
    assert staged.exists()
    assert reaper.reap() == 1
    finish(operation)
    assert operation.state == State.SUCCEEDED
    assert scene.calls() == ["stage", "stage", "swap", "canary"]
    assert not staged.exists()


def test_throw_away_stack_of_a_lost_drill_is_removed(scene: Scene) -> None:
    lost, alive = uuid.uuid4(), drill(scene)
    Operation.objects.create(pk=lost, kind="drill", target="stack:rag", state=State.LOST, join_key="lost")
    specs = {pk: places.stack_spec(f"drill-{str(pk)[:8]}").derive() for pk in (lost, alive.pk)}
    for spec in specs.values():
        scene.runtime.apply(spec)
        (scene.runtime.paths.root(spec.project) / "volumes").mkdir(parents=True)
    assert drilling.drills_abandoned() == [specs[lost].project]
    assert not scene.runtime.paths.root(specs[lost].project).exists()
    assert scene.runtime.running(specs[lost]) == set()
    assert scene.runtime.paths.root(specs[alive.pk].project).exists()
    assert scene.runtime.running(specs[alive.pk]) == set(scene.spec.services)
    assert drilling.drills_abandoned() == []


def test_setup_makes_repository_and_plan_once(scene: Scene) -> None:
    BackupSet.objects.all().delete()
    Repository.objects.all().delete()
    first = services.setup_defaults(stack="rag")
    again = services.setup_defaults(stack="rag")
    assert first == again
    assert first.next_run_at is not None
    assert scene.calls() == ["init"]
