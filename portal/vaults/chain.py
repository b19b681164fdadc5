"""What follows a backup: forget, copy, prune, stats, each an operation of its own.

Nothing is remembered between two looks: the rows of the operations tell how far the chain of a plan has come, so it
goes on after the death of any process. A link that failed is not tried again before the next backup, and never keeps
the later links, or that backup, from running. Each keeps to the plan's limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from portal.operations.claims import lock_names
from portal.operations.errors import OperationRefused
from portal.operations.models import FINISHED, Operation, State
from portal.operations.services import operation_start
from portal.vaults.keeping import retention_preview, retention_waits
from portal.vaults.models import BackupSet, Plan, Repository, SetState

PRUNE_EVERY = timedelta(days=7)
# So many sets gone since the last prune are worth one at once: at least these, and this share of what is left.
PRUNE_SETS, PRUNE_SHARE = 5, 0.25
# How long something exclusive is taken to need when it never ran, and how long it may be put off for other plans.
UNKNOWN_SECONDS = 30.0
PUT_OFF = timedelta(days=7)

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Last:
    """A plan's last backup and the complete set that it made."""

    plan: Plan
    operation: Operation
    made: BackupSet

    @property
    def repository(self) -> Repository:
        return self.plan.repository


Wanted = Callable[[Last, datetime], Params | None]


def plan_follow(plan: Plan, now: datetime) -> Operation | None:
    """Start the next link after the plan's last backup, if it is time for one.

    Raises:
        OperationRefused: somebody holds what it needs.
    """
    last = _last(plan)
    if last is None or _tried(last, ENDS_WITH):
        return None
    with transaction.atomic():
        lock_names([f"chain:{plan.pk}"])
        return _next_link(last, now)


def _last(plan: Plan) -> Last | None:
    operation = plan.last_operation
    if operation is None or operation.state != State.SUCCEEDED:
        return None
    made = BackupSet.objects.filter(operation=operation, state=SetState.COMPLETE).first()
    return Last(plan, operation, made) if made else None


def _next_link(last: Last, now: datetime) -> Operation | None:
    for kind, wanted in LINKS.items():
        tried = _tried(last, kind)
        if tried and tried.is_active:
            return None
        params = None if tried else wanted(last, now)
        if params is not None and (operation := _start(last, kind, params)):
            return operation
    return None


def _start(last: Last, kind: str, params: Params) -> Operation | None:
    """The started link; None when it makes no sense any more, and the next one may follow.

    Raises:
        OperationRefused: it has to wait.
    """
    try:
        told = {**params, "after": str(last.operation.pk), "plan": last.plan.name}
        return operation_start(kind=kind, target=last.repository.scope, params=told)
    except OperationRefused as refused:
        if refused.code == "claimed":
            raise
        return None


def _tried(last: Last, kind: str) -> Operation | None:
    """The link of this kind after this very backup, however it ended."""
    since = last.operation.finished_at or last.operation.created_at
    links = Operation.objects.filter(kind=kind, target=last.repository.scope, created_at__gte=since)
    return links.filter(params__after=str(last.operation.pk)).first()


def _forget(last: Last, now: datetime) -> Params | None:
    if not last.plan.keep or retention_waits(last.plan, now=now) or not _leaves_time(last, "repository.forget", now):
        return None
    removed = retention_preview(last.plan, now=now).removed
    return {"sets": [found.pk for found in removed], "why": f"retention of plan {last.plan.name}"} if removed else None


def _copy(last: Last, _now: datetime) -> Params | None:
    return {} if last.repository.copy_to_id else None


def _prune(last: Last, now: datetime) -> Params | None:
    """Weekly when something was forgotten since, at once when that was much."""
    repository = last.repository
    if repository.append_only and not repository.prune_url:
        return None
    sets, since = repository.sets, repository.pruned_at or repository.created_at
    gone = sets.filter(removed_at__gte=since).count()
    much = gone >= max(PRUNE_SETS, PRUNE_SHARE * sets.filter(removed_at=None).count())
    due = bool(gone) and (much or now - since >= PRUNE_EVERY)
    return {} if due and _leaves_time(last, "repository.prune", now) else None


def _stats(_last: Last, _now: datetime) -> Params | None:
    return {}


def _leaves_time(last: Last, kind: str, now: datetime) -> bool:
    """Whether something that has the repository to itself will be done before the next backup to it is due.

    It is put off for a week at most: then a backup waits for it once.
    """
    ended = Operation.objects.filter(kind=kind, target=last.repository.scope, state__in=FINISHED)
    before = ended.filter(started_at__isnull=False, finished_at__gte=now - PUT_OFF).first()
    if before is None:
        return True
    next_run = last.repository.plans.filter(enabled=True).order_by("next_run_at").values_list("next_run_at", flat=True)
    at = next((found for found in next_run if found), None)
    return at is None or (at - now).total_seconds() > max(UNKNOWN_SECONDS, 2 * _seconds(before))


def _seconds(operation: Operation) -> float:
    if operation.started_at is None or operation.finished_at is None:
        return 0.0
    return (operation.finished_at - operation.started_at).total_seconds()


LINKS: Mapping[str, Wanted] = {
    "repository.forget": _forget,
    "repository.copy": _copy,
    "repository.prune": _prune,
    "repository.stats": _stats,
}
# Once it has been tried, nothing follows this backup any more.
ENDS_WITH = "repository.stats"
