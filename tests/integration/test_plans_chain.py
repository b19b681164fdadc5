"""What follows a plan's backup, on real repositories: removal, copy, prune, measurement; and when nothing goes."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from portal.operations import reaper
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.operations.worker import execute
from portal.vaults.chain import plan_follow
from portal.vaults.due import plans_due
from portal.vaults.keeping import Preview, retention_preview, retention_waits
from portal.vaults.models import BackupSet, Plan, Repository, Restore, RestoreState, SetCopy
from tests.support import servers
from tests.support.sample_stack import program
from tests.support.vault import Stock, Vault, stocked, vault

__all__ = ["stocked", "vault"]
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def planned(repository: Repository, sets: list[BackupSet], **fields: object) -> Plan:
    """A plan that has just made the newest of `sets`, and made the others before."""
    made = Operation.objects.create(
        kind="backup",
        target="stack:rag",
        join_key="backup",
        state=State.SUCCEEDED,
        started_at=timezone.now(),
        finished_at=timezone.now(),
    )
    values = {"keep": {"last": 1}, "drill": False, "last_operation": made, **fields}
    plan = Plan.objects.create(name="nightly", stack="rag", repository=repository, **values)
    BackupSet.objects.filter(pk__in=[found.pk for found in sets]).update(plan=plan)
    BackupSet.objects.filter(pk=sets[-1].pk).update(operation=made)
    return plan


def followed(now: datetime | None = None) -> list[str]:
    """Do all that follows, each operation worked on to its end; returns kind and state of each."""
    told = []
    while started := plans_due(now):
        for operation in started:
            execute(operation.pk)
            operation.refresh_from_db()
            told.append(f"{operation.kind} {operation.state}")
        assert len(told) < 9, told
    return told


def end(operation: Operation) -> None:
    """As if a worker had done it."""
    operation.claims.all().delete()
    Operation.objects.filter(pk=operation.pk).update(state=State.SUCCEEDED, finished_at=timezone.now())


def snapshots(vault: Vault, repository: Repository) -> set[str]:
    return set(vault.maintenance(repository).sets())


def test_removal_copy_prune_and_measurement_follow_a_backup(vault: Vault, stocked: Stock) -> None:
    second = vault.repository("second", init=False)
    repository, sets = vault.stocked(stocked, copy_to=second)
    Repository.objects.filter(pk=repository.pk).update(created_at=timezone.now() - timedelta(days=8))
    planned(repository, sets)
    assert followed() == [
        "repository.forget succeeded",
        "repository.copy succeeded",
        "repository.prune succeeded",
        "repository.stats succeeded",
    ]
    newest = sets[-1].pk
    assert snapshots(vault, repository) == {newest}
    assert BackupSet.objects.get(removed_at=None).pk == newest
    assert SetCopy.objects.get().set_id == newest
    repository.refresh_from_db()
    assert repository.pruned_at is not None
    assert repository.stats["snapshots_count"] == 1
    assert followed() == []


def test_every_link_and_the_check_keep_to_the_limits_of_the_plan(vault: Vault, stocked: Stock) -> None:
    second = vault.repository("second", init=False)
    repository, sets = vault.stocked(stocked, copy_to=second)
    Repository.objects.filter(pk=repository.pk).update(created_at=timezone.now() - timedelta(days=8))
    log, mine = vault.root / "restic.log", os.nice(0)
    program(vault.wrapper, f'echo "$(nice) $GOMAXPROCS $*" >> {log}\nexec {servers.RESTIC} "$@"')
    limits = {"upload_kib": 50_000, "download_kib": 60_000, "nice": 12, "processors": 2}
    planned(repository, sets, limits=limits, check_cron="0 4 * * SUN", next_check_at=timezone.now())
    links = ["check", "forget", "copy", "prune", "stats"]
    assert followed() == [f"repository.{link} succeeded" for link in links]
    told = [line.split() for line in log.read_text().splitlines() if " version" not in line]
    assert {link for link in links for words in told if link in words} == set(links)
    bounded = [str(max(mine, 12)), "2", "--limit-upload", "50000", "--limit-download", "60000"]
    assert [words for words in told if words[:6] != bounded] == []


def test_a_worker_that_dies_in_the_chain_leaves_it_to_the_next(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked)
    planned(repository, sets)
    (forget,) = plans_due()
    # Its worker took it and is gone; meanwhile nothing else is started.
    Operation.objects.filter(pk=forget.pk).update(
        state=State.RUNNING, started_at=timezone.now(), heartbeat_at=sets[0].taken_at
    )
    assert plans_due() == []
    assert reaper.reap() == 1
    execute(forget.pk)
    assert followed() == ["repository.stats succeeded"]
    assert snapshots(vault, repository) == {sets[-1].pk}


def test_a_link_that_fails_stops_neither_the_others_nor_the_next_backup(vault: Vault, stocked: Stock) -> None:
    second = vault.repository("second")
    repository, sets = vault.stocked(stocked, copy_to=second)
    plan = planned(repository, sets, next_run_at=timezone.now() + timedelta(hours=1))
    Path(second.password_file).write_text("another password\n")
    told = followed()
    assert told == ["repository.forget succeeded", "repository.copy failed", "repository.stats succeeded"]
    (backup,) = plans_due(timezone.now() + timedelta(hours=2))
    plan.refresh_from_db()
    assert (backup.kind, plan.last_operation) == ("backup", backup)


def test_what_needs_the_repository_alone_is_put_off_for_a_backup_that_is_about_to_start(
    vault: Vault, stocked: Stock
) -> None:
    repository, sets = vault.stocked(stocked)
    plan = planned(repository, sets, next_run_at=timezone.now() + timedelta(seconds=20))
    now = timezone.now()
    slow = {"kind": "repository.forget", "target": repository.scope, "join_key": "x", "state": State.SUCCEEDED}
    Operation.objects.create(**slow, started_at=now - timedelta(minutes=5), finished_at=now)
    assert followed(now) == ["repository.stats succeeded"]
    assert len(snapshots(vault, repository)) == 3
    assert plan_follow(plan, now) is None


def test_only_the_plan_with_the_retention_removes_its_sets(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked)
    plan = planned(repository, sets[1:])
    other = Plan.objects.create(name="monthly", stack="rag", repository=repository, keep={"yearly": 1})
    BackupSet.objects.filter(pk=sets[0].pk).update(plan=other)
    assert fates(plan) == {sets[1].pk: False, sets[2].pk: True}
    BackupSet.objects.filter(pk=sets[0].pk).update(plan=None)
    assert set(fates(plan)) == {found.pk for found in sets}
    assert set(fates(other)) == set()


def fates(plan: Plan) -> dict[str, bool]:
    return {row.set.pk: row.kept for row in retention_preview(plan).rows}


def reasons(preview: Preview, found: BackupSet) -> list[str]:
    return next(row.reasons for row in preview.rows if row.set.pk == found.pk)


def test_what_is_pinned_proven_or_needed_stays(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked)
    more = [vault_row(repository, days) for days in (10, 11, 12, 13, 14)]
    plan = planned(repository, [*sets, *more])
    BackupSet.objects.filter(pk=sets[0].pk).update(pinned=True)
    BackupSet.objects.filter(pk=sets[1].pk).update(proven_at=timezone.now())
    undo = Operation.objects.create(kind="restore", target="stack:rag", join_key="r", state=State.SUCCEEDED)
    Restore.objects.create(set=more[0], operation=undo, safety_set=more[1], state=RestoreState.KEPT)
    preview = retention_preview(plan)
    assert [found.pk for found in preview.removed] == [more[3].pk, more[2].pk, sets[2].pk]
    assert reasons(preview, sets[0]) == ["pinned"]
    assert reasons(preview, sets[1]) == ["last proven"]
    assert reasons(preview, more[1]) == ["a restore can still be undone"]
    assert reasons(preview, more[4]) == ["last good", "newest of the plan", "last"]
    (forget,) = plans_due()
    assert sorted(forget.params["sets"]) == sorted(found.pk for found in preview.removed)


def vault_row(repository: Repository, days: int, **fields: object) -> BackupSet:
    """A set that is only known to the database."""
    at = datetime.fromisoformat("2026-01-10T02:30:00+00:00") + timedelta(days=days)
    values = {
        "id": f"{at:%Y%m%dT%H%M%SZ}-00000{days % 10}",
        "stack": "rag",
        "state": "complete",
        "taken_at": at,
        **fields,
    }
    return BackupSet.objects.create(repository=repository, snapshot_id=f"{days:064d}", **values)


@pytest.mark.parametrize(
    ("state", "told"), [(State.FAILED, "backup failed"), (State.PARTIAL, "is partial"), (State.LOST, "was lost")]
)
def test_nothing_is_removed_after_a_backup_that_went_wrong(
    vault: Vault, stocked: Stock, state: State, told: str
) -> None:
    repository, sets = vault.stocked(stocked)
    plan = planned(repository, sets)
    Operation.objects.update(state=state)
    assert told in retention_waits(Plan.objects.get())
    assert followed() == []
    assert retention_preview(plan).removed


def test_nothing_is_removed_while_the_newest_set_is_suspicious_or_a_clock_is_wrong(
    vault: Vault, stocked: Stock
) -> None:
    repository, sets = vault.stocked(stocked)
    planned(repository, sets)
    newest = BackupSet.objects.filter(pk=sets[-1].pk)
    newest.update(anomalies=[{"code": "shrunk", "source": "documents", "message": "documents shrank by 80 %"}])
    assert "documents shrank by 80 %." in retention_waits(Plan.objects.get())
    assert followed() == ["repository.stats succeeded"]
    newest.update(anomalies=[])
    Operation.objects.filter(kind="repository.stats").delete()
    ahead = vault_row(repository, 20_000)
    assert f"{ahead.pk} is from the future" in retention_waits(Plan.objects.get())
    assert followed() == ["repository.stats succeeded"]
    assert len(snapshots(vault, repository)) == 3


def test_an_append_only_repository_is_only_counted_back_in_time(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked, append_only=True)
    plan = planned(repository, sets, keep={"last": 1, "within": "36h"})
    assert fates(plan) == {sets[0].pk: False, sets[1].pk: True, sets[2].pk: True}
    assert "only takes additions" in retention_waits(plan)
    assert followed() == ["repository.stats succeeded"]
    Repository.objects.update(prune_url=repository.url)
    Operation.objects.filter(kind="repository.stats").delete()
    assert followed() == ["repository.forget succeeded", "repository.stats succeeded"]
    assert snapshots(vault, repository) == {sets[1].pk, sets[2].pk}


def test_checks_and_drills_have_schedules_of_their_own_each_made_up_once(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked)
    night = datetime.fromisoformat("2026-03-01T04:00:00+00:00")
    plan = planned(
        repository, sets, keep={}, drill=True, check_cron="0 4 * * SUN", drill_cron="0 6 * * *",
        next_check_at=night, next_drill_at=night + timedelta(hours=2),
    )  # fmt: skip
    Plan.objects.update(last_operation=None)
    assert plans_due(night - timedelta(seconds=1)) == []
    late = night + timedelta(days=3, hours=4)
    (check,) = plans_due(late)
    assert (check.kind, check.target, check.params) == ("repository.check", repository.scope, {"plan": "nightly"})
    end(check)
    (drill,) = plans_due(late)
    assert (drill.kind, drill.params) == ("drill", {"set": sets[-1].pk, "plan": "nightly"})
    plan.refresh_from_db()
    assert plan.next_check_at == night + timedelta(days=7)
    assert plan.next_drill_at == night + timedelta(days=4, hours=2)
    assert plans_due(late + timedelta(seconds=20)) == []


def test_a_drill_waits_for_the_repository_and_is_not_lost(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked)
    planned(repository, sets, keep={}, drill=True, drill_cron="0 6 * * *", next_drill_at=sets[0].taken_at)
    Plan.objects.update(last_operation=None)
    held = operation_start(kind="repository.prune", target=repository.scope)
    assert plans_due() == []
    end(held)
    assert [operation.kind for operation in plans_due()] == ["drill"]
