"""Raising and clearing alarms, and queueing what channels are to be told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from portal.alarms.conditions import Condition, conditions_now
from portal.alarms.models import Alarm, Channel, Notice, Severity

RAISED, CLEARED = "raised", "cleared"


def alarms_evaluate(*, now: datetime | None = None) -> None:
    """Compare what is wrong now with the open alarms: raise, reword, clear; one evaluation at a time."""
    moment = now or timezone.now()
    found = {condition.key[:200]: condition for condition in conditions_now(moment)}
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('alarms', 0))")
        open_now = {alarm.key: alarm for alarm in Alarm.objects.filter(cleared_at=None)}
        for key, condition in found.items():
            alarm = _raised(open_now.get(key), condition, moment)
            if moment >= alarm.due_at:
                _tell(alarm)
        for key in open_now.keys() - found.keys():
            _clear(open_now[key], moment)


def _raised(alarm: Alarm | None, condition: Condition, now: datetime) -> Alarm:
    told = {
        "severity": condition.severity,
        "title": condition.title[:300],
        "remedy": condition.remedy,
        "operation": condition.operation,
    }
    if alarm is None:
        return Alarm.objects.create(key=condition.key[:200], raised_at=now, due_at=now + condition.grace, **told)
    for name, value in told.items():
        setattr(alarm, name, value)
    alarm.save(update_fields=list(told))
    return alarm


def _tell(alarm: Alarm) -> None:
    """Queue the alarm for every channel that wants it and has not been told; also for one that was added later."""
    Notice.objects.bulk_create(
        (Notice(alarm=alarm, channel=channel, about=RAISED) for channel in _listening(alarm)), ignore_conflicts=True
    )


def _listening(alarm: Alarm) -> Iterable[Channel]:
    channels = Channel.objects.filter(enabled=True)
    return channels if alarm.severity == Severity.BAD else channels.filter(least=Severity.WARNING)


def _clear(alarm: Alarm, now: datetime) -> None:
    """Close it; whoever heard of it hears of its end, and what was not sent yet is not sent any more."""
    if now < alarm.due_at:
        alarm.delete()
        return
    Alarm.objects.filter(pk=alarm.pk).update(cleared_at=now)
    alarm.notices.filter(about=RAISED, sent_at=None).delete()
    told = alarm.notices.filter(about=RAISED).values_list("channel", flat=True)
    Notice.objects.bulk_create(
        (Notice(alarm=alarm, channel_id=channel, about=CLEARED) for channel in told), ignore_conflicts=True
    )
