"""Running plans when they are due."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from portal.operations.errors import OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.vaults.models import BackupSet, Drill, Plan, SetState
from portal.vaults.schedule import next_run

log = logging.getLogger(__name__)


def plans_due(now: datetime | None = None) -> list[Operation]:
    """Start the backup of every plan that is due, once however late it is, and the drills that are due after them."""
    moment = now or timezone.now()
    due = Plan.objects.select_related("repository").filter(enabled=True, next_run_at__lte=moment)
    started = [operation for plan in due if (operation := _run(plan, moment))]
    drills = [
        operation for plan in Plan.objects.filter(enabled=True, drill=True) if (operation := _drill(plan, moment))
    ]
    return started + drills


def plan_reschedule(plan: Plan, *, now: datetime | None = None) -> None:
    """Compute the next run after the cron expression, the zone or `enabled` changed.

    Raises:
        ScheduleInvalidError
    """
    plan.next_run_at = next_run(plan.cron, plan.time_zone, now or timezone.now())
    plan.save(update_fields=["next_run_at"])


def _run(plan: Plan, now: datetime) -> Operation | None:
    """Start one backup. Only who moves `next_run_at` may; what was missed while nothing ran is made up once."""
    following = next_run(plan.cron, plan.time_zone, now)
    try:
        with transaction.atomic():
            mine = Plan.objects.filter(pk=plan.pk, enabled=True, next_run_at=plan.next_run_at)
            if not mine.update(next_run_at=following, last_run_at=now):
                return None
            operation = operation_start(
                kind="backup", target=f"stack:{plan.stack}", params={"repository": plan.repository.name}
            )
            Plan.objects.filter(pk=plan.pk).update(last_operation=operation)
            return operation
    except OperationRefused as refused:
        # Rolled back: still due, and tried again at the next tick, when whoever holds the stack may be done.
        log.warning("plan %s waits: %s", plan.name, refused.message)
        return None


def _drill(plan: Plan, now: datetime) -> Operation | None:
    """Start the drill that follows the plan's first complete set of a day."""
    made = BackupSet.objects.filter(operation=plan.last_operation, state=SetState.COMPLETE).first()
    if plan.last_operation is None or plan.last_operation.state != State.SUCCEEDED or made is None:
        return None
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    params, target = {"set": made.pk}, f"stack:{plan.stack}"
    tried = Operation.objects.filter(kind="drill", target=target, created_at__gte=today)
    if tried.exists() or Drill.objects.filter(set=made).exists():
        return None
    try:
        return operation_start(kind="drill", target=target, params=params)
    except OperationRefused as refused:
        log.info("drill of plan %s waits: %s", plan.name, refused.message)
        return None
