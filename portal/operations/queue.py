"""Handing operation ids to the worker."""

from __future__ import annotations

import logging
import uuid

from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from config.celery import app
from portal.operations.models import Operation

EXECUTE = "portal.operations.execute"
log = logging.getLogger(__name__)


def send(task: str, *args: object, expires: float) -> None:
    """Send any other task to the worker, who forgets it after `expires` seconds.

    Raises:
        OperationalError, OSError: the broker does not answer.
    """
    app.send_task(task, args=list(args), retry=False, expires=expires)


def enqueue(operation_id: uuid.UUID) -> None:
    """Send the id to the worker. A broker that is down is not an error: the reaper sends it again."""
    Operation.objects.filter(pk=operation_id).update(enqueued_at=Now())
    try:
        app.send_task(EXECUTE, args=[str(operation_id)], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("operation %s was not enqueued, the reaper will: %s", operation_id, error)
