"""Bringing a release into service, and the way back to the one that served before.

    check -> provide -> candidate -> backup -> ask -> data -> apply -> healthy -> canary -> serve

Each step is in the journal. A worker that takes over goes on at the first step that is not done, with the release that
was recorded; when the way back had begun, it goes on with the way back. See docs/explanation/operations.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from portal.core import places
from portal.core.deployed import deployed_set
from portal.operations.context import Context
from portal.operations.errors import Cancelled, OperationFailed
from portal.operations.faults import runtime_faults
from portal.operations.giving_up import describe
from portal.operations.models import State
from portal.operations.registry import Outcome
from portal.runtime.errors import StackRuntimeError
from portal.runtime.protocol import Problem, Rendered, ServiceStatus
from portal.runtime.spec import StackSpec
from portal.stacks import gate, preflight, touching
from portal.stacks.gate import Answer
from portal.stacks.models import Release, Stack
from portal.stacks.plans import plan_rows
from portal.stacks.releases import (
    images_of,
    is_of,
    release_add,
    release_current,
    release_failed,
    release_serves,
    rendered_of,
    settings_of,
    spec_of,
)

BACKUP = "backup"
RESTORE, UNDO = "restore", "restore.undo"


class Source(Protocol):
    """Where the release comes from: what the stack's files say now, or a release of old."""

    def spec(self) -> StackSpec:
        """The stack with the settings it is to run with."""
        ...

    def provide(self, ctx: Context) -> None:
        """Have everything here that it needs."""
        ...

    def problems(self) -> Sequence[Problem]:
        """What is wrong with it before anything is tried."""
        ...

    def rendered(self) -> Rendered: ...

    def set_to_restore(self) -> str:
        """The backup set whose data goes with it; empty: the data stays."""
        ...

    def note(self) -> str: ...


