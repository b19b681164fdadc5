"""What happened to services lately that will happen again."""

from __future__ import annotations

from datetime import datetime, timedelta

from portal.alarms.conditions import Condition
from portal.alarms.models import Severity
from portal.watch.models import EventKind
from portal.watch.selectors import Times, event_counts

MEMORY_WITHIN = timedelta(hours=1)
CRASHES, CRASHES_WITHIN = 3, timedelta(minutes=15)


def out_of_memory(now: datetime) -> list[Condition]:
    """A service was killed within the last hour because memory ran out."""
    remedy = "Give the machine or the service more memory, or choose a smaller chat model on the page Settings."
    return [
        Condition(
            f"service.memory stack:{found.stack} {found.service}",
            Severity.BAD,
            f"{found.service} of {found.stack} ran out of memory and was killed, {_times(found)} in the last hour",
            remedy,
        )
        for found in event_counts(EventKind.OUT_OF_MEMORY, now=now, within=MEMORY_WITHIN)
    ]


def crashing(now: datetime) -> list[Condition]:
    """A service ended by itself again and again within a quarter of an hour."""
    return [
        Condition(
            f"service.crashing stack:{found.stack} {found.service}",
            Severity.BAD,
            f"{found.service} of {found.stack} ended by itself {_times(found)} in the last 15 minutes",
            "Read what it wrote before it ended, on its log's page.",
        )
        for found in event_counts(EventKind.CRASHED, now=now, within=CRASHES_WITHIN)
        if found.times >= CRASHES
    ]


def _times(found: Times) -> str:
    return "once" if found.times == 1 else f"{found.times} times"
