"""The operation `restore`: a set, or chosen sources of it, comes back into a stack.

    preflight -> safety set -> stage -> words -> stop -> swap -> flush -> start -> canary -> kept

Each step is in the journal. A worker that takes over goes on at the first step that is not done; when the way back had
begun, it goes on with the way back. See docs/explanation/operations.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import DatabaseError
from django.utils import timezone

from portal.core import places
from portal.operations import fencing
from portal.operations.context import Context
from portal.operations.errors import Fenced, OperationFailed
from portal.operations.giving_up import describe, first_failure
from portal.operations.models import State
from portal.operations.registry import ClaimOn, Outcome, Params, exclusive, operation_kind, shared
from portal.vaults.agent import run_agent
from portal.vaults.halt import Halt
from portal.vaults.jobs import agent_job, host_of, stack_place
from portal.vaults.models import BackupSet, Restore, RestoreState
from portal.vaults.restore_choice import Choice, set_of
from portal.vaults.restore_closing import restore_summary
from portal.vaults.restore_figures import phase_seconds
from portal.vaults.words import index_words_ahead

KEPT_FOR = timedelta(hours=72)


def _claims(target: str, params: Params) -> Sequence[ClaimOn]:
    return [exclusive(target), shared(set_of(params).repository.scope)]


def _same_choice(_target: str, params: Params) -> str:
    chosen = [f"{name}={params[name]}" for name in ("sources", "mode", "keep_deleted") if params.get(name)]
    return " ".join([str(params.get("set")), *chosen])


def _check(target: str, params: Params) -> None:
    Choice.read(target, params)


@operation_kind("restore", title="Restore", claims=_claims, joins=_same_choice, check=_check)
def restore(ctx: Context) -> Outcome:
    """Bring a set back into the stack that is the target.

    Params: `set`; `sources` (all); `mode`, `exact` or `merge`; `keep_deleted`, documents deleted since the set stay so
    (true for a merge); `safety` (true) for a set of the present state first.
    """
    at_work = Restoration(ctx)
    try:
        if ctx.began("give_up"):
            raise first_failure(ctx, otherwise="The restore was given up.")
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
        self._choice = Choice.read(ctx.operation.target, ctx.params)
        self._set = self._choice.set
        self._spec = places.stack_spec(ctx.operation.stack_name)
        self._halt = Halt(ctx, self._spec, self._choice.scope.users)

    def forward(self) -> Outcome:
        """The way to the restored stack; raises wherever it cannot go on."""
        self._agent_step("preflight", repository=True)
        safety = self._safety()
        self._agent_step("stage", repository=True)
        if self._ctx.done("words") is None and self._choice.scope.data and not self._halt.began:
            index_words_ahead(self._ctx, self._halt)
        if self._ctx.done("stop") is None or not self._ctx.began("swap.swap"):
            self._halt.stop()
        self._agent_step("swap")
        if self._ctx.done("flush") is None and self._choice.scope.data:
            self._halt.flush()
        if self._ctx.done("start") is None:
            self._halt.start()
        downtime = self._downtime()
        unasked = self._unasked()
        canary = {"skipped": unasked} if unasked else self._agent_step("canary")
        return self._keep(downtime, canary, safety)

    def _unasked(self) -> str:
        """Why the set's questions are not asked afterwards; empty when they are."""
        if not self._choice.scope.data:
            return "documents and their vectors stayed as they were"
        if self._choice.scope.derives_vectors:
            return "the vectors are derived again"
        return "" if "api" in self._running_again() else "the stack is stopped"

    def back(self, error: Exception) -> None:
        """The way back to the stack as it was. Whatever fails here, the services are started again."""
        ctx = self._ctx
        if not ctx.began("give_up"):
            with ctx.step("give_up", "Give up and go back", undoing=True) as data:
                data["because"] = describe(error)
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
        stack, options = stack_place(self._spec), self._choice.options
        if repository:
            options |= {"host": host_of(stack), "preview": False}
        if kind == "canary":
            options = {"carried": bool(options["merge"] or options["keep_deleted"])}
        return agent_job(
            self._ctx,
            kind,
            stack=stack,
            repository=self._set.repository if repository else None,
            set_id=self._set.pk,
            options=options,
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
        swapped = self._ctx.done("swap.result") or {}
        kept_bytes = self._kept_bytes()
        kept = self._record(
            RestoreState.KEPT,
            downtime_ms=downtime,
            canary=canary.get("canary", canary),
            safety_set=safety,
            kept_until=timezone.now() + KEPT_FOR,
            scope={
                **self._choice.to_json(),
                **{name: swapped[name] for name in ("deletions", "merged", "revocations") if name in swapped},
                "kept_bytes": kept_bytes,
                "seconds": phase_seconds(self._ctx.operation),
            },
        )
        fencing.clear_work_dir(self._ctx.operation.pk)
        if "canary" in canary:
            BackupSet.objects.filter(pk=self._set.pk).update(proven_at=timezone.now())
        return Outcome(restore_summary(kept))

    def _kept_bytes(self) -> int | None:
        """What is kept occupies; not knowing it is no reason to undo a restore."""
        try:
            return int(self._agent_step("kept")["bytes"])
        except OperationFailed as failed:
            self._ctx.log(f"The kept data could not be measured: {failed.message}", level="warning")
            return None

    def _record(self, state: RestoreState, **values: Any) -> Restore:  # noqa: ANN401 - column values
        row, _ = Restore.objects.update_or_create(
            operation=self._ctx.operation,
            defaults={"set": self._set, "state": state, "scope": self._choice.to_json(), **values},
        )
        return row


DONE_TITLES = {
    "preflight": "Everything is ready",
    "stage": "The set is here and whole",
    "swap": "The set is in place",
    "canary": "The answers agree",
    "kept": "What was there before is kept",
}


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """A result as the journal keeps it: long lists of names would make every page of it slow."""
    return {key: value for key, value in result.items() if key not in ("seconds", "files")}
