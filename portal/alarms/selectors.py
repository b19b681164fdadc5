"""Reading alarms and channels."""

from __future__ import annotations

from django.utils import timezone

from portal.alarms.models import Alarm, Channel


def alarm_list_open() -> list[Alarm]:
    """What is wrong as of the last evaluation, the worst and newest first."""
    # "bad" sorts before "warning".
    alarms = Alarm.objects.select_related("operation").filter(cleared_at=None, due_at__lte=timezone.now())
    return list(alarms.order_by("severity", "-raised_at"))


def alarm_list_past(*, limit: int = 50) -> list[Alarm]:
    """What was wrong and is over, the newest first."""
    past = Alarm.objects.select_related("operation").exclude(cleared_at=None)
    return list(past.order_by("-cleared_at")[:limit])


def channel_list() -> list[Channel]:
    """Every channel by name."""
    return list(Channel.objects.all())
