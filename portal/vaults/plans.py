"""What people do with plans: add, change, pause, resume, run and remove them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Unpack

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from backups.secret import write_secret
from portal.core.services import audit
from portal.operations.errors import InputInvalid, OperationRefused
from portal.operations.models import Operation
from portal.operations.services import operation_start
from portal.vaults.models import Hook, Plan
from portal.vaults.planrules import HookFields, PlanFields, name_read, plan_read, until_read
from portal.vaults.schedule import next_start

REQUIRED = ("stack", "repository")


def plan_add(*, name: str, user: User | None = None, **values: Unpack[PlanFields]) -> Plan:
    """Make a plan; it runs at its next time.

    Raises:
        InputInvalid: with a sentence for every field that is wrong.
        OperationRefused: hooks are given by somebody who may not.
    """
    missing = {field: "Name one." for field in REQUIRED if not values.get(field)}
    if missing:
        raise InputInvalid(missing)
    plan = plan_read(Plan(name=name_read(name), time_zone=settings.LOCAL_TIME_ZONE), values)
    _demand_administrator(values, user)
    _place(plan)
    with transaction.atomic():
        _save(plan, values)
        audit(action="plan.created", target=target_of(plan), user=user, data=_told(values))
    return plan


def plan_update(*, plan: Plan, user: User | None = None, **values: Unpack[PlanFields]) -> Plan:
    """Change what is given of a plan. A new schedule counts from now.

    Raises:
        InputInvalid: with a sentence for every field that is wrong; nothing is changed then.
        OperationRefused: hooks are changed by somebody who may not.
    """
    fresh = Plan.objects.select_related("repository").get(pk=plan.pk)
    before = _schedule_of(fresh)
    plan_read(fresh, values)
    _demand_administrator(values, user)
    if _schedule_of(fresh) != before:
        _place(fresh)
    with transaction.atomic():
        _save(fresh, values)
        audit(action="plan.changed", target=target_of(fresh), user=user, data=_told(values))
    plan.refresh_from_db()
    return plan


def plan_pause(*, plan: Plan, until: datetime | None = None, user: User | None = None) -> Plan:
    """Start nothing until a moment, or until the plan is resumed. What falls into the pause is not made up.

    Raises:
        InputInvalid: the moment does not lie ahead.
    """
    if until is None:
        plan.enabled, plan.paused_until = False, None
    else:
        plan.enabled, plan.paused_until = True, until_read(until)
        _place(plan, after=until)
    return _switch(plan, "plan.paused", user, {"until": until.isoformat() if until else None})


def plan_resume(*, plan: Plan, user: User | None = None) -> Plan:
    """End a pause; the plan goes on at its next time from now."""
    plan.enabled, plan.paused_until = True, None
    _place(plan)
    return _switch(plan, "plan.resumed", user, {})


def plan_run_now(*, plan: Plan, user: User | None = None) -> Operation:
    """Start the plan's backup now, also while it is paused; a run that goes on already is joined.

    Raises:
        OperationRefused: somebody holds what the backup needs.
    """
    with transaction.atomic():
        # The row first, as the scheduler does, or the two wait for one another for ever.
        Plan.objects.select_for_update(of=("self",)).get(pk=plan.pk)
        operation = operation_start(kind="backup", target=f"stack:{plan.stack}", params=plan_params(plan), user=user)
        Plan.objects.filter(pk=plan.pk).update(last_operation=operation, last_run_at=timezone.now())
    plan.refresh_from_db()
    return operation


def plan_remove(*, plan: Plan, user: User | None = None) -> None:
    """Remove a plan. Its sets stay, and so does everything in the repository.

    Raises:
        OperationRefused: its backup is running.
    """
    last = plan.last_operation
    if last is not None and last.is_active:
        raise OperationRefused(
            f"A backup of the plan {plan.name} is {last.state}.",
            code="busy",
            remedy="Wait until it ends, or cancel it.",
        )
    with transaction.atomic():
        audit(action="plan.removed", target=target_of(plan), user=user, data={"sets": plan.sets.count()})
        _forget_later(plan.ping_url_file)
        plan.delete()


def plan_reschedule(plan: Plan, *, now: datetime | None = None) -> None:
    """Compute what comes next after the schedule, the zone or the pause changed.

    Raises:
        ScheduleInvalidError
    """
    _place(plan, after=now)
    plan.save(update_fields=["next_run_at", "next_check_at", "next_drill_at"])


def plan_params(plan: Plan) -> dict[str, object]:
    """The parameters of the plan's backup."""
    chosen = {"sources": list(plan.sources)} if plan.sources else {}
    return {"repository": plan.repository.name, "plan": plan.name, **chosen}


