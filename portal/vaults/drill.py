"""The operation `drill`: a set comes back in a throw-away stack and is compared there with what it should be."""

from __future__ import annotations

import logging
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DatabaseError
from django.utils import timezone

from backups.secret import write_secret
from portal.core import places
from portal.operations import fencing
from portal.operations.context import Context
from portal.operations.errors import Fenced, OperationError, OperationFailed
from portal.operations.faults import runtime_faults
from portal.operations.models import ACTIVE, Operation
from portal.operations.registry import ClaimOn, Outcome, Params, exclusive, operation_kind, shared
from portal.runtime.protocol import ServiceStatus
from portal.runtime.spec import StackSpec
from portal.vaults.agent import run_agent
from portal.vaults.agents import VOLUMES
from portal.vaults.golden import questions_of_drill
from portal.vaults.jobs import agent_job, host_of, stack_place
from portal.vaults.models import BackupSet, Drill, DrillState
from portal.vaults.restore_choice import set_of
from portal.vaults.words import build_words, what_it_said

log = logging.getLogger(__name__)

# No ingest: a drill sends nothing anywhere. No chat and no entrance: nobody visits it.
SERVICES = ("postgres", "redis", "vectordb", "ollama", "api")
PREFIX = "drill-"
# It works beside the stack that people are using.
NICENESS = 10


def _claims(target: str, params: Params) -> Sequence[ClaimOn]:
    # One throw-away stack at a time: a second one would only make both slow.
    return [shared(target), shared(set_of(params).repository.scope), exclusive(f"drill:{target}")]


def _same_set(_target: str, params: Params) -> str:
    return str(params.get("set"))


@operation_kind("drill", title="Drill", claims=_claims, joins=_same_set)
def drill(ctx: Context) -> Outcome:
    """Params `set`; `plan` when one started it. Whatever an earlier attempt left is removed first; what this one makes
    is removed at its end."""
    found = set_of(ctx.params)
    arena = Arena(ctx)
    began = time.monotonic()
    try:
        with ctx.step("clear", "Clear what an earlier attempt left"):
            arena.remove()
        report = _prove(ctx, arena, found)
    except (Fenced, DatabaseError):
        raise
    except OperationError as error:
        arena.remove_journaled()
        _record(ctx, found, time.monotonic() - began, {"passed": False, "error": error.as_dict()})
        raise
    except Exception:
        arena.remove_journaled()
        raise
    seconds = time.monotonic() - began
    arena.remove_journaled()
    return _outcome(_record(ctx, found, seconds, report))


def _prove(ctx: Context, arena: Arena, found: BackupSet) -> dict[str, Any]:
    """Restore, start, question; returns the agent's comparison with the seconds of each part."""
    clock = Clock()
    with ctx.step("make", "Make a throw-away stack"):
        arena.make()
    arena.start(["postgres"], "start_database", "Start its database")
    clock.lap("make")
    options = {"host": host_of(arena.live)}
    run_agent(ctx, agent_job(
        ctx, "stage", stack=arena.place, repository=found.repository, set_id=found.pk, options=options, plan=found.plan
    ))  # fmt: skip
    clock.lap("stage")
    nothing_live = {"revocations": False}
    run_agent(ctx, agent_job(ctx, "swap", stack=arena.place, set_id=found.pk, options=nothing_live))
    clock.lap("swap")
    arena.start(None, "start", "Start its services and wait until healthy")
    arena.index_words()
    clock.lap("start")
    asked = {"compare": True, "golden": questions_of_drill(found.stack)}
    report = run_agent(ctx, agent_job(
        ctx, "canary", stack=arena.place, set_id=found.pk, options=asked, plan=found.plan
    ))  # fmt: skip
    clock.lap("compare")
    return {**report, "seconds": clock.laps}


