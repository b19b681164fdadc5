"""What a plan's retention would do to the sets of the database, and whether it may run at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from portal.operations.models import State
from portal.vaults.models import BackupSet, Plan, Restore, RestoreState, SetState
from portal.vaults.retention import Candidate, Policy, keep
from portal.vaults.schedule import zone_of
from portal.vaults.selectors import set_last_good, set_last_proven

# Clocks of two machines may differ by this much without anything being wrong.
CLOCK_TOLERANCE = timedelta(minutes=5)
# How a backup ends badly; a cancelled one says nothing about the data.
ENDED = {State.FAILED: "failed", State.PARTIAL: "is partial", State.LOST: "was lost"}
SHOWN = ("id", "taken_at", "state", "pinned", "proven_at", "anomalies", "bytes_total", "bytes_added")


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one set; `reasons` says why it stays, or why nothing keeps it."""

    set: BackupSet
    kept: bool
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Preview:
    """What retention would do now, newest set first. `waits`: a sentence when it would not run at all."""

    rows: list[Fate]
    waits: str

    @property
    def removed(self) -> list[BackupSet]:
        return [row.set for row in self.rows if not row.kept]

    @property
    def kept_count(self) -> int:
        return sum(row.kept for row in self.rows)


def retention_preview(plan: Plan, *, now: datetime | None = None) -> Preview:
    """What `plan` would keep and remove; it need not be saved. Changes nothing.

    Raises:
        KeepInvalidError, ScheduleInvalidError: the plan's retention or zone makes no sense.
    """
    moment = now or timezone.now()
    sets = list(plan_sets(plan).only(*SHOWN))
    needed = _needed(plan, sets)
    candidates = [
        Candidate(found.pk, found.taken_at, found.state == SetState.COMPLETE, tuple(needed.get(found.pk, ())))
        for found in sets
    ]
    decision = keep(candidates, plan_policy(plan), moment)
    rows = [Fate(found, found.pk in decision.kept, decision.kept.get(found.pk) or [_gone(found)]) for found in sets]
    return Preview(rows, retention_waits(plan, now=moment))


def plan_policy(plan: Plan) -> Policy:
    """What the plan keeps, on the calendar of its zone; of an append-only repository only `within` counts.

    Raises:
        KeepInvalidError, ScheduleInvalidError
    """
    policy = Policy.read(plan.keep, zone_of(plan.time_zone))
    return policy.append_only() if plan.repository.append_only else policy


def plan_sets(plan: Plan) -> QuerySet[BackupSet]:
    """The sets whose fate the plan decides, newest first: its own, and those of no plan when it is the first one
    for this stack and repository."""
    sets = BackupSet.objects.filter(stack=plan.stack, repository=plan.repository, removed_at=None)
    mine = Q(plan=plan.pk) if plan.pk else Q(pk__in=[])
    return sets.filter(mine | Q(plan=None) if _takes_orphans(plan) else mine).order_by("-taken_at", "-id")


def retention_waits(plan: Plan, *, now: datetime | None = None) -> str:
    """Why nothing of this plan may be removed now; empty when it may."""
    return next(_obstacles(plan, now or timezone.now()), "")


def _obstacles(plan: Plan, now: datetime) -> Iterator[str]:
    repository = plan.repository
    if repository.append_only and not repository.prune_url:
        yield f"The repository {repository.name} only takes additions, and none that may prune is known."
    ahead = repository.sets.filter(removed_at=None, taken_at__gt=now + CLOCK_TOLERANCE).order_by("taken_at").first()
    if ahead:
        yield f"The set {ahead.pk} is from the future: this machine's clock is wrong, or the set is forged."
    last = plan.last_operation
    if last and last.state in ENDED:
        yield f"The last backup {ENDED[State(last.state)]}: nothing is removed before the next complete set."
    newest = plan_sets(plan).first()
    if newest and newest.state != SetState.COMPLETE:
        yield f"The newest set, {newest.pk}, is {newest.state}: nothing is removed before the next complete one."
    if newest and newest.anomalies:
        yield f"The newest set, {newest.pk}, looks wrong: {_first_anomaly(newest)} Nothing is removed meanwhile."


def _first_anomaly(found: BackupSet) -> str:
    first = found.anomalies[0]
    return str(first.get("message") or first.get("code") if isinstance(first, dict) else first).rstrip(".") + "."


def _takes_orphans(plan: Plan) -> bool:
    first = Plan.objects.filter(stack=plan.stack, repository=plan.repository).order_by("pk").first()
    return first is None or first.pk == plan.pk


def _needed(plan: Plan, sets: list[BackupSet]) -> dict[str, list[str]]:
    """Reasons to keep sets that no rule can overrule."""
    told: dict[str, list[str]] = {found.pk: ["pinned"] for found in sets if found.pinned}
    proven, good = set_last_proven(stack=plan.stack), set_last_good(stack=plan.stack)
    newest = next((found for found in sets if found.state == SetState.COMPLETE), None)
    for found, reason in ((proven, "last proven"), (good or newest, "last good"), (newest, "newest of the plan")):
        if found:
            told.setdefault(found.pk, []).append(reason)
    for restore in Restore.objects.filter(set__stack=plan.stack, state=RestoreState.KEPT):
        for name in {restore.set_id, restore.safety_set_id} - {None}:
            told.setdefault(str(name), []).append("a restore can still be undone")
    return told


def _gone(found: BackupSet) -> str:
    return "no rule keeps it" if found.state == SetState.COMPLETE else f"{found.state}, a complete one is newer"
