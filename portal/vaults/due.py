"""Running plans when they are due: backups, checks and drills, each missed one made up once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from portal.operations.errors import OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.vaults import chain
from portal.vaults.models import BackupSet, Drill, Plan, SetState
from portal.vaults.plans import plan_params
from portal.vaults.retention import KeepInvalidError
from portal.vaults.schedule import ScheduleInvalidError, next_start, start_after_clock_change, zone_of

log = logging.getLogger(__name__)

Act = Callable[[Plan, datetime], Operation | None]


def plans_due(now: datetime | None = None) -> list[Operation]:
    """Start what is due: backups first, then what follows the last ones, then checks and drills.

    Every start is decided by rows alone, so it does not matter who calls this, how late, or how often.
    """
    moment = now or timezone.now()
    started: list[Operation] = []
    for act in (_backup, _check, chain.plan_follow, _drill):
        started += [operation for plan in _awake(moment) if (operation := _guarded(act, plan, moment))]
    return started


def _awake(now: datetime) -> Iterator[Plan]:
    plans = Plan.objects.select_related("repository", "last_operation").filter(enabled=True)
    return iter(plans.filter(Q(paused_until=None) | Q(paused_until__lte=now)).order_by("pk"))


def _guarded(act: Act, plan: Plan, now: datetime) -> Operation | None:
    """One plan that cannot go on must not keep the others from it."""
    try:
        return act(plan, now)
    except OperationRefused as refused:
        # Rolled back: still due, and tried again at the next tick, when whoever holds what it needs may be done.
        log.info("plan %s waits: %s", plan.name, refused.message)
    except (ScheduleInvalidError, KeepInvalidError) as error:
        log.error("plan %s cannot go on: %s", plan.name, error)
    return None


def _backup(plan: Plan, now: datetime) -> Operation | None:
    """Start one backup. Only who moves `next_run_at` may; what was missed while nothing ran is made up once."""
    schedule = partial(next_start, plan.cron, plan.time_zone, jitter_seconds=plan.jitter_seconds, key=plan.name)
    _straighten(plan, "next_run_at", plan.cron, now, jitter=plan.jitter_seconds)
    if plan.next_run_at is None or plan.next_run_at > now:
        return None
    with transaction.atomic():
        if not _move(plan, "next_run_at", schedule(now), last_run_at=now):
            return None
        operation = operation_start(kind="backup", target=f"stack:{plan.stack}", params=plan_params(plan))
        Plan.objects.filter(pk=plan.pk).update(last_operation=operation)
        return operation


def _check(plan: Plan, now: datetime) -> Operation | None:
    """Have the next slice of the repository read back."""
    if not _comes_up(plan, "next_check_at", plan.check_cron, now):
        return None
    with transaction.atomic():
        if not _move(plan, "next_check_at", next_start(plan.check_cron, plan.time_zone, now)):
            return None
        params = {"plan": plan.name}
        return operation_start(kind="repository.check", target=plan.repository.scope, params=params)


def _drill(plan: Plan, now: datetime) -> Operation | None:
    if not plan.drill:
        return None
    return _drill_on_schedule(plan, now) if plan.drill_cron else _drill_of_the_day(plan, now)


def _drill_on_schedule(plan: Plan, now: datetime) -> Operation | None:
    """Drill the newest complete set of the plan's stack in its repository; without one there is nothing to prove."""
    if not _comes_up(plan, "next_drill_at", plan.drill_cron, now):
        return None
    sets = plan.repository.sets.filter(stack=plan.stack, state=SetState.COMPLETE, removed_at=None)
    newest = sets.exclude(operation__parent__kind="restore").order_by("-taken_at").first()
    with transaction.atomic():
        moved = _move(plan, "next_drill_at", next_start(plan.drill_cron, plan.time_zone, now))
        if not moved or newest is None:
            return None
        params = {"set": newest.pk, "plan": plan.name}
        return operation_start(kind="drill", target=f"stack:{plan.stack}", params=params)


def _drill_of_the_day(plan: Plan, now: datetime) -> Operation | None:
    """Start the drill that follows the plan's first complete set of a day."""
    last = plan.last_operation
    if last is None or last.state != State.SUCCEEDED:
        return None
    made = BackupSet.objects.filter(operation=last, state=SetState.COMPLETE, removed_at=None).first()
    if made is None:
        return None
    today = now.astimezone(zone_of(plan.time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    target = f"stack:{plan.stack}"
    tried = Operation.objects.filter(kind="drill", target=target, created_at__gte=today)
    if tried.exists() or Drill.objects.filter(set=made).exists():
        return None
    return operation_start(kind="drill", target=target, params={"set": made.pk, "plan": plan.name})


def _comes_up(plan: Plan, field: str, cron: str, now: datetime) -> bool:
    if not cron:
        return False
    _straighten(plan, field, cron, now)
    at: datetime | None = getattr(plan, field)
    return at is not None and at <= now


def _straighten(plan: Plan, field: str, cron: str, now: datetime, *, jitter: int = 0) -> None:
    """Bring back what a clock that was wrong for a while has put too far ahead."""
    planned: datetime | None = getattr(plan, field)
    if planned is None:
        return
    found = start_after_clock_change(planned, cron, plan.time_zone, now, jitter_seconds=jitter, key=plan.name)
    if found and _move(plan, field, found):
        log.warning("plan %s: the clock went back; %s is %s again", plan.name, field, found.isoformat())
        setattr(plan, field, found)


def _move(plan: Plan, field: str, to: datetime, **more: object) -> bool:
    """Only one of several callers moves what they all saw."""
    rows = Plan.objects.filter(pk=plan.pk, enabled=True, **{field: getattr(plan, field)})
    return bool(rows.update(**{field: to}, **more))