class Rollout:
    """One release on its way into service."""

    def __init__(self, ctx: Context, source: Source) -> None:
        self._ctx = ctx
        self._source = source
        self._stack = Stack.objects.get(name=ctx.operation.stack_name)

    def forward(self) -> Outcome:
        """The way to the new release; raises wherever it cannot go on."""
        ctx = self._ctx
        if ctx.done("check") is None:
            self._check()
        if ctx.done("provide") is None:
            with ctx.step("provide", "Get what is missing"), runtime_faults():
                self._source.provide(ctx)
        release = self._candidate()
        if release is None:
            return self._nothing_to_do()
        self._backup(release)
        before = self._ask_before()
        self._restore_data(release)
        self._apply(release)
        self._healthy(release)
        answer = self._canary(release, before)
        return self._serve(release, answer)

    def back(self, error: Exception) -> str:
        """The way back to the release that served. Returns a sentence about how that went, empty when nothing had
        been touched."""
        ctx = self._ctx
        if not ctx.began("give_up"):
            with ctx.step("give_up", "Give up", undoing=True) as data:
                data["because"] = describe(error)
        release, told = self._recorded(), ""
        if ctx.began("apply") or ctx.began("data"):
            told = self._return(release)
        if release is not None:
            release_failed(release, dict(ctx.recorded("give_up").get("because") or {}))
        return told

    def _check(self) -> None:
        """Look at what would keep the deploy from succeeding, before anything is fetched."""
        with self._ctx.step("check", "Look whether everything is ready") as data, runtime_faults():
            spec = self._source.spec()
            rendered = self._source.rendered()
            plan = places.runtime().plan(spec, release=rendered)
            data["changes"] = {change.service: str(change.action) for change in plan.changes}
            found = [*self._source.problems(), *preflight.problems(spec, plan, rendered)]
        if found:
            first = found[0]
            raise OperationFailed(
                "; ".join(problem.message for problem in found) + ". Nothing was changed.",
                code="not_ready",
                remedy=first.remedy,
            )

    def _candidate(self) -> Release | None:
        """The release to come, recorded once; None when what runs is just that."""
        if self._ctx.done("candidate") is not None:
            return self._recorded()
        with self._ctx.step("candidate", "Record the release") as data, runtime_faults():
            serving = self._serving() or release_current(self._stack)
            # Written at once: whoever takes over must know what to go back to.
            data["serving"] = serving.number if serving else None
            self._ctx.note("candidate", data)
            release = self._recorded() or self._record(serving)
            data["release"] = release.number if release else None
        return release

    def _record(self, current: Release | None) -> Release | None:
        spec, rendered = self._source.spec(), self._source.rendered()
        plan = places.runtime().plan(spec, release=rendered)
        if plan.is_empty and current is not None and is_of(current, rendered, settings_of(spec)):
            return None
        operation = self._ctx.operation
        return release_add(
            spec=spec, rendered=rendered, operation=operation, user=operation.created_by, note=self._source.note()
        )

    def _recorded(self) -> Release | None:
        return Release.objects.select_related("stack").filter(operation=self._ctx.operation).first()

    def _nothing_to_do(self) -> Outcome:
        current = release_current(self._stack)
        return Outcome({"release": current.number if current else None, "changes": {}, "set_id": None})

    def _backup(self, release: Release) -> None:
        """A set of the data as it is, where the release touches data."""
        if self._ctx.done("backup") is not None:
            return
        why = self._touched(release)
        if why and self._ctx.params.get("backup") is not False and not self._source.set_to_restore():
            made = self._taken()
            Release.objects.filter(pk=release.pk).update(set_before=made)
            release.set_before = made
        with self._ctx.step("backup", "Data is safe") as data:
            data |= {"touches": why, "set": release.set_before}

    def _touched(self, release: Release) -> list[str]:
        with runtime_faults():
            plan = places.runtime().plan(spec_of(release), release=rendered_of(release))
        before = self._serving()
        names = changed_names(before.environment, release.environment) if before else []
        return touching.reasons(places.stack_spec(self._stack.name), plan, images_of(before), release.images, names)

    def _taken(self) -> str:
        child = self._ctx.child(BACKUP, {})
        if child.state != State.SUCCEEDED:
            why = child.error.get("message") or f"it is {child.state}."
            raise OperationFailed(
                f"The backup before the deploy did not succeed: {why} Nothing was changed.",
                code="backup_failed",
                remedy="Mend the backup, or deploy without one if today's data may be lost.",
            )
        return str(child.result.get("set_id", ""))

    def _ask_before(self) -> Answer | None:
        """What the service finds as it is now; not knowing it is no reason to keep what is broken."""
        known = self._ctx.done("ask")
        if known is None:
            with self._ctx.step("ask", "Ask a question as it is now") as data:
                known = self._first_answer()
                data |= known
        return Answer(known["hits"], known["documents"]) if "hits" in known else None

    def _first_answer(self) -> dict[str, Any]:
        if not self._has_api() or self._source.set_to_restore():
            return {"skipped": "the answer would say nothing about the release"}
        try:
            return gate.ask(self._spec(), seconds=0).as_dict()
        except OperationFailed as failed:
            return {"skipped": failed.message}

    def _restore_data(self, release: Release) -> None:
        """Bring the data back that goes with the release. What stops for it starts again as the release has it."""
        wanted = self._source.set_to_restore()
        if not wanted or self._ctx.done("data") is not None:
            return
        with self._ctx.step("data", "Bring the data back") as data:
            data["set"] = wanted
            deployed_set(self._stack.name, rendered_of(release))
            child = self._ctx.child(RESTORE, {"set": wanted})
            if child.state != State.SUCCEEDED:
                why = child.error.get("message") or f"it is {child.state}."
                raise OperationFailed(f"The data could not be brought back: {why}", code="restore_failed")
            data["restore"] = str(child.pk)

    def _apply(self, release: Release) -> None:
        if self._ctx.done("apply") is not None:
            return
        with self._ctx.step("apply", "Replace what changed") as data, runtime_faults():
            plan = places.runtime().apply(spec_of(release), report=self._report, release=rendered_of(release))
            data["plan"] = plan_rows(plan)

    def _healthy(self, release: Release) -> None:
        if self._ctx.done("healthy") is not None:
            return
        with self._ctx.step("healthy", "Wait until everything stays healthy"), runtime_faults():
            self._ctx.progress("Waiting until everything stays healthy")
            gate.demand_healthy(spec_of(release), self._ctx.checkpoint)

    def _canary(self, release: Release, before: Answer | None) -> dict[str, Any]:
        known = self._ctx.done("canary")
        if known is not None:
            return known
        with self._ctx.step("canary", "Ask the question again") as data:
            if not self._has_api():
                data["skipped"] = "the stack has no service that answers questions"
                return data
            answer = gate.ask(spec_of(release))
            gate.demand_no_worse(before, answer)
            data |= answer.as_dict()
            Release.objects.filter(pk=release.pk).update(schema=gate.schema_of(spec_of(release)))
        return data

    def _serve(self, release: Release, answer: Mapping[str, Any]) -> Outcome:
        with self._ctx.step("serve", "Let the release serve", undoing=True) as data:
            release_serves(release)
            data["release"] = release.number
        plan: list[dict[str, Any]] = (self._ctx.done("apply") or {}).get("plan", [])
        changes = {row["service"]: row["action"] for row in plan if row["action"] != "keep"}
        told = {"release": release.number, "changes": changes, "set_id": release.set_before or None}
        return Outcome({**told, "canary": dict(answer), "restored": self._source.set_to_restore() or None})

    def _return(self, release: Release | None) -> str:
        """Have the release that served serve again, whatever else fails on the way."""
        serving = self._serving()
        if serving is None:
            return "There is no earlier release to go back to."
        with self._ctx.step("return", f"Go back to release {serving.number}", undoing=True) as data:
            data["release"] = serving.number
            tried = spec_of(release).settings if release else {}
            spec, rendered = spec_of(serving, instead_of=tried), rendered_of(serving)
            deployed_set(self._stack.name, rendered)
            self._undo_data()
            try:
                places.runtime().apply(spec, report=self._report, release=rendered)
                gate.demand_healthy(spec, self._ctx.guard)
            except (StackRuntimeError, OperationFailed) as error:
                data["failed"] = error.message
                return _unreturned(serving, release, error.message)
            release_serves(serving)
        return f"Release {serving.number} serves again."

    def _undo_data(self) -> None:
        restored = self._ctx.recorded("data").get("restore")
        if not restored:
            return
        try:
            self._ctx.child(UNDO, {"restore": restored})
        except Cancelled:
            self._ctx.log("The data of the set stays; undo the restore from the overview.", level="warning")

    def _serving(self) -> Release | None:
        """The release that served when this began."""
        number = self._ctx.recorded("candidate").get("serving")
        return self._stack.releases.select_related("stack").filter(number=number).first() if number else None

    def _spec(self) -> StackSpec:
        return places.stack_spec(self._stack.name)

    def _has_api(self) -> bool:
        spec = self._spec()
        return spec.foreign is None and gate.API in spec.services

    def _report(self, status: ServiceStatus) -> None:
        self._ctx.progress("Replacing what changed", note=f"{status.title}: {status.detail or status.state}")


def _unreturned(serving: Release, release: Release | None, why: str) -> str:
    told = f"Going back to release {serving.number} did not succeed either: {why.partition(chr(10))[0]}"
    if release is not None and release.set_before:
        told += (
            f" The data from before is in the set {release.set_before}: restoring it starts release {serving.number}."
        )
    return told


def changed_names(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names whose digests differ, or that only one of the two has."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
