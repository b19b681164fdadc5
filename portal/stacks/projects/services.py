"""Adding projects, agreeing to what they need, removing them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from backups.secret import Secret
from portal.core import places
from portal.core.services import audit
from portal.operations.errors import InputInvalid, OperationRefused
from portal.runtime.compose.containers import PROJECT
from portal.stacks.models import Project, ProjectKind, Stack, StackState
from portal.stacks.projects import git
from portal.stacks.projects.adoption import project_running
from portal.stacks.projects.checkout import DEFAULT_FILES
from portal.stacks.projects.reading import compose_runtime, describe_first
from portal.stacks.projects.secretfiles import GIT, forget_all, secret_keep
from portal.stacks.projects.sources import upload_file
from portal.stacks.releases import kept_images

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
# Words of the portal's own addresses.
TAKEN = frozenset({"add", "adopt"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A project to be added: exactly where from, and which of its files and profiles."""

    name: str
    kind: str
    place: str = ""
    branch: str = ""
    folder: str = ""
    files: Sequence[str] = ()
    profiles: Sequence[str] = field(default_factory=tuple)


def demand_compose() -> None:
    """
    Raises:
        OperationRefused: this installation runs no containers.
    """
    if not places.in_containers():
        raise OperationRefused(
            "Compose projects need Docker, and this installation runs its services as processes.",
            code="no_compose",
            remedy="`python3 manage.py up --runtime compose` makes one that has it.",
        )


def project_get(name: str) -> Project:
    """
    Raises:
        OperationRefused: no stack of that name is somebody else's project.
    """
    found = Project.objects.select_related("stack").filter(stack__name=name).first()
    if found is None:
        raise OperationRefused(
            f"No Compose project called {name} was added here.",
            code="unknown_stack",
            remedy="`python3 manage.py stacks` lists them.",
        )
    return found


def project_add(wanted: Wanted, *, token: Secret | None = None, user: User | None = None) -> Project:
    """Have the portal know a project; its files are fetched, or copied, by an operation that follows.

    Raises:
        InputInvalid: something of it cannot be.
        OperationRefused: there is a stack of that name, or a project that runs and is not to be adopted.
        OperationFailed: the worker does not answer; nothing was added.
        StackRuntimeError: the engine does not answer.
    """
    demand_compose()
    _demand_valid(wanted)
    if wanted.kind == ProjectKind.ADOPTED:
        project_running(wanted.name)
    elif compose_runtime().docker.engine.containers(f"{PROJECT}={wanted.name}"):
        raise OperationRefused(
            f"A Compose project called {wanted.name} runs here already.",
            code="runs",
            remedy=f"`python3 manage.py stacks adopt {wanted.name}` takes it over; or choose another name.",
        )
    with transaction.atomic():
        if Stack.objects.filter(name=wanted.name).exists() or wanted.name == settings.PORTAL_PROJECT:
            raise OperationRefused(f"There is a stack called {wanted.name} already.", code="name_taken")
        stack = Stack.objects.create(name=wanted.name, runtime=places.COMPOSE, state=StackState.STOPPED)
        project = Project.objects.create(
            stack=stack,
            kind=wanted.kind,
            place=wanted.place,
            branch=wanted.branch,
            folder=wanted.folder,
            files=list(wanted.files),
            profiles=list(wanted.profiles),
        )
        describe_first(stack=stack.name, files=list(wanted.files) or [DEFAULT_FILES[0]], profiles=list(wanted.profiles))
        audit(action="project.added", target=stack.target, user=user, data={"kind": wanted.kind, "place": wanted.place})
        if token is not None:
            secret_keep(stack=stack.name, kind=GIT, text=git.credentials_line(wanted.place, token.reveal()))
    return project


def _demand_valid(wanted: Wanted) -> None:
    if not NAME.fullmatch(wanted.name):
        raise InputInvalid({"name": "Expected at most 40 lower-case letters, digits, hyphens and underscores."})
    if wanted.name in TAKEN:
        raise InputInvalid({"name": f"{wanted.name} is a word of the portal's own addresses. Choose another name."})
    if wanted.kind == ProjectKind.GIT:
        git.demand_address(wanted.place)
        git.demand_branch(wanted.branch)
    if wanted.kind == ProjectKind.FOLDER and not wanted.place.startswith("/"):
        raise InputInvalid({"folder": "Expected a whole path, beginning with a slash."})
    for file in wanted.files:
        if file.startswith("/") or ".." in Path(file).parts:
            raise InputInvalid({"file": f"{file} is not below the project's folder."})


def project_allow(*, project: Project, confirm: str, user: User | None = None) -> list[str]:
    """Agree to all that the project needs an administrator for, as an administrator.

    Args:
        confirm: the name of the stack, typed.

    Returns:
        What was agreed to now.

    Raises:
        OperationRefused: it was not typed, or this account is no administrator.
    """
    if user is not None and not user.is_staff:
        raise OperationRefused("Only an administrator may agree to that.", code="not_admin")
    if confirm != project.stack.name:
        raise InputInvalid({"confirm": f"Type the name of the stack, {project.stack.name}, to agree."})
    fresh = [need for need in project.needs if need not in project.granted]
    with transaction.atomic():
        Project.objects.filter(pk=project.pk).update(granted=list(project.needs))
        audit(action="project.allowed", target=project.stack.target, user=user, data={"needs": fresh})
    project.refresh_from_db()
    return fresh


def project_token(*, project: Project, token: str, user: User | None = None) -> None:
    """Fetch a Git repository with other credentials from now on.

    Raises:
        InputInvalid: there is no token, or the project comes from elsewhere.
        OperationFailed: the worker did not take it; the one before is used.
    """
    if project.kind != ProjectKind.GIT or not token:
        raise InputInvalid({"token": "Expected the token of a project that comes from a Git repository."})
    with transaction.atomic():
        audit(action="project.token_changed", target=project.stack.target, user=user)
        secret_keep(stack=project.stack.name, kind=GIT, text=git.credentials_line(project.place, token))


def demand_confirmed(name: str, confirm: str) -> None:
    """
    Raises:
        InputInvalid: the name was not typed.
    """
    if confirm != name:
        raise InputInvalid({"confirm": f"Type the name of the stack, {name}, to have that removed."})


def project_erase(project: Project, *, stop: bool, data: bool) -> list[str]:
    """Remove a stack from the portal.

    Args:
        stop: its containers and networks too.
        data: its volumes and our copy of its files too.

    Returns:
        What stays, in words.

    Raises:
        StackRuntimeError: the engine refused.
    """
    runtime, name = compose_runtime(), project.stack.name
    if stop or data:
        runtime.remove(places.stack_spec(name), data=data)
    releases = list(project.stack.releases.all())
    runtime.let_images_go([image for release in releases for image in kept_images(release)])
    for release in releases:
        Path(release.sealed_file).unlink(missing_ok=True)
    forget_all(name)
    upload_file(name).unlink(missing_ok=True)
    shutil.rmtree(places.known_folder(name), ignore_errors=True)
    project.stack.delete()
    if data:
        return [f"the folder {project.place}"] if project.kind in (ProjectKind.FOLDER, ProjectKind.ADOPTED) else []
    kept = ["its volumes", f"our copy of its files in {runtime.paths.root(name)}"]
    return kept if stop else ["its containers", *kept]
