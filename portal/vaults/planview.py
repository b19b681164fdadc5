"""What pages and commands say about a plan: its times in words, what it keeps, how its last runs went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from portal.operations.models import Operation
from portal.vaults.keeping import Fate, plan_policy, retention_preview
from portal.vaults.models import Plan
from portal.vaults.plans import plan_hooks
from portal.vaults.retention import KeepInvalidError, policy_words
from portal.vaults.schedule import ScheduleInvalidError, cron_words, next_runs

NEXT = 5
# So many sets are shown of each kind, kept and removed; the counts are of all.
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Told:
    """A plan in words. `runs`: the next ones on the clock of the plan's zone; `late`: by up to so many seconds;
    `fault`: why the rest is missing."""

    when: str = ""
    runs: tuple[str, ...] = ()
    keeps: str = ""
    late: int = 0
    limits: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Fates:
    """What retention would do, shortened for a page; `waits`: why it would not run now."""

    rows: list[Fate]
    kept: int
    removed: int
    bytes_removed: int
    waits: str

    @property
    def hidden(self) -> int:
        return self.kept + self.removed - len(self.rows)


def plan_told(plan: Plan) -> Told:
    """The plan's schedule and retention in words; it need not be saved."""
    try:
        runs = [] if plan.is_held else next_runs(plan.cron, plan.time_zone, _from(plan), NEXT)
        clock = tuple(f"{run:%a %-d %b %Y, %H:%M %Z}" for run in runs)
        keeps, limits = policy_words(plan_policy(plan)), limits_words(plan.limits)
        return Told(cron_words(plan.cron), clock, keeps, plan.jitter_seconds, limits)
    except (ScheduleInvalidError, KeepInvalidError) as error:
        return Told(fault=str(error))


def limits_words(limits: Mapping[str, Any]) -> str:
    """Limits as a phrase: `upload 500 KiB/s, niceness 10`; empty for none."""
    told = {
        "upload_kib": "upload {} KiB/s",
        "download_kib": "download {} KiB/s",
        "nice": "niceness {}",
        "processors": "restic on {} processors",
        "io_idle": "disks only while nobody else uses them",
    }
    return ", ".join(text.format(limits[name]) for name, text in told.items() if limits.get(name))


def plan_fates(plan: Plan) -> Fates | None:
    """What the plan's retention would do now; None when the plan makes no sense."""
    try:
        found = retention_preview(plan)
    except (ScheduleInvalidError, KeepInvalidError):
        return None
    removed = [row for row in found.rows if not row.kept]
    shown = {row.set.pk for row in [row for row in found.rows if row.kept][:SHOWN] + removed[:SHOWN]}
    return Fates(
        rows=[row for row in found.rows if row.set.pk in shown],
        kept=found.kept_count,
        removed=len(removed),
        bytes_removed=sum(row.set.bytes_added for row in removed),
        waits=found.waits,
    )


def plan_state(plan: Plan) -> str:
    """`active`, `paused` or `off`."""
    if not plan.enabled:
        return "off"
    return "paused" if plan.paused_until and plan.paused_until > timezone.now() else "active"


def plan_runs(plan: Plan, *, limit: int = 5) -> list[Operation]:
    """The plan's last backups, newest first."""
    found = Operation.objects.filter(kind="backup", parent=None, params__plan=plan.name)
    return list(found.order_by("-created_at")[:limit])


def plan_summary(plan: Plan) -> dict[str, Any]:
    """A plan as `--json` prints it; the address of its switch stays secret."""
    told, last = plan_told(plan), plan.last_operation
    plain = ("name", "stack", "cron", "time_zone", "jitter_seconds", "sources", "keep", "shrink_percent", "check_cron")
    times = ("next_run_at", "next_check_at", "next_drill_at", "last_run_at", "paused_until")
    return {
        **{name: getattr(plan, name) for name in (*plain, "drill", "drill_cron", "limits")},
        **{name: at.isoformat() if (at := getattr(plan, name)) else None for name in times},
        "repository": plan.repository.name,
        "state": plan_state(plan),
        "when": told.when,
        "keeps": told.keeps,
        "next_runs": list(told.runs),
        "last_state": last.state if last else None,
        "hooks": plan_hooks(plan),
        "ping": bool(plan.ping_url_file),
    }


def _from(plan: Plan) -> datetime:
    now = timezone.now()
    return max(now, plan.paused_until) if plan.paused_until else now


def row_of(plan: Plan) -> dict[str, Any]:
    """What the list of plans shows of one."""
    return {"plan": plan, "told": plan_told(plan), "state": plan_state(plan)}
