"""What becomes of plans when power is lost, when several triggers come at once, and when clocks jump.

The numbers are those of docs/explanation/faults.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from portal.operations import reaper, worker
from portal.operations.models import Claim, Operation, State, Step
from portal.operations.services import operation_start
from portal.vaults.due import plans_due
from portal.vaults.models import BackupSet, Plan
from portal.vaults.plans import plan_reschedule, plan_run_now
from tests.support import portal_scene
from tests.support.portal_scene import TARGET, Scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

scene = portal_scene.scene
NIGHT = datetime(2026, 1, 10, 2, 30, tzinfo=UTC)


@pytest.fixture
def plan(scene: Scene) -> Plan:
    return planned("30 2 * * *", "UTC", NIGHT - timedelta(hours=1))


def planned(cron: str, zone: str, now: datetime, **fields: object) -> Plan:
    repository = BackupSet.objects.get().repository
    made = Plan.objects.create(
        name="nightly", stack="rag", repository=repository, cron=cron, time_zone=zone, drill=False, **fields
    )
    plan_reschedule(made, now=now)
    return made


def backups() -> list[Operation]:
    return list(Operation.objects.filter(kind="backup").order_by("created_at"))


def end_all() -> None:
    """As if a worker had run them all."""
    Operation.objects.filter(state=State.QUEUED).update(state=State.FAILED, finished_at=timezone.now())
    Claim.objects.all().delete()


def test_4_power_lost_in_a_backup_and_for_days_makes_it_up_once(scene: Scene, plan: Plan) -> None:
    (begun,) = plans_due(NIGHT)
    # The power goes while the agent freezes: the rows stay as they were, no process does.
    Operation.objects.filter(pk=begun.pk).update(
        state=State.RUNNING, started_at=NIGHT, heartbeat_at=NIGHT, enqueued_at=NIGHT
    )
    Step.objects.create(operation=begun, ordinal=1, name="backup.freeze", title="Freeze", attempt=1)
    back = NIGHT + timedelta(days=4, hours=5)
    # Whichever wakes first, the scheduler joins what was begun instead of doubling it.
    assert plans_due(back) == [begun]
    assert reaper.reap() == 1
    worker.execute(begun.pk)
    begun.refresh_from_db()
    assert (begun.state, begun.attempt) == (State.SUCCEEDED, 2)
    assert begun.steps.get(name="backup.freeze").data == {"interrupted": True}
    assert [found.pk for found in backups()] == [begun.pk]
    assert BackupSet.objects.filter(operation=begun).count() == 1
    plan.refresh_from_db()
    assert plan.next_run_at == NIGHT + timedelta(days=5)
    assert [found.kind for found in plans_due(back + timedelta(hours=1)) if found.kind == "backup"] == []


def test_16_triggers_that_come_together_are_one_backup(scene: Scene, plan: Plan) -> None:
    triggers: list[Callable[[], Operation]] = [
        lambda: plans_due(NIGHT)[0],
        lambda: plan_run_now(plan=Plan.objects.get()),
        lambda: operation_start(kind="backup", target=TARGET),
        lambda: operation_start(kind="backup", target=TARGET, params={"repository": "default"}),
    ]
    barrier, answers = threading.Barrier(len(triggers)), list[Operation]()

    def pull(trigger: Callable[[], Operation]) -> None:
        barrier.wait()
        answers.append(trigger())
        connection.close()

    threads = [threading.Thread(target=pull, args=(trigger,)) for trigger in triggers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (only,) = backups()
    assert [found.pk for found in answers] == [only.pk] * 4
    assert Plan.objects.get().last_operation == only
    worker.execute(only.pk)
    assert scene.calls().count("backup") == 1
    assert BackupSet.objects.filter(operation=only).count() == 1


def test_16_another_plan_of_the_stack_waits_for_its_turn(scene: Scene, plan: Plan) -> None:
    other = Plan.objects.create(
        name="offsite", stack="rag", repository=plan.repository, sources=["documents"], drill=False, next_run_at=NIGHT
    )
    (first,) = plans_due(NIGHT)
    assert first.params["plan"] == "nightly"
    other.refresh_from_db()
    assert other.next_run_at == NIGHT
    worker.execute(first.pk)
    (second,) = [found for found in plans_due(NIGHT + timedelta(minutes=2)) if found.kind == "backup"]
    assert second.params == {"repository": "default", "plan": "offsite", "sources": ["documents"]}


def run_times(cron: str, zone: str, begin: datetime, hours: int) -> list[str]:
    """Tick every half hour from `begin`; returns when backups were started, in UTC."""
    plan, found = planned(cron, zone, begin), []
    for tick in range(hours * 2):
        now = begin + timedelta(minutes=30 * tick)
        if plans_due(now):
            found.append(f"{now:%d %H:%M}")
            end_all()
    plan.delete()
    return found


def test_19_the_changes_of_daylight_saving_double_and_skip_no_run(scene: Scene) -> None:
    spring, autumn = datetime(2026, 3, 28, 20, tzinfo=UTC), datetime(2026, 10, 24, 20, tzinfo=UTC)
    berlin = "Europe/Berlin"
    # On 29 March there is no 02:30 in Berlin: the run comes right after the gap. On 25 October it comes twice.
    assert run_times("30 2 * * *", berlin, spring, 30) == ["29 01:00", "30 00:30"]
    assert run_times("30 2 * * *", berlin, autumn, 30) == ["25 00:30", "26 01:30"]
    # Each hour of the world is one run, whatever the clock on the wall does in between.
    assert run_times("0 * * * *", berlin, spring + timedelta(hours=4), 4) == ["29 01:00", "29 02:00", "29 03:00"]
    assert run_times("0 * * * *", berlin, autumn + timedelta(hours=3), 4) == ["25 00:00", "25 01:00", "25 02:00"]


def test_19_a_clock_that_jumps_back_a_little_doubles_nothing(scene: Scene, plan: Plan) -> None:
    assert len(plans_due(NIGHT)) == 1
    end_all()
    for minutes in (-120, -60, 0, 5, 600):
        assert plans_due(NIGHT + timedelta(minutes=minutes)) == []
    assert len(plans_due(NIGHT + timedelta(days=1))) == 1


def test_19_a_clock_that_was_years_ahead_skips_nothing_once_it_is_right(scene: Scene, plan: Plan) -> None:
    wrong = NIGHT + timedelta(days=1200)
    assert len(plans_due(wrong)) == 1
    end_all()
    assert plans_due(NIGHT - timedelta(minutes=10)) == []
    plan.refresh_from_db()
    assert plan.next_run_at == NIGHT
    assert len(plans_due(NIGHT)) == 1


def test_19_a_run_is_always_late_by_the_same_time(scene: Scene) -> None:
    plan = planned("30 2 * * *", "UTC", NIGHT - timedelta(hours=1), jitter_seconds=3600)
    start = plan.next_run_at
    assert start is not None
    assert NIGHT <= start <= NIGHT + timedelta(hours=1)
    # Whoever computes it again in between, after a restart or a change, comes to the same moment and loses no run.
    for now in (NIGHT - timedelta(minutes=30), NIGHT, start - timedelta(seconds=1)):
        plan_reschedule(plan, now=now)
        assert plan.next_run_at == start
    assert plans_due(start - timedelta(seconds=1)) == []
    assert len(plans_due(start)) == 1
