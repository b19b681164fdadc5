"""What the first page says: the state of everything in one object."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from portal.operations.models import FINISHED, Operation, State
from portal.operations.selectors import operation_list_active, operation_list_recent
from portal.stacks.models import Stack
from portal.vaults import selectors as vaults
from portal.vaults.models import BackupSet, Drill, DrillState, Plan, Restore
from portal.web.services import Services, services_of

# Beat looks once a minute; a worker that is busy with something long may be late without anything being wrong.
OVERDUE_AFTER = timedelta(minutes=15)
WENT_WRONG = (State.FAILED, State.LOST, State.PARTIAL)


@dataclass(frozen=True, slots=True)
class Warning:
    """Something an operator should see to: what, what to do, and where to look."""

    tone: str
    title: str
    remedy: str
    operation: Operation | None = None


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
    warnings: list[Warning]


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
        warnings=[
            *_runtime(services),
            *_failed_backup(),
            *_failed_drill(drill),
            *_overdue(plan, active),
            *_repository(),
        ],
    )


def _runtime(services: Services) -> list[Warning]:
    return [Warning("bad", services.fault.message, services.fault.remedy)] if services.fault else []


def _failed_backup() -> list[Warning]:
    last = Operation.objects.filter(kind="backup", state__in=FINISHED).exclude(state=State.CANCELLED).first()
    if last is None or last.state not in WENT_WRONG:
        return []
    title = "The last backup is incomplete" if last.state == State.PARTIAL else "The last backup failed"
    message = str(last.error.get("message", ""))
    remedy = str(last.error.get("remedy", "")) or "Its log says why. Then back up again."
    return [Warning("bad", f"{title}: {message}" if message else title, remedy, last)]


def _failed_drill(drill: Drill | None) -> list[Warning]:
    if drill is None or drill.state == DrillState.PASSED:
        return []
    title = f"The last drill failed: set {drill.set_id} did not come back as it was"
    remedy = "Open the drill to see which check failed, back up again and drill that set."
    return [Warning("bad", title, remedy, drill.operation)]


def _overdue(plan: Plan | None, active: list[Operation]) -> list[Warning]:
    if plan is None or any(operation.kind == "backup" for operation in active):
        return []
    if not plan.enabled:
        return [Warning("warn", "Scheduled backups are switched off", "Back up by hand until the plan is on again.")]
    if plan.next_run_at is None or plan.next_run_at > timezone.now() - OVERDUE_AFTER:
        return []
    remedy = "The scheduler seems to be down. Run `python3 manage.py status` on the server, or back up now."
    return [Warning("bad", "A scheduled backup is overdue", remedy)]


def _repository() -> list[Warning]:
    return [Warning("warn", *_sentences(text)) for text in vaults.repository_warnings()]


def _sentences(text: str) -> tuple[str, str]:
    """The first sentence says what is wrong, the rest what to do."""
    title, dot, remedy = text.partition(". ")
    return title + dot.strip(), remedy
