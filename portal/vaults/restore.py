"""The operations `restore`, `restore.undo` and `restore.confirm`.

    preflight -> safety set -> stage -> stop -> swap -> flush -> start -> canary -> kept

Each step is in the journal. A worker that takes over goes on at the first step that is not done; when the way back had
begun, it goes on with the way back. See docs/explanation/operations.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.utils import timezone

from portal.core import places
from portal.operations import fencing
from portal.operations.context import Context
from portal.operations.errors import Cancelled, Fenced, OperationFailed, OperationRefused
from portal.operations.models import State
from portal.operations.registry import ClaimOn, Outcome, Params, exclusive, operation_kind, shared
from portal.vaults.agent import run_agent
from portal.vaults.halt import Halt
from portal.vaults.jobs import agent_job, host_of, stack_place
from portal.vaults.models import BackupSet, Restore, RestoreState, SetState
from portal.vaults.selectors import restore_kept

KEPT_FOR = timedelta(hours=72)


def set_of(params: Params) -> BackupSet:
    """The set that the parameters name.

    Raises:
        OperationRefused: there is no such set, or it is not complete.
    """
    found = BackupSet.objects.select_related("repository").filter(pk=str(params.get("set", ""))).first()
    if found is None:
        raise OperationRefused(
            f"There is no backup set {params.get('set')!r}.", remedy="`python3 manage.py sets` lists what there is."
        )
    if found.state != SetState.COMPLETE:
        raise OperationRefused(f"The set {found.pk} is {found.state}.", remedy="Choose a complete one.")
    return found


def _claims(target: str, params: Params) -> Sequence[ClaimOn]:
    return [exclusive(target), shared(set_of(params).repository.scope)]


def _same_set(_target: str, params: Params) -> str:
    return str(params.get("set"))


@operation_kind("restore", title="Restore", claims=_claims, joins=_same_set)
def restore(ctx: Context) -> Outcome:
    """Bring a set back: params `set`, and `safety` (true) for a set of the present state first."""
    at_work = Restoration(ctx)
    try:
        if ctx.began("give_up"):
            raise _first_failure(ctx)
        return at_work.forward()
    except (Fenced, DatabaseError):
        raise
    except Exception as error:
        at_work.back(error)
        raise


class Restoration:
    """One restore at work."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._set = set_of(ctx.params)
        self._spec = places.stack_spec(ctx.operation.stack_name)
        self._halt = Halt(ctx, self._spec)

    def forward(self) -> Outcome:
        """The way to the restored stack; raises wherever it cannot go on."""
        self._agent_step("preflight", repository=True)
        safety = self._safety()
        self._agent_step("stage", repository=True)
        if self._ctx.done("stop") is None or not self._ctx.began("swap.swap"):
            self._halt.stop()
        self._agent_step("swap")
        if self._ctx.done("flush") is None:
            self._halt.flush()
        if self._ctx.done("start") is None:
            self._halt.start()
        downtime = self._downtime()
        canary = self._agent_step("canary") if "api" in self._running_again() else {"skipped": "the stack is stopped"}
        return self._keep(downtime, canary, safety)

    def back(self, error: Exception) -> None:
        """The way back to the stack as it was. Whatever fails here, the services are started again."""
        ctx = self._ctx
        if not ctx.began("give_up"):
            with ctx.step("give_up", "Give up and go back", undoing=True) as data:
                data["because"] = _describe(error)
        try:
            if ctx.began("swap.swap"):
                self._halt.stop()
                run_agent(ctx, self._job("unswap"), undoing=True)
                ctx.mark_undone("swap.swap")
        finally:
            self._halt.start_anyway()
        if ctx.began("stage.find_set"):
            run_agent(ctx, self._job("discard"), undoing=True)
        if self._halt.began:
            self._record(RestoreState.FAILED, downtime_ms=self._halt.downtime_ms())

    def _agent_step(self, kind: str, *, repository: bool = False) -> dict[str, Any]:
        """Have the agent do `kind` unless an earlier attempt saw it done; its steps are the journal's."""
        done = self._ctx.done(f"{kind}.result")
        if done is not None:
            return done
        self._ctx.checkpoint()
        result = run_agent(self._ctx, self._job(kind, repository=repository))
        with self._ctx.step(f"{kind}.result", DONE_TITLES[kind], undoing=True) as data:
            data.update(_short(result))
        return result

    def _job(self, kind: str, *, repository: bool = False) -> dict[str, Any]:
        stack = stack_place(self._spec)
        return agent_job(
            self._ctx,
            kind,
            stack=stack,
            repository=self._set.repository if repository else None,
            set_id=self._set.pk,
            options={"host": host_of(stack), "preview": False} if repository else None,
        )

    def _safety(self) -> BackupSet | None:
        """A set of the present state. What is damaged cannot always be backed up: then the data itself, which is kept
        beside the restored one, is the only way back, and the log says so."""
        if self._ctx.params.get("safety") is False:
            return None
        child = self._ctx.child("backup", {"repository": self._set.repository.name})
        made = BackupSet.objects.filter(operation=child).first()
        if child.state != State.SUCCEEDED:
            why = child.error.get("message") or "It is partial."
            self._ctx.log(
                f"No complete safety set: {why} The present data is kept beside the restored.", level="warning"
            )
        return made

    def _running_again(self) -> list[str]:
        return self._halt.services

    def _downtime(self) -> float | None:
        known = self._ctx.recorded("healthy").get("downtime_ms")
        if known is None:
            with self._ctx.step("healthy", "Healthy again", undoing=True) as data:
                known = data["downtime_ms"] = self._halt.downtime_ms()
        return float(known) if known is not None else None

    def _keep(self, downtime: float | None, canary: dict[str, Any], safety: BackupSet | None) -> Outcome:
        kept = self._record(
            RestoreState.KEPT,
            downtime_ms=downtime,
            canary=canary.get("canary", canary),
            safety_set=safety,
            kept_until=timezone.now() + KEPT_FOR,
        )
        fencing.clear_work_dir(self._ctx.operation.pk)
        if "canary" in canary:
            BackupSet.objects.filter(pk=self._set.pk).update(proven_at=timezone.now())
        return Outcome(restore_summary(kept))

    def _record(self, state: RestoreState, **values: Any) -> Restore:  # noqa: ANN401 - column values
        row, _ = Restore.objects.update_or_create(
            operation=self._ctx.operation, defaults={"set": self._set, "state": state, **values}
        )
        return row