class Clock:
    """Seconds of consecutive parts."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = round(now - self._last, 2), now


class Arena:
    """The throw-away stack of one drill: the live stack's description with its own data, ports and secrets."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        live = places.stack_spec(ctx.operation.stack_name)
        self.live = stack_place(live)
        self._spec = arena_spec(live, _project(ctx.operation.pk))

    @property
    def place(self) -> Mapping[str, Any]:
        """The stack as the agent sees it; its ports are known once something was started."""
        return {**stack_place(self._spec), "config": []}

    def make(self) -> None:
        """Fresh secrets and empty volumes."""
        here = places.location(self._spec)
        here.secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in self._spec.secrets:
            write_secret(here.secret(name), secrets.token_urlsafe(24))
        for volume in () if places.in_containers() else VOLUMES:
            (here.volume(volume) / "live").mkdir(parents=True, exist_ok=True)

    def start(self, services: Sequence[str] | None, name: str, title: str) -> None:
        with self._ctx.step(name, title), runtime_faults():
            places.runtime().apply(self._spec, services=services, report=self._report)

    def index_words(self) -> None:
        """Build the index of words, which no set holds: the worker that would do it does not run here."""
        with self._ctx.step("index_words", "Index the words of the documents"), runtime_faults():
            done = build_words(self._spec, "api")
            if done.returncode:
                raise OperationFailed(
                    f"The index of words could not be built: {what_it_said(done)}", code="words_not_indexed"
                )

    def remove(self) -> None:
        """Stop and delete it; nothing happens when it is not there."""
        with runtime_faults():
            places.runtime().remove(self._spec, data=True)
        # What the agent noted there about a staging that is gone would make it skip the next one.
        fencing.clear_work_dir(self._ctx.operation.pk)

    def remove_journaled(self) -> None:
        with self._ctx.step("remove", "Remove the throw-away stack", undoing=True):
            self.remove()

    def _report(self, status: ServiceStatus) -> None:
        self._ctx.progress("Start", note=f"{status.title}: {status.state}")


def drills_abandoned() -> list[str]:
    """Remove throw-away stacks whose operation has ended without doing it; returns their names.

    The stacks are looked up before the operations: one that is made in between belongs to a living operation.
    """
    found = sorted(path.name for path in places.runtime().paths.root(PREFIX).parent.glob(f"{PREFIX}*"))
    living = Operation.objects.filter(kind="drill", state__in=ACTIVE).values_list("pk", flat=True)
    left = sorted(set(found) - {_project(pk) for pk in living})
    for name in left:
        log.warning("the throw-away stack %s has no operation any more and is removed", name)
        places.runtime().remove(places.stack_spec(name), data=True)
    return left


def _project(operation_id: uuid.UUID) -> str:
    return f"{PREFIX}{str(operation_id)[:8]}"


def arena_spec(live: StackSpec, project: str) -> StackSpec:
    """`live` as a throw-away stack: free ports, this machine only, the few services that prove a set."""
    settings = places.given_settings(places.location(live))
    services = [name for name in SERVICES if name in live.services]
    overlays = places.arena_overlays(live)
    return live.derive(project=project, services=services, settings=settings, niceness=NICENESS, overlays=overlays)


def _record(ctx: Context, found: BackupSet, seconds: float, report: Mapping[str, Any]) -> Drill:
    passed = bool(report["passed"])
    if passed:
        BackupSet.objects.filter(pk=found.pk).update(proven_at=timezone.now())
    row, _ = Drill.objects.update_or_create(
        operation=ctx.operation,
        defaults={
            "set": found,
            "state": DrillState.PASSED if passed else DrillState.FAILED,
            "seconds": round(seconds, 2),
            "report": _without_lists(report),
        },
    )
    return row


def _outcome(row: Drill) -> Outcome:
    if row.state == DrillState.FAILED:
        raise DrillFailed(row)
    return Outcome(drill_summary(row))


class DrillFailed(OperationError):  # noqa: N818 - says what happened
    """The set came back, but not as it was."""

    code = "drill_failed"

    def __init__(self, row: Drill) -> None:
        wrong = [check["name"] for check in row.report.get("checks", []) if not check["ok"]]
        if not row.report.get("canary", {}).get("passed", True):
            wrong.append("the answers to its questions")
        golden = row.report.get("golden", {})
        if not golden.get("passed", True):
            wrong.append(f"the documents found for {golden['questions'] - golden['found']} questions")
        super().__init__(
            f"The set {row.set_id} came back, but differs in: {', '.join(wrong)}.",
            remedy="Read the drill's report; take a new backup and drill that one.",
            data=drill_summary(row),
        )


def drill_summary(row: Drill) -> dict[str, Any]:
    """A drill as the result of an operation, and as `--json` prints it."""
    return {"set_id": row.set_id, "state": row.state, "seconds": row.seconds, "report": row.report}


def _without_lists(report: Mapping[str, Any]) -> dict[str, Any]:
    """Retrieved ids of every question are too much for a row; their agreement stays."""
    return {
        name: {key: value for key, value in part.items() if key != "retrieved"} if isinstance(part, dict) else part
        for name, part in report.items()
        if name not in ("state", "set_id")
    }
