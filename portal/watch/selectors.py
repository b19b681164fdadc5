"""Reading what was used and what happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, QuerySet
from django.utils import timezone

from portal.runtime.protocol import Happened, Happening
from portal.stacks.models import Stack
from portal.watch.models import Event, EventKind, Sample
from portal.watch.series import Point, Reading, points

LATELY = timedelta(days=1)


def usage(stack: Stack, *, since: datetime) -> dict[str, list[Point]]:
    """What every service used since then, oldest first, by its name."""
    found: dict[str, list[Reading]] = {}
    for row in Sample.objects.filter(stack=stack, at__gte=since).order_by("at"):
        found.setdefault(row.service, []).append(_reading(row))
    return {service: points(readings) for service, readings in found.items()}


def _reading(row: Sample) -> Reading:
    return Reading(
        row.at.timestamp(),
        row.memory_bytes,
        row.cpu_seconds,
        _both(row.network_in, row.network_out),
        _both(row.disk_read, row.disk_written),
    )


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def event_list(stack: Stack, *, service: str = "", kind: str = "") -> QuerySet[Event]:
    """What happened, the newest first."""
    found = Event.objects.filter(stack=stack)
    found = found.filter(service=service) if service else found
    return found.filter(kind=kind) if kind else found


@dataclass(frozen=True, slots=True)
class Times:
    """How often something happened to one service."""

    stack: str
    service: str
    times: int


def event_counts(kind: EventKind, *, now: datetime, within: timedelta) -> list[Times]:
    """How often it happened lately, for each service to which it did."""
    rows = Event.objects.filter(kind=kind, at__gt=now - within).order_by().values_list("stack__name", "service")
    return [Times(*row) for row in rows.annotate(times=Count("pk")).order_by("stack__name", "service")]


def happenings_lately() -> dict[str, list[Happening]]:
    """What services did by themselves in the last day, by their stack: an engine remembers some minutes only."""
    kinds = {EventKind.CRASHED: Happened.ENDED, EventKind.OUT_OF_MEMORY: Happened.OUT_OF_MEMORY}
    rows = Event.objects.filter(kind__in=kinds, at__gt=timezone.now() - LATELY).select_related("stack").order_by("at")
    found: dict[str, list[Happening]] = {}
    for row in rows:
        told = Happening(row.service, row.at.timestamp(), kinds[EventKind(row.kind)], row.detail)
        found.setdefault(row.stack.name, []).append(told)
    return found
