"""Where the files of a project come from, and how they get to our copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from django.conf import settings

from portal.core import places
from portal.operations.context import Context
from portal.operations.errors import OperationFailed
from portal.runtime.compose.foreign.description import source_folder
from portal.runtime.compose.foreign.hostfolder import host_folder
from portal.stacks.models import Project, ProjectKind
from portal.stacks.projects import checkout, git
from portal.stacks.projects.checkout import Intake
from portal.stacks.projects.reading import compose_runtime, describe
from portal.stacks.projects.secretfiles import GIT, secret_file

INCOMING = "incoming"
LISTING = "source.json"


def fetch(ctx: Context, project: Project) -> None:
    """Bring our copy of a project up to date.

    Raises:
        OperationFailed: its files cannot be had; our copy is as it was.
        StackRuntimeError
    """
    root = places.runtime().paths.root(project.stack.name)
    if not (root / LISTING).exists():
        # Before there are files: nobody may take the stack for one of the product's own.
        describe(project, project.files or [checkout.DEFAULT_FILES[0]])
    work = root / INCOMING
    try:
        taken = Intake(work / "files")
        GETTERS[project.kind](ctx, project, taken, work)
        files = checkout.files_of(taken.folder, list(project.files))
        checkout.place(taken.folder, source_folder(root), root / LISTING)
        describe(project, files)
        project.save(update_fields=["revision"])
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _from_folder(_ctx: Context, project: Project, taken: Intake, work: Path) -> None:
    folder = Path(project.place)
    if not below_roots(folder):
        raise OperationFailed(
            f"{folder} is not below a folder that projects may come from.",
            code="not_allowed",
            remedy=f"Put it below {' or '.join(map(str, settings.PROJECT_ROOTS))}, or set RAGKEEP_PROJECT_ROOTS.",
        )
    if folder.is_dir():
        taken.copy_tree(folder)
        return
    if not places.in_containers():
        raise OperationFailed(f"There is no folder {folder}.", code="no_folder")
    with host_folder(compose_runtime().docker, project.place, settings.AGENT_IMAGE) as found:
        found.copy(".", work / "host")
    taken.copy_tree(work / "host")


def below_roots(folder: Path) -> bool:
    """Whether projects may be read from there; links on the way count as what they lead to."""
    real = folder.resolve()
    roots = [root.resolve() for root in settings.PROJECT_ROOTS]
    return any(root == real or root in real.parents for root in roots)


def _from_upload(_ctx: Context, project: Project, taken: Intake, _work: Path) -> None:
    waiting = upload_file(project.stack.name)
    if not waiting.is_file():
        raise OperationFailed("Nothing was uploaded.", code="no_upload", remedy="Upload the project again.")
    checkout.unpack(waiting, taken)
    waiting.unlink()


def _from_git(ctx: Context, project: Project, taken: Intake, work: Path) -> None:
    if project.place.startswith("file://") and not below_roots(Path(project.place.removeprefix("file://"))):
        raise OperationFailed(f"{project.place} is not below a folder that projects may come from.", code="not_allowed")
    ctx.progress("Fetching the repository")
    token = secret_file(project.stack.name, GIT)
    project.revision = git.clone(project.place, project.branch, work / "git", token if token.is_file() else None)
    inner = (work / "git" / project.folder).resolve()
    if (work / "git").resolve() not in (inner, *inner.parents) or not inner.is_dir():
        raise OperationFailed(f"The repository has no folder {project.folder}.", code="no_folder")
    taken.copy_tree(inner)


GETTERS: dict[str, Callable[[Context, Project, Intake, Path], None]] = {
    ProjectKind.FOLDER: _from_folder,
    ProjectKind.UPLOAD: _from_upload,
    ProjectKind.GIT: _from_git,
}


def upload_keep(stack: str, pieces: Iterable[bytes]) -> None:
    """Have an uploaded project wait for the worker; whoever looks sees all of it or none."""
    target = upload_file(stack)
    fresh = target.with_name(f".{target.name}.new")
    with fresh.open("wb") as sink:
        fresh.chmod(0o600)
        for piece in pieces:
            sink.write(piece)
    fresh.replace(target)


def upload_file(stack: str) -> Path:
    """Where an uploaded project waits to be taken in."""
    folder = Path(settings.VAR_DIR) / "control" / "pending" / "uploads"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / stack
