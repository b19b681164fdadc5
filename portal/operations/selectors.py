"""Reading operations."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from portal.operations.models import ACTIVE, LogLine, Operation, Step


def operation_get(operation_id: uuid.UUID | str) -> Operation:
    """One operation, fresh from the database.

    Raises:
        Operation.DoesNotExist: there is none with this id.
    """
    return Operation.objects.select_related("parent", "created_by").get(pk=operation_id)


def operation_list_recent(*, limit: int = 20) -> list[Operation]:
    """The newest operations that somebody started; children appear on their parent's page only."""
    return list(Operation.objects.filter(parent=None).select_related("created_by")[:limit])


def operation_list_active() -> list[Operation]:
    """What is queued or running now, oldest first."""
    return list(Operation.objects.filter(parent=None, state__in=ACTIVE).order_by("created_at"))


def operation_steps(operation: Operation) -> list[Step]:
    """The journal in order."""
    return list(operation.steps.all())


def operation_children(operation: Operation) -> list[Operation]:
    """Operations that this one started, oldest first."""
    return list(operation.children.order_by("created_at"))


def operation_log(operation: Operation, *, after: int = 0, limit: int = 500) -> list[LogLine]:
    """Log lines with a `seq` above `after`; the newest `limit` of them in order."""
    lines: QuerySet[LogLine] = operation.log_lines.filter(seq__gt=after).order_by("-seq")[:limit]
    return list(reversed(lines))
