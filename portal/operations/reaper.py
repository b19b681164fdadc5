"""Finding operations that lost their worker or never got one."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from portal.operations import queue, transitions
from portal.operations.models import Operation, State

log = logging.getLogger(__name__)
MAX_ATTEMPTS = 6


def reap() -> int:
    """Give every silent operation to a new worker and enqueue forgotten ones again; returns how many were touched."""
    return _requeue_silent() + _enqueue_forgotten()


def _requeue_silent() -> int:
    stale = timedelta(seconds=settings.OPERATION_STALE_SECONDS)
    silent = Operation.objects.filter(parent=None, state__in=transitions.HELD, heartbeat_at__lt=Now() - stale)
    return sum(_requeue(operation, stale) for operation in silent)


def _requeue(operation: Operation, stale: timedelta) -> bool:
    if operation.attempt >= MAX_ATTEMPTS:
        return _give_up(operation)
    if not transitions.requeue_stale(operation, older_than=stale):
        return False
    log.warning("operation %s lost its worker, attempt %s follows", operation.pk, operation.attempt + 1)
    queue.enqueue(operation.pk)
    return True


def _give_up(operation: Operation) -> bool:
    return transitions.finish(
        operation,
        State.LOST,
        error={
            "code": "lost",
            "message": f"{MAX_ATTEMPTS} workers died on this operation.",
            "remedy": "Read the worker's log, then look at the stack's services before you start anything else.",
        },
    )


def _enqueue_forgotten() -> int:
    late = Now() - timedelta(seconds=settings.OPERATION_UNCLAIMED_SECONDS)
    forgotten = Operation.objects.filter(parent=None, state=State.QUEUED).filter(
        Q(enqueued_at__lt=late) | Q(enqueued_at=None, created_at__lt=late)
    )
    ids = list(forgotten.values_list("pk", flat=True))
    for pk in ids:
        queue.enqueue(pk)
    return len(ids)
