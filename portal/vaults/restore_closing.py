"""The operations `restore.undo` and `restore.confirm`, and what is told of a restore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from backups.restore.scope import Scope
from portal.core import places
from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.models import State
from portal.operations.registry import ClaimOn, Outcome, Params, exclusive, operation_kind
from portal.vaults.agent import run_agent
from portal.vaults.halt import Halt
from portal.vaults.jobs import agent_job, stack_place
from portal.vaults.models import Restore, RestoreState
from portal.vaults.selectors import restore_kept

# What a restore's row says of its scope, in the result of its operation.
TOLD = ("sources", "mode", "into", "deletions", "merged", "revocations", "kept_bytes", "seconds")


def restore_summary(row: Restore) -> dict[str, Any]:
    """A restore as the result of an operation, and as `--json` prints it."""
    return {
        "set_id": row.set_id,
        "state": row.state,
        "downtime_ms": row.downtime_ms,
        "canary": row.canary,
        "safety_set": row.safety_set_id,
        "kept_until": row.kept_until.isoformat() if row.kept_until else None,
        "restore": str(row.operation_id),
        **{name: row.scope.get(name) for name in TOLD},
    }


def scope_of_row(row: Restore) -> Scope:
    """The sources that a restore exchanged."""
    names = row.scope.get("sources")
    return Scope(None if names is None else frozenset(names))


def restore_of(target: str, params: Params) -> Restore:
    """The kept restore that the parameters name (`restore`: its operation's id), else the newest of the stack.

    Raises:
        OperationRefused: it is not kept any more, or a later one has to be undone first.
    """
    newest = restore_kept(stack=target.partition(":")[2])
    if newest is None:
        raise OperationRefused("There is no restore that could be undone or confirmed.", code="nothing_kept")
    wanted = params.get("restore")
    if wanted and str(newest.operation_id) != wanted:
        raise OperationRefused(
            "Only the newest restore can be undone or confirmed.", remedy=f"It is {newest.operation_id}."
        )
    return newest


def _undo_claims(target: str, params: Params) -> Sequence[ClaimOn]:
    restore_of(target, params)
    return [exclusive(target)]


def _resumed_restore(ctx: Context) -> Restore:
    """The restore this operation is about, also when an earlier attempt has closed it already."""
    with ctx.step("choose", "Find what was kept", undoing=True) as data:
        known = ctx.recorded("choose").get("restore")
        row = (
            Restore.objects.select_related("set").get(operation_id=known)
            if known
            else restore_of(ctx.operation.target, ctx.params)
        )
        data["restore"] = str(row.operation_id)
    return row


@operation_kind("restore.undo", title="Undo of the restore", claims=_undo_claims)
def restore_undo(ctx: Context) -> Outcome:
    """Put the data from before a restore back. Once it has begun it is finished, whoever finishes it."""
    row = _resumed_restore(ctx)
    spec = places.stack_spec(ctx.operation.stack_name)
    scope, stack = scope_of_row(row), stack_place(spec)
    halt = Halt(ctx, spec, scope.users)
    job = agent_job(ctx, "unswap", stack=stack, operation=str(row.operation_id))
    unhealthy = ""
    try:
        halt.stop()
        run_agent(ctx, job, undoing=True)
        if scope.data:
            halt.flush()
    finally:
        if not ctx.monitor.fenced.is_set():
            unhealthy = halt.start_anyway()
    downtime = halt.downtime_ms()
    run_agent(ctx, {**job, "kind": "discard"}, undoing=True)
    return _close(row, RestoreState.UNDONE, downtime_ms=downtime, warning=unhealthy)


@operation_kind("restore.confirm", title="Confirmation of the restore", claims=_undo_claims)
def restore_confirm(ctx: Context) -> Outcome:
    """Remove the data from before a restore, and from before the earlier ones that it was built upon."""
    row = _resumed_restore(ctx)
    stack = stack_place(places.stack_spec(ctx.operation.stack_name))
    earlier = Restore.objects.select_related("set").filter(
        state=RestoreState.KEPT, operation__target=ctx.operation.target, created_at__lt=row.created_at
    )
    for each in earlier:
        run_agent(ctx, agent_job(ctx, "discard", stack=stack, operation=str(each.operation_id)), undoing=True)
        _close(each, RestoreState.CONFIRMED)
    run_agent(ctx, agent_job(ctx, "discard", stack=stack, operation=str(row.operation_id)), undoing=True)
    return _close(row, RestoreState.CONFIRMED)


def _close(row: Restore, state: RestoreState, *, downtime_ms: float | None = None, warning: str = "") -> Outcome:
    with transaction.atomic():
        row.state, row.kept_until = state, None
        row.save(update_fields=["state", "kept_until"])
    result = {**restore_summary(row), "downtime_ms": downtime_ms, "warning": warning}
    return Outcome(result, State.PARTIAL if warning else State.SUCCEEDED)
