"""Projects that run already: found by Compose's own labels, taken over without touching a container."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings

from portal.core import places
from portal.operations.context import Context
from portal.operations.errors import OperationFailed
from portal.runtime.compose import argv, contents, record
from portal.runtime.compose.containers import CONFIG_HASH, PROJECT, SERVICE
from portal.runtime.compose.foreign.description import source_folder
from portal.runtime.compose.foreign.hostfolder import HostFolder, host_folder
from portal.runtime.compose.foreign.scan import scan
from portal.runtime.compose.render import dump
from portal.runtime.compose.rendering import rendering
from portal.runtime.errors import StackRuntimeError
from portal.stacks.models import Project, Stack
from portal.stacks.projects.checkout import DEFAULT_FILES
from portal.stacks.projects.reading import compose_runtime, describe, model_of
from portal.stacks.releases import release_note_running

WORKING_DIR = "com.docker.compose.project.working_dir"
CONFIG_FILES = "com.docker.compose.project.config_files"
ENV_FILES = "com.docker.compose.project.environment_file"
# Files that name further files; deeper than anybody nests them.
ROUNDS = 20


@dataclass(slots=True)
class Found:
    """A Compose project that runs here and that the portal does not know."""

    name: str
    folder: str
    files: list[str]
    env_files: list[str]
    image: str
    services: list[str] = field(default_factory=list)

    @property
    def obstacle(self) -> str:
        """Why it cannot be adopted; empty when it can."""
        if not self.folder or not self.files:
            return "its containers do not say where its files are"
        outside = [file for file in (*self.files, *self.env_files) if not _below(file, self.folder)]
        return f"{outside[0]} is not below its folder {self.folder}" if outside else ""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The release that was recorded of what runs, None when something `differs`: service -> why."""

    release: int | None
    differs: Mapping[str, str]


def projects_running() -> list[Found]:
    """Every Compose project of this host that is neither a stack here nor the portal's own.

    Raises:
        StackRuntimeError: the engine does not answer.
    """
    own = {settings.PORTAL_PROJECT, *Stack.objects.values_list("name", flat=True)}
    found: dict[str, Found] = {}
    for container in compose_runtime().docker.engine.containers(PROJECT):
        labels = container["Labels"]
        name = labels[PROJECT]
        if name in own or labels.get("ragkeep.home"):
            continue
        one = found.setdefault(name, _found(name, container))
        if labels.get(SERVICE) and labels[SERVICE] not in one.services:
            one.services.append(labels[SERVICE])
    return sorted(found.values(), key=lambda one: one.name)


def _found(name: str, container: Mapping[str, Any]) -> Found:
    labels = container["Labels"]
    files, env_files = (labels.get(label, "").split(",") for label in (CONFIG_FILES, ENV_FILES))
    folder = labels.get(WORKING_DIR, "")
    return Found(name, folder, [one for one in files if one], [one for one in env_files if one], container["ImageID"])


def _below(path: str, folder: str) -> bool:
    return PurePosixPath(folder) in PurePosixPath(path).parents


def project_running(name: str) -> Found:
    """
    Raises:
        OperationFailed: no project of that name runs here, or it cannot be adopted.
    """
    found = next((one for one in projects_running() if one.name == name), None)
    if found is None:
        raise OperationFailed(f"No Compose project called {name} runs here.", code="not_running")
    if found.obstacle:
        raise OperationFailed(
            f"{name} cannot be adopted: {found.obstacle}.",
            code="not_adoptable",
            remedy="Add it from its folder instead.",
        )
    return found


