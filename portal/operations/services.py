"""Starting and cancelling operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from portal.core.services import audit
from portal.operations import claims, queue, transitions
from portal.operations.errors import OperationRefused
from portal.operations.events import announce
from portal.operations.models import ACTIVE, Claim, Operation, State
from portal.operations.registry import Kind, kind_get


def operation_start(
    *, kind: str, target: str, params: Mapping[str, Any] | None = None, user: User | None = None
) -> Operation:
    """Queue an operation, or join the identical one that is queued or running already.

    Row, claims and audit entry are one transaction; the worker hears of it after the commit.

    Raises:
        OperationRefused: it may not start: another one holds what it needs, or its parameters make no sense.
    """
    definition, values = kind_get(kind), dict(params or {})
    definition.check(target, values)
    key, wanted = definition.join_key(target, values), list(definition.claims(target, values))
    with transaction.atomic():
        claims.lock_names([key, *(c.scope for c in wanted)])
        joined = Operation.objects.filter(join_key=key, state__in=ACTIVE, parent=None).first()
        if joined:
            return joined
        claims.claims_check(wanted)
        operation = _create(definition, target, values, user)
        claims.claims_insert(operation, wanted)
        return operation


def _create(definition: Kind, target: str, params: dict[str, Any], user: User | None) -> Operation:
    operation = Operation.objects.create(
        kind=definition.name,
        target=target,
        params=params,
        join_key=definition.join_key(target, params),
        created_by=user,
        attempt=1,
        seq=1,
    )
    audit(action=f"{definition.name}.requested", target=target, user=user, data={"operation": str(operation.pk)})
    announce(operation)
    transaction.on_commit(lambda: queue.enqueue(operation.pk))
    return operation


def operation_cancel(*, operation: Operation, user: User | None = None) -> Operation:
    """Ask an operation to stop; it undoes what it began before it is `cancelled`.

    Raises:
        OperationRefused: it has ended already, or it is part of another one.
    """
    if operation.parent_id:
        raise OperationRefused("This operation is part of another one.", remedy="Cancel that one.")
    with transaction.atomic():
        row = Operation.objects.select_for_update(of=("self",)).get(pk=operation.pk)
        if not _cancel(row):
            raise OperationRefused("The operation has ended already.", code="ended")
        audit(action=f"{row.kind}.cancel", target=row.target, user=user, data={"operation": str(row.pk)})
    row.refresh_from_db()
    return row


def _cancel(row: Operation) -> bool:
    if row.state == State.QUEUED and row.started_at is None:
        Claim.objects.filter(operation=row).delete()
        return transitions.move(row, source=[State.QUEUED], to=State.CANCELLED, finished_at=Now())
    if row.state == State.QUEUED:  # a worker died on it: the next one has to undo what was begun
        return transitions.move(row, source=[State.QUEUED], to=State.QUEUED, cancel_requested=True)
    if row.state in transitions.HELD:
        return transitions.move(row, source=transitions.HELD, to=State.CANCELLING, cancel_requested=True)
    return False
