"""The operation `backup`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backups.extra import OWN_SOURCES
from backups.sources.portal import NAME as PORTAL
from portal.core import places
from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.models import State
from portal.operations.registry import ClaimOn, Outcome, Params, exclusive, operation_kind, shared
from portal.vaults.agent import run_agent
from portal.vaults.anomalies import DEFAULT_PERCENT, compared, set_before
from portal.vaults.hooks import with_hooks
from portal.vaults.jobs import agent_job, plan_of, stack_place
from portal.vaults.models import BackupSet, Repository, SetState
from portal.vaults.portalsource import portal_source
from portal.vaults.selectors import repository_get_default
from portal.vaults.trees import tree_adopt


def repository_of(params: Params) -> Repository:
    """The repository that the parameters name, else the default one.

    Raises:
        OperationRefused: there is none.
    """
    try:
        named = params.get("repository")
        return Repository.objects.get(name=named) if named else repository_get_default()
    except Repository.DoesNotExist:
        raise OperationRefused("There is no such repository.", remedy="`python3 manage.py up` makes one.") from None


def _claims(target: str, params: Params) -> Sequence[ClaimOn]:
    # Two backups of one stack at a time would hold up its writers twice.
    return [shared(target), shared(repository_of(params).scope), exclusive(f"backup:{target}")]


def _joins(_target: str, params: Params) -> str:
    """Whoever wants the same sources in the same repository joins; a plan with hooks insists on a run of its own."""
    plan = plan_of(params)
    own = plan.name if plan and plan.hooks.exists() else ""
    return f"{repository_of(params).name} {','.join(sorted(params.get('sources') or ()))[:100]} {own}".strip()


@operation_kind("backup", title="Backup", claims=_claims, joins=_joins)
def backup(ctx: Context) -> Outcome:
    """Take a set. Whoever takes over, worker or agent, takes the same one: what a dead agent had stored is compared
    and recorded, what it had only staged is removed and made again."""
    plan = plan_of(ctx.params)
    return with_hooks(ctx, plan, _set_id(ctx), lambda: _take(ctx))


def _take(ctx: Context) -> Outcome:
    repository = repository_of(ctx.params)
    stack = stack_place(places.stack_spec(ctx.operation.stack_name))
    stack["extra"] = [*stack.get("extra", []), portal_source()]
    began = time.monotonic()
    job = agent_job(ctx, "backup", stack=stack, repository=repository, set_id=_set_id(ctx))
    # The portal is in every set, whatever else was chosen.
    chosen = {"sources": [*ctx.params["sources"], PORTAL]} if ctx.params.get("sources") else {}
    result = run_agent(ctx, {**job, **chosen})
    made = _record(ctx, repository, stack, result, round(time.monotonic() - began, 2))
    tree_adopt(made, ctx.work)
    state = State.SUCCEEDED if made.state == SetState.COMPLETE else State.PARTIAL
    told = {"missing": result["missing"], "freeze": result["freeze"], "anomalies": made.anomalies}
    return Outcome({**set_summary(made), **told}, state)


def _set_id(ctx: Context) -> str:
    return f"{ctx.operation.created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{ctx.operation.pk.hex[:6]}"


def _record(
    ctx: Context, repository: Repository, stack: Mapping[str, Any], result: Mapping[str, Any], seconds: float
) -> BackupSet:
    if repository.restic_id != result["repository_id"]:
        Repository.objects.filter(pk=repository.pk).update(restic_id=result["repository_id"])
    made, _ = BackupSet.objects.update_or_create(
        id=result["set"],
        defaults={
            "stack": ctx.operation.stack_name,
            "environment": stack["environment"],
            "plan": plan_of(ctx.params),
            "repository": repository,
            "operation": ctx.operation,
            "state": SetState.COMPLETE if result["state"] == "complete" else SetState.PARTIAL,
            "taken_at": datetime.fromisoformat(result["taken_at"]),
            "freeze_ms": result["freeze_ms"],
            "seconds": seconds,
            "bytes_total": result["bytes_total"],
            "bytes_added": result["bytes_added"],
            "counts": result["counts"],
            "sources": result["sources"],
            "snapshot_id": result["snapshot_id"],
            **_judged(ctx, stack, result),
        },
    )
    return made


def _judged(ctx: Context, stack: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """`detail` and `anomalies` of the new set's row: what the agent saw, and what the set before shows."""
    plan, chosen = plan_of(ctx.params), result["detail"].get("sources")
    found = {**result["detail"], "steps": result["seconds"], "freeze": result["freeze"]}
    anomalies = list(result["anomalies"])
    before = set_before(stack=ctx.operation.stack_name, plan=plan, but=result["set"], chosen=chosen)
    if before:
        found["compared_with"] = before.pk
        anomalies += compared(
            before=before,
            sources=result["sources"],
            counts=result["counts"],
            percent=plan.shrink_percent if plan else DEFAULT_PERCENT,
            stack=[*OWN_SOURCES, *(extra["name"] for extra in stack["extra"])],
        )
    for anomaly in anomalies:
        ctx.log(anomaly["message"], level="warning")
    return {"detail": found, "anomalies": anomalies}


def set_summary(made: BackupSet) -> dict[str, Any]:
    """A set as the result of an operation, and as `--json` prints it."""
    return {
        "set_id": made.pk,
        "state": made.state,
        "stack": made.stack,
        "repository": made.repository.name,
        "taken_at": made.taken_at.isoformat(),
        "freeze_ms": made.freeze_ms,
        "seconds": made.seconds,
        "bytes_total": made.bytes_total,
        "bytes_added": made.bytes_added,
        "counts": made.counts,
        "snapshot_id": made.snapshot_id,
        "proven_at": made.proven_at.isoformat() if made.proven_at else None,
    }
