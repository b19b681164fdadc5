"""Looking at the services of every stack and keeping what was seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models.functions import Extract
from django.utils import timezone

from portal.core import places
from portal.runtime import procfs
from portal.runtime.errors import StackRuntimeError
from portal.runtime.protocol import Happening, ServiceStatus, Stats
from portal.stacks.models import Stack
from portal.watch.changes import Seen, changes, settled
from portal.watch.models import Event, Sample, Watched

log = logging.getLogger(__name__)

KEPT = timedelta(days=7)
# Older samples are thinned out to one in so many minutes.
WHOLE, EVERY_MINUTES = timedelta(hours=24), 10
EVENTS_KEPT = timedelta(days=30)
# The longest stretch that is asked for: what happened while nobody looked.
FIRST_LOOK = timedelta(minutes=2)


def stacks_watch(*, now: datetime | None = None) -> None:
    """Look at every stack once; one whose runtime does not answer is left for the next time."""
    moment = now or timezone.now()
    for stack in Stack.objects.all():
        try:
            stack_watch(stack=stack, now=moment)
        except StackRuntimeError as fault:
            log.info("the stack %s was not looked at: %s", stack.name, fault.message)
    if moment.minute % EVERY_MINUTES == 0:
        samples_thin(now=moment)


def stack_watch(*, stack: Stack, now: datetime) -> list[Event]:
    """Keep what the services of one stack use and what has happened to them since the last look; returns the latter.

    Raises:
        StackRuntimeError: the runtime does not answer.
    """
    runtime, spec = places.runtime(), places.stack_spec(stack.name)
    known = {row.service: row for row in Watched.objects.filter(stack=stack)}
    since = max((row.seen_at for row in known.values()), default=now - FIRST_LOOK)
    happened = runtime.happenings(spec, since=since.timestamp())
    statuses, used = runtime.status(spec), runtime.stats(spec)
    # Containers are killed for their own limit, which their engine tells; the kernel's count says nothing about them.
    kills = 0 if runtime.features.images else procfs.memory_kills()
    with transaction.atomic():
        _keep_samples(stack, used, now)
        return [e for status in statuses for e in _look(stack, status, known.get(status.service), happened, now, kills)]


def _keep_samples(stack: Stack, used: Mapping[str, Stats], now: datetime) -> None:
    minute = now.replace(second=0, microsecond=0)
    rows = (
        Sample(
            stack=stack,
            service=service,
            at=minute,
            memory_bytes=stats.memory_bytes,
            cpu_seconds=stats.cpu_seconds,
            network_in=stats.network_in,
            network_out=stats.network_out,
            disk_read=stats.disk_read,
            disk_written=stats.disk_written,
        )
        for service, stats in used.items()
    )
    Sample.objects.bulk_create(rows, ignore_conflicts=True)


def _look(
    stack: Stack,
    status: ServiceStatus,
    row: Watched | None,
    happened: tuple[Happening, ...],
    now: datetime,
    kills: int,
) -> list[Event]:
    before = Seen(row.state, row.settled, row.since) if row else None
    mine = [item for item in happened if item.service == status.service]
    starved = row is not None and kills > row.memory_kills
    found = changes(before, status, mine, now=now.timestamp(), starved=starved)
    events = [
        Event(stack=stack, service=status.service, at=_moment(c.at), kind=c.kind, detail=c.detail[:300]) for c in found
    ]
    Event.objects.bulk_create(events, ignore_conflicts=True)
    seen = {
        "state": str(status.state),
        "settled": settled(before, status.state),
        # A service that is down now was last up then.
        "since": status.since or (before.since if before else None),
        "seen_at": now,
        "memory_kills": kills,
    }
    Watched.objects.update_or_create(stack=stack, service=status.service, defaults=seen)
    return events


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def samples_thin(*, now: datetime) -> None:
    """Forget what is too old, and all but one sample in ten minutes of what is not of today."""
    Sample.objects.filter(at__lt=now - KEPT).delete()
    old = Sample.objects.filter(at__lt=now - WHOLE).annotate(minute=Extract("at", "minute"))
    odd = [minute for minute in range(60) if minute % EVERY_MINUTES]
    old.filter(minute__in=odd).delete()
    Event.objects.filter(at__lt=now - EVENTS_KEPT).delete()
