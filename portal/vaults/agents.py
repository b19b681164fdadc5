"""Where a backup agent runs: a process of this machine, or a container beside the stack."""

from __future__ import annotations

import os.path
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings

from backups.process import Running
from portal.core import places
from portal.operations.errors import OperationFailed
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.beside import (
    Beside,
    Bind,
    ContainerRunning,
    ensure_volumes,
    networks_of,
    remove_labelled,
)
from portal.runtime.compose.location import VOLUMES as BELOW
from portal.runtime.errors import StackRuntimeError

ARGUMENTS = ("-m", "backups", "agent")
COMMAND = (sys.executable, *ARGUMENTS)
VOLUMES = ("documents", "vectors", "models", "index")
# What every agent container carries, and what says whose it is.
LABEL, OPERATION, ATTEMPT = "ragkeep.agent", "ragkeep.operation", "ragkeep.attempt"
# Below the folder of all state: what an agent writes, and what it only reads. The stack's own folder comes to these.
WRITTEN = ("operations", "repositories", "restored")
READ = ("control/secrets",)
# Folders of the host that hold no data of anybody: of these and what is below them no agent gets anything, ...
SYSTEM = ("/proc", "/sys", "/dev", "/run", "/var/run", "/boot", "/var/lib/docker", "/var/lib/containerd")
# ... to these and what is below them none writes, ...
PROGRAMS = ("/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/var/spool")
# ... and these as a whole are far more than any job needs.
WHOLE = ("/", "/var", "/var/lib")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
Job = Mapping[str, Any]


def agent_opened(job: Job) -> Running:
    """Start an agent, which waits for its job on standard input; the end of the block is its end.

    Raises:
        OperationFailed: its container could not be made, or the job names a folder that no agent gets.
    """
    runtime = places.runtime()
    if not isinstance(runtime, ComposeRuntime):
        return Running(COMMAND, cwd=settings.CHECKOUT)
    try:
        stack = _stack_of(job)
        if stack:
            ensure_volumes(runtime.docker, stack, VOLUMES)
        wanted = container_of(job, Path(settings.VAR_DIR), settings.PORTAL_PROJECT, settings.AGENT_IMAGE)
        return ContainerRunning(runtime.docker, _joined(runtime, wanted))
    except StackRuntimeError as fault:
        raise OperationFailed(
            f"The agent's container could not be started: {fault.message}",
            code="agent_not_started",
            remedy=fault.remedy or "A folder that it names must be there on the host, readable for uid 1000.",
        ) from None


def _joined(runtime: ComposeRuntime, wanted: Beside) -> Beside:
    return replace(wanted, networks=networks_of(runtime.docker, wanted.networks))


def predecessors_removed(operation: str) -> bool:
    """Remove every container that an earlier attempt of the operation left; False when one could not be removed."""
    runtime = places.runtime()
    if not isinstance(runtime, ComposeRuntime):
        return True
    return not remove_labelled(runtime.docker, f"{LABEL}={settings.PORTAL_PROJECT}", f"{OPERATION}={operation}")


def container_of(job: Job, var: Path, portal: str, image: str) -> Beside:
    """The container for a job. Pure.

    It is in the stack's own network, in that of the portal's database, which every set holds, and in the one that leads
    out to repositories elsewhere.

    Args:
        var: the folder of all state, the same on the engine's host and inside.
        portal: the portal's Compose project.

    Raises:
        OperationFailed: the job names a folder that no agent gets.
    """
    stack = _stack_of(job)
    operation, attempt = str(job["operation"]), str(job["attempt"])
    return Beside(
        name=f"{portal}-agent-{operation[:8]}-{attempt}-{secrets.token_hex(3)}",
        image=image,
        command=("python", *ARGUMENTS),
        networks=(*([f"{stack}_backend"] if stack else []), f"{portal}_inner", f"{portal}_outlet"),
        volumes={f"{stack}_{name}": str(BELOW / name) for name in VOLUMES} if stack else {},
        binds=tuple(binds(job, var, stack)),
        labels={LABEL: portal, OPERATION: operation, ATTEMPT: attempt},
        environment={"RAGKEEP_VAR": str(var), "TMPDIR": str(job["work"])},
    )


def binds(job: Job, var: Path, stack: str) -> Iterator[Bind]:
    """What of the host a job needs: some of the state, the repositories and further sources that it names, and the
    folder that its target is to be in.

    Raises:
        OperationFailed: one of them is no folder for an agent.
    """
    shared = {**dict.fromkeys((var / name for name in WRITTEN), True), **dict.fromkeys((var / n for n in READ), False)}
    if stack:
        shared[var / "stacks" / stack] = False
    yield from (Bind(str(path), writable) for path, writable in shared.items())
    named = {path: writable for path, writable in _named(job) if not _covered(path, [*shared, BELOW])}
    for path, writable in named.items():
        _demand_open(path, writable, var)
    outer = [path for path in sorted(named) if not _covered(path, [other for other in named if other != path])]
    yield from (Bind(str(path), named[path]) for path in outer)


def demand_own_work(job: Job, var: Path) -> None:
    """
    Raises:
        OperationFailed: the job would have its work, which is removed at the end, elsewhere than all others.
    """
    work = Path(os.path.normpath(str(job["work"])))
    if work.parent != var / "operations":
        raise _refused(f"{work} is no place for the work of an agent", f"Its place is below {var / 'operations'}.")


def _stack_of(job: Job) -> str:
    """The stack's name; empty for a job without one."""
    name = str((job.get("stack") or {}).get("name", ""))
    if name and not NAME.fullmatch(name):
        raise _refused(f"{name[:60]!r} is no name of a stack", "Name one of the stacks that are here.")
    return name


def _demand_open(path: Path, writable: bool, var: Path) -> None:
    """
    Raises:
        OperationFailed: the folder holds the state of the portal or belongs to the system.
    """
    if ".." in path.parts:
        raise _refused(f"{path} does not say where it leads", "Write the path without `..`.")
    if path == var or path in var.parents or var in path.parents:
        raise _refused(
            f"{path} is or holds the portal's own state",
            f"Choose a folder below {var / 'restored'} or {var / 'repositories'}, or one elsewhere.",
        )
    closed = (*SYSTEM, *PROGRAMS) if writable else SYSTEM
    if str(path) in WHOLE or _covered(path, [Path(folder) for folder in closed]):
        raise _refused(
            f"{path} belongs to the system of this host", "Choose a folder that holds data, and nothing else."
        )


def _refused(what: str, remedy: str) -> OperationFailed:
    return OperationFailed(f"No agent is given that: {what}.", code="folder_refused", remedy=remedy)


def _covered(path: Path, by: list[Path]) -> bool:
    return any(path.is_relative_to(other) for other in by)


def _named(job: Job) -> Iterator[tuple[Path, bool]]:
    """The repositories and folders a job names: path, and whether the agent writes there."""
    for repository in (job.get("repository"), (job.get("options") or {}).get("from")):
        url = str((repository or {}).get("url", ""))
        if url.startswith("/"):
            yield Path(url), True
    target = str((job.get("options") or {}).get("target") or "")
    if target.startswith("/"):
        # It is made by the agent.
        yield Path(target).parent, True
    for source in (job.get("stack") or {}).get("extra") or []:
        path = str(source.get("path") or "")
        if path.startswith("/"):
            yield Path(path), False
