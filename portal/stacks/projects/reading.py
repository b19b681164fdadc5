"""What the files of a project say: its services, what it needs an administrator for, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.utils import timezone

from portal.core import places
from portal.operations.asking import by_worker
from portal.operations.errors import OperationRefused
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.foreign.description import read_foreign, write_foreign
from portal.runtime.compose.foreign.model import ending, needs_of, resolved, titles_of
from portal.runtime.compose.project import View
from portal.runtime.errors import StackFileError
from portal.runtime.foreign import Foreign
from portal.runtime.protocol import Problem
from portal.runtime.spec import StackSpec
from portal.stacks.models import Project, Stack
from portal.stacks.projects.checkout import DEFAULT_FILES

DOTENV = ".env"
PATIENCE_SECONDS = 15.0


def compose_runtime() -> ComposeRuntime:
    """The runtime of this installation, which projects of others need to be Docker Compose."""
    runtime = places.runtime()
    assert isinstance(runtime, ComposeRuntime)
    return runtime


def project_read(project: Project) -> Mapping[str, Any]:
    """Look at the files anew, and keep what they say.

    Returns:
        The model, as Compose resolves it.

    Raises:
        StackFileError: they are not what can be run; kept with the project too, and nothing else changes.
        StackRuntimeError: the engine or Compose is not there.
    """
    spec = places.stack_spec(project.stack.name)
    assert spec.foreign is not None
    try:
        model, view = model_of(spec)
    except StackFileError as fault:
        Project.objects.filter(pk=project.pk).update(fault=fault_of(fault))
        raise
    titles = titles_of(model)
    write_foreign(places.known_folder(spec.project), replace(spec.foreign, services=titles, once=ending(model)))
    told = [str(need) for need in needs_of(view, dict(model))]
    Project.objects.filter(pk=project.pk).update(fault={}, needs=told, fetched_at=timezone.now())
    project.refresh_from_db()
    return model


def model_of(spec: StackSpec) -> tuple[dict[str, Any], View]:
    """The model as Compose resolves it, and the stack it was resolved for; raises as `project_read`."""
    runtime = compose_runtime()
    view = runtime.view(spec)
    return resolved(runtime.docker, view), view


def fault_of(fault: StackFileError) -> dict[str, str]:
    """What is kept of a fault: where, and what."""
    return {"place": fault.path, "message": fault.message.removeprefix(f"{fault.path}: ")}


def project_of(stack: str) -> Project | None:
    """Where the stack comes from; None for one of the product's own."""
    return Project.objects.select_related("stack").filter(stack__name=stack).first()


def consent_problems(stack: str) -> list[Problem]:
    """What the files need now and no administrator has agreed to.

    Raises:
        StackFileError: they cannot be read.
    """
    project = project_of(stack)
    if project is None:
        return []
    project_read(project)
    remedy = f"look at it; an administrator agrees with `python3 manage.py stacks allow {stack}`"
    return [Problem("needs", f"{need} (nobody agreed to that)", remedy) for need in not_granted(project)]


def need_rows(stack: Stack) -> list[dict[str, Any]]:
    """What its files need an administrator for, and whether one agreed; nothing for a stack of the product's own."""
    project = project_of(stack.name)
    return [{"what": need, "granted": need in project.granted} for need in project.needs] if project else []


def demand_fetched(stack: Stack) -> None:
    """
    Raises:
        OperationRefused: its files were never here.
    """
    project = project_of(stack.name)
    if project is not None and project.fetched_at is None and not project.fault:
        raise OperationRefused(
            f"The files of {stack.name} are not here yet.",
            code="not_fetched",
            remedy=f"`python3 manage.py stacks update {stack.name}` fetches them.",
        )


def not_granted(project: Project) -> list[str]:
    return [need for need in project.needs if need not in project.granted]


@by_worker(patience=PATIENCE_SECONDS)
def describe_first(*, stack: str, files: list[str], profiles: list[str]) -> None:
    """Keep that the stack is somebody else's project, before there are files of it: nobody may take it for one of the
    product's own.

    Raises:
        OperationFailed: the worker is not there.
    """
    if read_foreign(places.known_folder(stack)) is None:
        write_foreign(places.known_folder(stack), Foreign(tuple(files), (DOTENV,), tuple(profiles)))


def describe_missing() -> None:
    """Do that for every project of which nothing is kept here but its row."""
    for project in Project.objects.select_related("stack"):
        if read_foreign(places.known_folder(project.stack.name)) is None:
            describe_first(
                stack=project.stack.name, files=project.files or [DEFAULT_FILES[0]], profiles=project.profiles
            )
            Project.objects.filter(pk=project.pk).update(fetched_at=None)


def describe(project: Project, files: list[str], *, env_files: list[str] | None = None, home: str = "") -> None:
    """Keep which files make up the project; its services stay known as they were."""
    known = places.known_folder(project.stack.name)
    before = read_foreign(known)
    fresh = Foreign(
        files=tuple(files),
        env_files=tuple([DOTENV] if env_files is None else env_files),
        profiles=tuple(project.profiles),
        home=home,
        services=before.services if before else {},
        once=before.once if before else (),
    )
    write_foreign(known, fresh)
