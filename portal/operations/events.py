"""Telling browsers that something changed: `{id, seq}` on one channel, after the commit.

What changed is read from the database; a lost event costs a moment, never the truth.
"""

from __future__ import annotations

import json
import logging
import uuid
from functools import cache

import redis
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from portal.operations.models import Operation

CHANNEL = "ragkeep:events"
log = logging.getLogger(__name__)


@cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)


def publish(operation_id: uuid.UUID) -> None:
    """Announce the operation's present `seq` now; without a server this is only logged."""
    seq = Operation.objects.filter(pk=operation_id).values_list("seq", flat=True).first()
    try:
        _client(settings.VALKEY_URL).publish(CHANNEL, json.dumps({"id": str(operation_id), "seq": seq}))
    except (redis.RedisError, ValueError) as error:
        log.warning("no event for operation %s: %s", operation_id, error)


def announce(operation: Operation) -> None:
    """Publish a change of the operation, and of its parent's page that shows it, once the transaction commits."""
    ids = [operation.pk] + ([operation.parent_id] if operation.parent_id else [])
    for changed in ids:
        transaction.on_commit(lambda pk=changed: publish(pk))  # type: ignore[misc]


def touch(operation: Operation) -> None:
    """Raise `seq` of the operation and its parent, and announce it."""
    Operation.objects.filter(Q(pk=operation.pk) | Q(pk=operation.parent_id)).update(seq=F("seq") + 1)
    announce(operation)
