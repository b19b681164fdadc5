"""What is wrong now, worked out from the rows of every app; nothing here is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from portal.alarms.models import Severity
from portal.operations.models import Operation

NO_GRACE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something an operator should see to.

    Attributes:
        key: what is wrong with what, e.g. `plan.overdue plan:default`; stays the same while it lasts.
        title: one sentence: what is wrong.
        remedy: what to do about it.
        operation: where it showed.
        grace: how long it must last before anybody is told.
    """

    key: str
    severity: Severity
    title: str
    remedy: str = ""
    operation: Operation | None = None
    grace: timedelta = NO_GRACE


Rule = Callable[[datetime], list[Condition]]


def conditions_now(now: datetime | None = None, *, stacks: bool = True) -> list[Condition]:
    """Everything that is wrong, worst first.

    Args:
        stacks: also ask the runtime for services that do not do well, which takes a moment.
    """
    from portal.alarms.rules import RULES, STACK_RULES

    moment = now or timezone.now()
    found = [condition for rule in RULES + (STACK_RULES if stacks else ()) for condition in rule(moment)]
    return sorted(found, key=lambda condition: condition.severity != Severity.BAD)