DONE_TITLES = {
    "preflight": "Everything is ready",
    "stage": "The set is here and whole",
    "swap": "The set is in place",
    "canary": "The answers agree",
}


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
    }


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
    halt, stack = Halt(ctx, spec), stack_place(spec)
    job = agent_job(ctx, "unswap", stack=stack, operation=str(row.operation_id))
    unhealthy = ""
    try:
        halt.stop()
        run_agent(ctx, job, undoing=True)
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
        state=RestoreState.KEPT, set__stack=ctx.operation.stack_name, created_at__lt=row.created_at
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


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """A result as the journal keeps it: long lists of names would make every page of it slow."""
    return {key: value for key, value in result.items() if key not in ("seconds", "files")}


def _describe(error: Exception) -> dict[str, str]:
    if isinstance(error, OperationFailed | OperationRefused | Cancelled):
        return error.as_dict()
    return {"code": "internal", "message": f"Unexpected {type(error).__name__}.", "remedy": "See the worker's log."}


def _first_failure(ctx: Context) -> OperationFailed | Cancelled:
    """Why an earlier attempt began to go back."""
    because = dict(ctx.recorded("give_up").get("because") or {})
    if because.get("code") == Cancelled.code:
        return Cancelled()
    return OperationFailed(
        because.get("message", "The restore was given up."),
        code=because.get("code", "failed"),
        remedy=because.get("remedy", ""),
    )
