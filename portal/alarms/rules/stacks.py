"""Services of a stack that should run and do not do well."""

from __future__ import annotations

from datetime import datetime, timedelta

from portal.alarms.conditions import Condition
from portal.alarms.models import Severity
from portal.operations.models import Claim, Mode
from portal.runtime.errors import StackRuntimeError
from portal.stacks.models import Stack, StackState
from portal.stacks.selectors import stack_services

# Restarts take a moment; the supervisor brings most things back by itself.
GRACE = timedelta(minutes=2)
UNWELL = ("failed", "unhealthy", "stopped")


def unwell(_now: datetime) -> list[Condition]:
    """Stacks that should run, with the services that do not; one that an operation holds exclusively is left out."""
    held = set(Claim.objects.filter(mode=Mode.EXCLUSIVE).values_list("scope", flat=True))
    running = Stack.objects.filter(state=StackState.RUNNING)
    return [found for stack in running if stack.target not in held for found in _of(stack)]


def _of(stack: Stack) -> list[Condition]:
    key = f"stack.unwell {stack.target}"
    try:
        rows = stack_services(stack)
    except StackRuntimeError as fault:
        return [Condition(key, Severity.BAD, fault.message, fault.remedy, grace=GRACE)]
    wrong = [f"{row.name} is {row.state}" for row in rows if row.state in UNWELL]
    if not wrong:
        return []
    title = f"The stack {stack.name} is not healthy: {', '.join(wrong)}"
    remedy = "Look at the log of that service, then restart it."
    return [Condition(key, Severity.BAD, title, remedy, grace=GRACE)]
