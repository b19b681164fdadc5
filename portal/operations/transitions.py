"""Changes of an operation's state: each is one conditional UPDATE that must change one row."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from portal.core.services import audit
from portal.operations.events import announce
from portal.operations.models import ACTIVE, Claim, Operation, State, StepState

HELD = (State.RUNNING, State.CANCELLING)


def move(operation: Operation, *, source: Iterable[State], to: State, **changes: Any) -> bool:  # noqa: ANN401 - column values
    """Move the row from one of `source` to `to` if it still is there, in the attempt that we know; False otherwise."""
    rows = Operation.objects.filter(pk=operation.pk, state__in=list(source), attempt=operation.attempt)
    if rows.update(state=to, seq=F("seq") + 1, **changes) != 1:
        return False
    announce(operation)
    return True


def take(operation: Operation) -> bool:
    """Make a queued operation ours; False when another worker was faster or it is not queued any more."""
    to = State.CANCELLING if operation.cancel_requested else State.RUNNING
    return move(
        operation,
        source=[State.QUEUED],
        to=to,
        heartbeat_at=Now(),
        started_at=Coalesce(F("started_at"), Now()),
    )


def put_back(operation: Operation) -> bool:
    """Hand a taken operation back to the queue without having done anything; it is enqueued again in a while."""
    return move(operation, source=HELD, to=State.QUEUED, enqueued_at=Now())


def finish(
    operation: Operation, state: State, *, result: dict[str, Any] | None = None, error: dict[str, str] | None = None
) -> bool:
    """End an operation: final state, claims released and audit entry in one transaction."""
    with transaction.atomic():
        changes: dict[str, Any] = {"finished_at": Now(), "error": error or {}}
        if result is not None:
            changes["result"] = result
        if not move(operation, source=ACTIVE, to=state, **changes):
            return False
        Claim.objects.filter(operation=operation).delete()
        audit(
            action=f"{operation.kind}.{state}",
            target=operation.target,
            user=operation.created_by,
            data={"operation": str(operation.pk), **({"error": error["code"]} if error else {})},
        )
    return True


def requeue_stale(operation: Operation, *, older_than: timedelta) -> bool:
    """Take a silent operation from its worker: back to the queue with a higher attempt, which fences the worker off."""
    rows = Operation.objects.filter(
        pk=operation.pk, state__in=HELD, attempt=operation.attempt, heartbeat_at__lt=Now() - older_than
    )
    if rows.update(state=State.QUEUED, attempt=F("attempt") + 1, seq=F("seq") + 1, enqueued_at=Now()) != 1:
        return False
    announce(operation)
    return True


def close_interrupted_steps(operation: Operation) -> None:
    """Steps that a dead worker left open are over; `interrupted` tells the resuming handler so."""
    for step in operation.steps.filter(state=StepState.STARTED):
        step.state = StepState.FAILED
        step.data = {**step.data, "interrupted": True}
        step.finished_at = Now()
        step.save(update_fields=["state", "data", "finished_at"])
