"""The operations on projects: `project.fetch`, `project.adopt`, `project.remove`."""

from __future__ import annotations

from collections.abc import Sequence

from portal.core.services import audit
from portal.operations.context import Context
from portal.operations.errors import OperationFailed, OperationRefused
from portal.operations.faults import runtime_faults
from portal.operations.models import State
from portal.operations.registry import ClaimOn, Outcome, Params, exclusive, operation_kind
from portal.stacks.models import Project, ProjectKind
from portal.stacks.projects import adoption, sources
from portal.stacks.projects.reading import not_granted, project_read
from portal.stacks.projects.services import project_erase, project_get

DEPLOY = "stack.deploy"


def _claims(target: str, _params: Params) -> Sequence[ClaimOn]:
    return [exclusive(target)]


def _joins(_target: str, params: Params) -> str:
    return "deploy" if params.get("deploy") else ""


def _check(target: str, _params: Params) -> None:
    project_get(target.partition(":")[2])


def _check_fetch(target: str, _params: Params) -> None:
    if project_get(target.partition(":")[2]).kind == ProjectKind.ADOPTED:
        raise OperationRefused("An adopted project is read with `project.adopt`.", code="adopted")


@operation_kind("project.fetch", title="Fetch the project", claims=_claims, joins=_joins, check=_check_fetch)
def project_fetch(ctx: Context) -> Outcome:
    """Bring our copy of the files up to date. Params: `deploy` (false), put into service what they say."""
    project = project_get(ctx.operation.stack_name)
    with ctx.step("fetch", "Bring the files up to date") as data, runtime_faults():
        sources.fetch(ctx, project)
        data["revision"] = project.revision
    _read(ctx, project)
    found = {"revision": project.revision, "needs": project.needs, "not_granted": not_granted(project)}
    if not ctx.params.get("deploy"):
        return Outcome(found)
    child = ctx.child(DEPLOY, {"note": f"Fetched {project.revision[:12]}.".replace(" .", ".")})
    if child.state != State.SUCCEEDED:
        why = child.error.get("message") or f"it is {child.state}."
        raise OperationFailed(f"The deploy did not succeed: {why}", code=child.error.get("code", "failed"))
    return Outcome({**found, "release": child.result.get("release"), "changes": child.result.get("changes")})


def _read(ctx: Context, project: Project) -> None:
    with ctx.step("read", "Read the files"), runtime_faults():
        project_read(project)


@operation_kind("project.adopt", title="Adopt a running project", claims=_claims, check=_check)
def project_adopt(ctx: Context) -> Outcome:
    """Take over a project that runs, as it runs; nothing of it is touched."""
    project = project_get(ctx.operation.stack_name)
    with ctx.step("fetch", "Copy its files"), runtime_faults():
        adoption.copy_files(ctx, project)
    _read(ctx, project)
    with ctx.step("take over", "Compare its containers with them") as data, runtime_faults():
        told = adoption.take_over(project)
        data["differs"] = told.differs
    return Outcome({"release": told.release, "differs": told.differs, "needs": project.needs})


@operation_kind("project.remove", title="Remove a stack", claims=_claims, check=_check)
def project_remove(ctx: Context) -> Outcome:
    """Remove the stack from the portal. Params: `stop` (true), remove its containers; `data` (false), its volumes and
    our copy of its files too. The folder it came from is never touched."""
    project = project_get(ctx.operation.stack_name)
    stop, data = ctx.params.get("stop") is not False, ctx.params.get("data") is True
    audit(action="project.removed", target=project.stack.target, user=ctx.operation.created_by, data=dict(ctx.params))
    with ctx.step("remove", "Remove it", undoing=True), runtime_faults():
        kept = project_erase(project, stop=stop, data=data)
    return Outcome({"kept": kept})