def plan_hooks(plan: Plan) -> list[HookFields]:
    """The plan's hooks as `plan_update` takes them."""
    return [{"on": h.on, "command": list(h.command), "timeout_seconds": h.timeout_seconds} for h in plan.hooks.all()]


def target_of(plan: Plan) -> str:
    """How audit entries name it."""
    return f"plan:{plan.name}"


def _switch(plan: Plan, action: str, user: User | None, data: dict[str, str | None]) -> Plan:
    with transaction.atomic():
        plan.save(update_fields=["enabled", "paused_until", "next_run_at", "next_check_at", "next_drill_at"])
        audit(action=action, target=target_of(plan), user=user, data=data)
    return plan


def _schedule_of(plan: Plan) -> tuple[object, ...]:
    return plan.cron, plan.time_zone, plan.jitter_seconds, plan.check_cron, plan.drill_cron


def _place(plan: Plan, *, after: datetime | None = None) -> None:
    """Set when run, check and drill come next."""
    pause = plan.paused_until if plan.paused_until and plan.paused_until > timezone.now() else None
    moment = after or pause or timezone.now()
    plan.next_run_at = next_start(plan.cron, plan.time_zone, moment, jitter_seconds=plan.jitter_seconds, key=plan.name)
    plan.next_check_at = next_start(plan.check_cron, plan.time_zone, moment) if plan.check_cron else None
    plan.next_drill_at = next_start(plan.drill_cron, plan.time_zone, moment) if plan.drill_cron else None


def _save(plan: Plan, values: PlanFields) -> None:
    if "ping_url" in values:
        _store_ping(plan, values["ping_url"].strip())
    plan.save()
    if "hooks" in values:
        _store_hooks(plan, values["hooks"])


def _store_hooks(plan: Plan, hooks: Sequence[HookFields]) -> None:
    plan.hooks.all().delete()
    Hook.objects.bulk_create(
        Hook(
            plan=plan,
            on=hook["on"],
            command=hook["command"],
            timeout_seconds=hook.get("timeout_seconds", 300),
            ordinal=number,
        )
        for number, hook in enumerate(hooks, 1)
    )


def _store_ping(plan: Plan, address: str) -> None:
    """Write the new address beside the old one, which goes once the row says so."""
    _forget_later(plan.ping_url_file)
    plan.ping_url_file = ""
    if address:
        folder = Path(settings.VAR_DIR) / "control" / "secrets" / "plans"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{plan.name}-{secrets.token_hex(4)}.ping"
        write_secret(path, address)
        plan.ping_url_file = str(path)


def _forget_later(path: str) -> None:
    if path:
        transaction.on_commit(partial(_unlink, Path(path)))


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()


def _demand_administrator(values: PlanFields, user: User | None) -> None:
    """Hooks run commands as the worker: only an administrator, or whoever has the machine, may set them."""
    if "hooks" in values and user is not None and not user.is_staff:
        raise OperationRefused("Only administrators may change hooks.", code="forbidden", remedy="Ask one.")


def _told(values: PlanFields) -> dict[str, object]:
    """What changed, for the audit log; an address that lets anybody ping is a secret."""
    return {name: ("***" if name == "ping_url" else value) for name, value in values.items()}
