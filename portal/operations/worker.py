"""Running an operation: take it, prove its predecessor gone, run its handler, record how it ended."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import InterfaceError, OperationalError
from django.db.models.functions import Now

from portal.operations import fencing, transitions
from portal.operations.context import Context
from portal.operations.errors import Cancelled, Fenced, OperationError
from portal.operations.events import touch
from portal.operations.heartbeat import Monitor
from portal.operations.models import Operation, State
from portal.operations.registry import Kind, Outcome, kind_get

log = logging.getLogger(__name__)
PREDECESSOR_SECONDS = 10.0


def execute(operation_id: uuid.UUID | str) -> None:
    """Run the operation if it is queued; otherwise somebody else has it and nothing happens."""
    operation = Operation.objects.filter(pk=operation_id, state=State.QUEUED).first()
    if operation is None or not transitions.take(operation):
        return
    monitor = Monitor(operation)
    lock = fencing.work_dir(operation.pk) / "worker.lock"
    with monitor.beating(), fencing.held(lock, seconds=PREDECESSOR_SECONDS) as ours:
        if ours:
            _run(operation, monitor)
        else:
            log.warning("operation %s: its former worker still lives, trying again later", operation.pk)
            transitions.put_back(operation)


def _run(operation: Operation, monitor: Monitor) -> Outcome | None:
    fencing.raise_fence(operation)
    transitions.close_interrupted_steps(operation)
    operation.refresh_from_db()
    context = Context(operation, monitor)
    try:
        outcome = kind_get(operation.kind).handler(context)
    except Fenced:
        log.warning("operation %s attempt %s was taken over", operation.pk, operation.attempt)
        return None
    except Cancelled:
        context.flush_progress()
        transitions.finish(operation, State.CANCELLED)
        return None
    except (OperationalError, InterfaceError):
        # Our own database went away. Whoever gets this operation after the silence finds the journal as it is.
        raise
    except Exception as error:
        context.flush_progress()
        transitions.finish(operation, State.FAILED, **_failure(operation, error))
        return None
    context.flush_progress()
    transitions.finish(operation, outcome.state, result=outcome.result)
    return outcome


def _failure(operation: Operation, error: Exception) -> dict[str, Any]:
    if isinstance(error, OperationError):
        return {"error": error.as_dict(), "result": error.data or None}
    log.error("operation %s failed", operation.pk, exc_info=error)
    return {
        "error": {
            "code": "internal",
            "message": f"Unexpected {type(error).__name__} in {operation.kind}.",
            "remedy": f"The worker's log has the details of operation {operation.pk}.",
        }
    }


def run_child(parent: Context, kind: str, params: Mapping[str, Any]) -> Operation:
    """Run `kind` under the parent's claims in this thread and return its finished row.

    Raises:
        Fenced, Cancelled: as the parent was.
    """
    parent.checkpoint()
    definition = kind_get(kind)
    child = _child_row(parent, definition, dict(params))
    if not child.is_finished:
        touch(child)
        _run(child, parent.monitor)
        child.refresh_from_db()
    if not child.is_finished:
        raise Fenced
    if child.state == State.CANCELLED:
        raise Cancelled
    return child


def _child_row(parent: Context, definition: Kind, params: dict[str, Any]) -> Operation:
    """The child an earlier attempt left, taken over unless it had ended; otherwise a new one, running already."""
    left = parent.operation.children.filter(kind=definition.name, params=params).first()
    if left is None:
        return Operation.objects.create(
            kind=definition.name,
            target=parent.operation.target,
            params=params,
            join_key=definition.join_key(parent.operation.target, params),
            parent=parent.operation,
            created_by=parent.operation.created_by,
            state=State.RUNNING,
            attempt=1,
            heartbeat_at=Now(),
            started_at=Now(),
        )
    if not left.is_finished:
        Operation.objects.filter(pk=left.pk).update(attempt=left.attempt + 1, state=State.RUNNING)
        left.refresh_from_db()
    return left
