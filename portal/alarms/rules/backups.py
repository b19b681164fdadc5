"""Backups that fail, are late, or hold less than they should."""

from __future__ import annotations

from datetime import datetime, timedelta

from portal.alarms.conditions import Condition
from portal.alarms.models import Severity
from portal.operations.models import ACTIVE, FINISHED, Operation, State
from portal.vaults.models import BackupSet, Plan, SetState
from portal.vaults.recover import GONE

# Beat looks once a minute; a worker that is busy with something long may be late without anything being wrong.
OVERDUE_AFTER = timedelta(minutes=15)
LOST_FOR = timedelta(days=7)
WENT_WRONG = (State.FAILED, State.LOST, State.PARTIAL)


def failed(_now: datetime) -> list[Condition]:
    """The last backup of a stack failed, was lost, or lacks something."""
    backups = Operation.objects.filter(kind="backup", parent=None, state__in=FINISHED).exclude(state=State.CANCELLED)
    last = backups.order_by("target", "-created_at").distinct("target")
    return [_failure(operation) for operation in last if operation.state in WENT_WRONG]


def _failure(last: Operation) -> Condition:
    title = "The last backup is incomplete" if last.state == State.PARTIAL else "The last backup failed"
    message = str(last.error.get("message", "")) or _missing(last)
    remedy = str(last.error.get("remedy", "")) or "Its log says why. Then back up again."
    full = f"{title}: {message}" if message else title
    return Condition(f"backup.failed {last.target}", Severity.BAD, full, remedy, last)


def _missing(last: Operation) -> str:
    missing = [str(item) for item in last.result.get("missing", [])]
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"{', '.join(missing[:3])}{more}." if missing else ""


def overdue(now: datetime) -> list[Condition]:
    """A plan should have run and did not."""
    busy = set(Operation.objects.filter(kind="backup", state__in=ACTIVE).values_list("target", flat=True))
    late = Plan.objects.filter(enabled=True, next_run_at__lt=now - OVERDUE_AFTER)
    remedy = "The scheduler seems to be down. Run `python3 manage.py status` on the server, or back up now."
    return [
        Condition(
            f"plan.overdue plan:{plan.name}", Severity.BAD, f"A backup of the plan {plan.name} is overdue", remedy
        )
        for plan in late
        if f"stack:{plan.stack}" not in busy and not _paused(plan, now)
    ]


def switched_off(now: datetime) -> list[Condition]:
    """A plan that runs no more until somebody says so. A pause has an end and is no alarm."""
    remedy = "Back up by hand until the plan is on again."
    return [
        Condition(f"plan.off plan:{plan.name}", Severity.WARNING, f"The plan {plan.name} is switched off", remedy)
        for plan in Plan.objects.filter(enabled=False)
        if not _paused(plan, now)
    ]


def _paused(plan: Plan, now: datetime) -> bool:
    return plan.paused_until is not None and plan.paused_until > now


def suspicious(_now: datetime) -> list[Condition]:
    """The newest set of a stack is complete and yet looks wrong: something shrank, is empty, does not fit together."""
    sets = BackupSet.objects.filter(removed_at=None, state=SetState.COMPLETE)
    newest = sets.order_by("stack", "-taken_at").distinct("stack")
    remedy = "Look whether it was meant. Retention removes nothing until a set looks right again."
    return [
        Condition(
            f"set.suspicious stack:{found.stack}",
            Severity.BAD,
            f"The set {found.pk} looks wrong: {_told(found)}",
            remedy,
            found.operation,
        )
        for found in newest
        if found.anomalies
    ]


def _told(found: BackupSet) -> str:
    return " ".join(str(anomaly.get("message", anomaly.get("code", ""))) for anomaly in found.anomalies[:3])


def damaged(_now: datetime) -> list[Condition]:
    """Sets that were read back and are not what they were; those that a damaged repository names are told with it."""
    sets = BackupSet.objects.filter(removed_at=None, repository__check_error={}).exclude(verify_error={})
    remedy = "Take a new set, and restore from a copy in another repository if this one is needed."
    return [
        Condition(
            f"set.damaged set:{found.pk}",
            Severity.BAD,
            f"The set {found.pk} is damaged: {found.verify_error.get('message', 'it could not be read back')}",
            remedy,
            found.operation,
        )
        for found in sets[:20]
    ]


def lost(now: datetime) -> list[Condition]:
    """An operation on which worker after worker died."""
    remedy = "Read the worker's log, then look at the stack's services before you start anything else."
    return [
        Condition(f"operation.lost {row.pk}", Severity.BAD, f"An operation was lost: {row.kind}", remedy, row)
        for row in Operation.objects.filter(state=State.LOST, parent=None, finished_at__gt=now - LOST_FOR)
        if row.kind != "backup" and row.error.get("code") != GONE["code"]
    ]
