"""What the first page says: the state of everything in one object."""

from __future__ import annotations

from dataclasses import dataclass

from portal.alarms.conditions import Condition, conditions_now
from portal.alarms.models import Severity
from portal.operations.models import Operation
from portal.operations.selectors import operation_list_active, operation_list_recent
from portal.stacks.models import Stack
from portal.vaults import selectors as vaults
from portal.vaults.models import BackupSet, Drill, Plan, Restore
from portal.web.services import Services, services_of


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the first page shows; `stack` is None before the first `up`."""

    stack: Stack | None
    services: Services
    last_good: BackupSet | None
    last_proven: BackupSet | None
    drill: Drill | None
    expected_seconds: float | None
    plan: Plan | None
    kept: Restore | None
    active: list[Operation]
    recent: list[Operation]
    warnings: list[Condition]


def overview_get() -> Overview:
    """Collect the first page from the selectors of every app."""
    stack = Stack.objects.order_by("created_at").first()
    services = services_of(stack) if stack else Services()
    plan, active = vaults.plan_default(), operation_list_active()
    drill = vaults.drill_last()
    return Overview(
        stack=stack,
        services=services,
        last_good=vaults.set_last_good(),
        last_proven=vaults.set_last_proven(),
        drill=drill,
        expected_seconds=vaults.drill_seconds_expected(),
        plan=plan,
        kept=vaults.restore_kept(),
        active=active,
        recent=operation_list_recent(limit=6),
        # The stack's own services stand on this page anyway.
        warnings=[*_runtime(services), *conditions_now(stacks=False)],
    )


def _runtime(services: Services) -> list[Condition]:
    fault = services.fault
    return [Condition("runtime", Severity.BAD, fault.message, fault.remedy)] if fault else []