def copy_files(ctx: Context, project: Project) -> None:
    """Copy what Compose reads of the project: its files and those they name, none of the data beside them.

    Raises:
        OperationFailed, StackFileError, StackRuntimeError
    """
    labels = _labels(project.stack.name)
    home = labels.get(WORKING_DIR) or project.place
    files = [_inner(file, home) for file in labels.get(CONFIG_FILES, "").split(",") if file] or list(project.files)
    env_files = [_inner(file, home) for file in labels.get(ENV_FILES, "").split(",") if file]
    root = places.runtime().paths.root(project.stack.name)
    describe(project, files or [DEFAULT_FILES[0]], env_files=env_files or None, home=home)
    with host_folder(compose_runtime().docker, home, labels["image"]) as host:
        _copy(ctx, host, source_folder(root), files, env_files or [".env"])
    Project.objects.filter(pk=project.pk).update(place=home, files=files)
    project.refresh_from_db()


def _copy(ctx: Context, host: HostFolder, target: Path, files: list[str], env_files: list[str]) -> None:
    target.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name in files:
        if not _fetched(host, target, name):
            raise OperationFailed(f"The file {name} of the project is gone.", code="no_file")
    for name in env_files:
        _fetched(host, target, name)
    asked: set[Path] = set()
    for _ in range(ROUNDS):
        ctx.checkpoint()
        looked = scan(target, files, [name for name in env_files if (target / name).exists()])
        if not (fresh := [path for path in looked.missing if path not in asked]):
            return
        for path in fresh:
            asked.add(path)
            _fetched(host, target, str(path.relative_to(looked.root)))


def _fetched(host: HostFolder, target: Path, name: str) -> bool:
    place = target / name
    fresh = place.with_name(f".{place.name}.new")
    if not host.copy(name, fresh):
        return False
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    fresh.replace(place)
    return True


def _inner(path: str, folder: str) -> str:
    return str(PurePosixPath(path).relative_to(folder)) if _below(path, folder) else path


def _labels(name: str) -> dict[str, str]:
    found = compose_runtime().docker.engine.containers(f"{PROJECT}={name}")
    if not found:
        raise OperationFailed(f"No Compose project called {name} runs here.", code="not_running")
    return {**found[0]["Labels"], "image": found[0]["ImageID"]}


def take_over(project: Project) -> TakenOver:
    """Remember the containers as started with these files, where that is so, and record the release that runs.

    Raises:
        StackRuntimeError
    """
    runtime, spec = compose_runtime(), places.stack_spec(project.stack.name)
    view = runtime.view(spec)
    if not view.key.is_file():
        record.write_private(view.key, contents.key(view.key))
    found = rendering(runtime.docker, view)
    hashes = _hashes(project)
    services, differs = {}, {}
    for container in runtime.docker.engine.containers(f"{PROJECT}={spec.project}"):
        name, label = container["Labels"].get(SERVICE, ""), container["Labels"].get(CONFIG_HASH, "")
        if name not in found.wanted:
            differs[name] = "runs, and its files do not have it"
        elif hashes.get(name) != label:
            differs[name] = "was started with other files or variables than those in its folder now"
        else:
            services[name] = found.wanted[name].kept(label)
    record.save(view.record, record.load(view.record).started(services))
    plan = runtime.plan(spec)
    differs |= {change.service: change.reason for change in plan.changes if change.action != "keep"} | differs
    release = None if differs else release_note_running(project.stack.name)
    return TakenOver(release.number if release else None, differs)


def _hashes(project: Project) -> dict[str, str]:
    """What Compose's hash of each service is, of the files as they stand: none of our additions."""
    runtime, spec = compose_runtime(), places.stack_spec(project.stack.name)
    model, view = model_of(spec)
    words = argv.compose(spec.project, [argv.STDIN], Path(view.source.parent))
    told = runtime.docker.run([*words, "--profile", "*", "config", "--hash", "*"], stdin=dump(model), check=True)
    if not told.stdout.strip():
        raise StackRuntimeError("Compose computes no hash of the project's services", "update Docker's compose plugin")
    return dict(line.split() for line in told.stdout.splitlines() if line.strip())


def as_json(found: Found) -> dict[str, Any]:
    """What `--json` and pages show of it."""
    shown = {"name": found.name, "folder": found.folder, "files": found.files, "services": found.services}
    return json.loads(json.dumps({**shown, "obstacle": found.obstacle}))  # type: ignore[no-any-return]
