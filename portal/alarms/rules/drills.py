"""Drills that fail, and restores that nobody has proven for too long."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Max

from portal.alarms.conditions import Condition
from portal.alarms.models import Severity
from portal.vaults.models import BackupSet, Drill, DrillState, Plan, SetState

UNPROVEN_AFTER = timedelta(days=8)


def failed(_now: datetime) -> list[Condition]:
    """The newest drill of a stack did not bring its set back as it was."""
    newest = Drill.objects.select_related("set", "operation").order_by("set__stack", "-created_at")
    remedy = "Open the drill to see which check failed, back up again and drill that set."
    return [
        Condition(
            f"drill.failed stack:{drill.set.stack}",
            Severity.BAD,
            f"The last drill failed: set {drill.set_id} did not come back as it was",
            remedy,
            drill.operation,
        )
        for drill in newest.distinct("set__stack")
        if drill.state == DrillState.FAILED
    ]


def unproven(now: datetime) -> list[Condition]:
    """Sets are taken and none was shown to come back for more than a week, although a plan wants drills."""
    wanted = set(Plan.objects.filter(enabled=True, drill=True).values_list("stack", flat=True))
    sets = BackupSet.objects.filter(stack__in=wanted, removed_at=None, state=SetState.COMPLETE)
    proven = dict(BackupSet.objects.values_list("stack").annotate(last=Max("proven_at")))
    found = []
    for stack, first in sets.order_by("stack", "taken_at").distinct("stack").values_list("stack", "taken_at"):
        since = proven.get(stack) or first
        if now - since > UNPROVEN_AFTER:
            found.append(_condition(stack, (now - since).days))
    return found


def _condition(stack: str, days: int) -> Condition:
    title = f"No restore of {stack} was proven for {days} days"
    return Condition(f"drill.old stack:{stack}", Severity.WARNING, title, "Start a drill, and see why none ran.")
