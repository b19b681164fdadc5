"""The operations `stack.plan` and `stack.deploy`: what the stack's files and settings say now comes into service."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import DatabaseError

from portal.core import places
from portal.operations.context import Context
from portal.operations.errors import Cancelled, Fenced, InputInvalid, OperationFailed
from portal.operations.faults import runtime_faults
from portal.operations.giving_up import describe, first_failure
from portal.operations.registry import Outcome, Params, alone, operation_kind, unclaimed
from portal.runtime.protocol import Problem, Rendered, ServiceStatus
from portal.runtime.spec import StackSpec
from portal.stacks.pending import pending_drop, pending_get
from portal.stacks.plans import plan_report
from portal.stacks.projects.reading import consent_problems, demand_fetched
from portal.stacks.releases import release_current, spec_of
from portal.stacks.rollout import Rollout, Source
from portal.stacks.selectors import stack_of
from portal.stacks.updates.fetching import newest_fetch

NOTE_LENGTH = 500


def check_note(params: Params) -> None:
    """
    Raises:
        InputInvalid: the note is longer than is kept.
    """
    if len(str(params.get("note") or "")) > NOTE_LENGTH:
        raise InputInvalid({"note": f"Write at most {NOTE_LENGTH} characters."})


def _check(target: str, params: Params) -> None:
    demand_fetched(stack_of(target))
    check_note(params)


class Files:
    """What the stack's files say now, with the settings that wait."""

    def __init__(self, stack: str, note: str, *, pull: bool = False) -> None:
        self._stack = stack
        self._note = note
        self._pull = pull
        self._rendered: Rendered | None = None

    def spec(self) -> StackSpec:
        return places.stack_spec(self._stack).derive(settings=pending_get(self._stack))

    def problems(self) -> Sequence[Problem]:
        return [*places.runtime().validate(self.spec()), *consent_problems(self._stack)]

    def provide(self, ctx: Context) -> None:
        def report(status: ServiceStatus) -> None:
            # Between two images is a good moment to stop; nothing has been touched yet.
            ctx.checkpoint()
            ctx.progress("Getting what is missing", note=f"{status.title}: {status.detail or status.state}")

        if self._pull:
            newest_fetch(ctx, self.rendered())
        places.runtime().provide(self.spec(), report=report)
        self._rendered = None

    def rendered(self) -> Rendered:
        if self._rendered is None:
            self._rendered = places.runtime().rendered(self.spec())
        return self._rendered

    def set_to_restore(self) -> str:
        return ""

    def note(self) -> str:
        return self._note


@operation_kind("stack.plan", title="Plan of a deploy", claims=unclaimed, check=_check)
def stack_plan(ctx: Context) -> Outcome:
    """Say what a deploy would do now. Changes nothing."""
    stack = stack_of(ctx.operation.target)
    with ctx.step("plan", "Compare what runs with what is described"), runtime_faults():
        files = Files(stack.name, "")
        report = plan_report(stack, files.spec(), files.rendered())
    return Outcome({"plan": report})


@operation_kind("stack.deploy", title="Deploy", claims=alone, check=_check)
def stack_deploy(ctx: Context) -> Outcome:
    """Deploy what the stack's files and settings say now.

    Params: `note`; `backup` (true), false takes none even if data is touched; `pull` (false), fetch anew what came from
    a registry.
    """
    stack = stack_of(ctx.operation.target)
    outcome = roll_out(ctx, Files(stack.name, str(ctx.params.get("note") or ""), pull=bool(ctx.params.get("pull"))))
    if (serving := release_current(stack)) is not None:
        pending_drop(stack=stack.name, names=spec_of(serving).settings)
    return outcome


def roll_out(ctx: Context, source: Source) -> Outcome:
    """Bring the source's release into service, or go back to the one that served.

    Raises:
        OperationFailed: why not, and what serves now.
        Cancelled, Fenced
    """
    at_work = Rollout(ctx, source)
    try:
        if ctx.began("give_up"):
            raise first_failure(ctx, otherwise="The release was given up.")
        return at_work.forward()
    except (Fenced, DatabaseError):
        raise
    except Exception as error:
        told = at_work.back(error)
        if isinstance(error, Cancelled):
            if told:
                ctx.log(told)
            raise
        raise _failed(error, told) from error


def _failed(error: Exception, told: str) -> OperationFailed:
    known = describe(error)
    message = f"{known['message']} {told}".strip()
    return OperationFailed(message, code=known["code"], remedy=known["remedy"])
