"""Plans start backups when they are due: once, also after a downtime, and a drill after the first of a day."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.stacks.services import stack_ensure
from portal.vaults.due import plans_due
from portal.vaults.models import BackupSet, Plan, Repository
from portal.vaults.plans import plan_reschedule
from portal.vaults.selectors import repository_warnings

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

NIGHT = datetime(2026, 1, 10, 2, 30, tzinfo=UTC)


@pytest.fixture
def plan(control_plane: None, tmp_path: Path) -> Plan:
    folder = tmp_path / "repo"
    folder.mkdir()
    repository = Repository.objects.create(name="default", url=str(folder), password_file="x")
    made = Plan.objects.create(name="default", stack="rag", repository=repository)
    plan_reschedule(made, now=NIGHT - timedelta(hours=1))
    return made


def backups() -> int:
    return Operation.objects.filter(kind="backup").count()


def end_all() -> None:
    """As if a worker had run them all."""
    Operation.objects.update(state=State.SUCCEEDED)
    for operation in Operation.objects.all():
        operation.claims.all().delete()


def test_due_plan_starts_one_backup_and_moves_on(plan: Plan) -> None:
    assert plans_due(NIGHT - timedelta(seconds=1)) == []
    (operation,) = plans_due(NIGHT)
    plan.refresh_from_db()
    assert (operation.kind, operation.target) == ("backup", "stack:rag")
    assert operation.params == {"repository": "default", "plan": "default"}
    assert plan.next_run_at == NIGHT + timedelta(days=1)
    assert plan.last_operation == operation
    assert plans_due(NIGHT + timedelta(seconds=20)) == []


def test_missed_runs_are_made_up_once(plan: Plan) -> None:
    assert len(plans_due(NIGHT + timedelta(days=9, hours=3))) == 1
    plan.refresh_from_db()
    assert plan.next_run_at == NIGHT + timedelta(days=10)


def test_clock_that_jumps_back_starts_nothing_twice(plan: Plan) -> None:
    plans_due(NIGHT)
    end_all()
    assert plans_due(NIGHT - timedelta(hours=2)) == []
    assert plans_due(NIGHT + timedelta(minutes=1)) == []
    assert backups() == 1


def test_two_schedulers_at_once_start_one_backup(plan: Plan) -> None:
    barrier, started = threading.Barrier(4), list[Operation]()

    def tick() -> None:
        barrier.wait()
        started.extend(plans_due(NIGHT))
        connection.close()

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert backups() == 1


def test_plan_that_cannot_start_now_waits_and_runs_later(plan: Plan) -> None:
    stack_ensure(name="rag")
    operation_start(kind="stack.stop", target="stack:rag")
    assert plans_due(NIGHT) == []
    plan.refresh_from_db()
    assert plan.next_run_at == NIGHT
    end_all()
    assert len(plans_due(NIGHT + timedelta(minutes=5))) == 1


def test_switched_off_plan_does_nothing(plan: Plan) -> None:
    Plan.objects.update(enabled=False)
    assert plans_due(NIGHT) == []


def test_first_complete_set_of_a_day_is_drilled_once(plan: Plan) -> None:
    (operation,) = plans_due(NIGHT)
    assert plans_due(NIGHT) == [], "the backup has not ended yet"
    end_all()
    BackupSet.objects.create(
        id="20260110T023000Z-abcdef",
        stack="rag",
        repository=plan.repository,
        operation=operation,
        state="complete",
        taken_at=NIGHT,
    )
    stats, drill = plans_due(NIGHT + timedelta(minutes=5))
    assert stats.kind == "repository.stats"
    assert (drill.kind, drill.params) == ("drill", {"set": "20260110T023000Z-abcdef", "plan": "default"})
    end_all()
    assert plans_due(NIGHT + timedelta(minutes=6)) == []


def test_repository_on_the_disk_of_the_data_is_a_warning(plan: Plan, tmp_path: Path) -> None:
    assert "same disk" in repository_warnings()[0]
    Path(plan.repository.url).rmdir()
    assert "is gone" in repository_warnings()[0]
    Repository.objects.create(name="second", url="sftp:backup@elsewhere:/repo", password_file="x")
    assert repository_warnings() == [w for w in repository_warnings() if "is gone" in w]
