"""The jobs that the agent is given; see backups.job for the other side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portal.core import places
from portal.operations.context import Context
from portal.operations.errors import OperationFailed
from portal.operations.registry import Params
from portal.runtime.spec import StackSpec
from portal.runtime.translate import Location
from portal.vaults.agents import VOLUMES
from portal.vaults.models import ExtraSource, Plan, Repository, SourceKind

DATABASE = "rag"
Job = dict[str, Any]


def agent_job(
    ctx: Context,
    kind: str,
    *,
    stack: Mapping[str, Any] | None = None,
    repository: Repository | None = None,
    set_id: str | None = None,
    options: Mapping[str, Any] | None = None,
    operation: str = "",
    plan: Plan | None = None,
) -> Job:
    """A job of the operation at work. What a plan started keeps to the plan's limits.

    Args:
        operation: another operation's id, to undo or discard what that one kept.
        plan: whose limits the agent keeps to when no plan started the operation.
    """
    limiting = plan_of(ctx.params) or plan
    return {
        **envelope(kind, operation or str(ctx.operation.pk), ctx.attempt, ctx.work),
        "fence": str(ctx.fence),
        "stack": dict(stack) if stack else None,
        "repository": repository_place(repository) if repository else None,
        "set": set_id,
        "options": dict(options or {}),
        "limits": dict(limiting.limits) if limiting else None,
    }


def plan_of(params: Params) -> Plan | None:
    """The plan that started an operation with these parameters; None when nobody's, or when it was removed since."""
    named = params.get("plan")
    return Plan.objects.select_related("repository").filter(name=named).first() if named else None


def envelope(kind: str, operation: str, attempt: int, work: Path) -> Job:
    """What every job has; `work` is the operation's folder."""
    return {
        "kind": kind,
        "operation": operation,
        "attempt": attempt,
        "fence": str(work / "fence"),
        "work": str(work),
        "tools": {"restic": str(_tool("restic")), "pg_bin": str(_tool("pg_dump").parent)},
    }


def stack_place(spec: StackSpec) -> Job:
    """A stack as the agent sees it."""
    here = places.agent_location(spec)
    return {
        "name": spec.project,
        "environment": here.settings.get("ENVIRONMENT", "production"),
        "postgres": {
            "host": here.host("postgres"),
            "port": here.port("postgres"),
            "user": "rag",
            "database": DATABASE,
            "password_file": str(here.secret("postgres_password")),
        },
        "vectordb_url": here.url("vectordb"),
        "ollama_url": here.settings.get("OLLAMA_URL") or here.url("ollama"),
        "models": "external" if here.settings.get("OLLAMA_URL") else "own",
        "api_url": here.url("api"),
        "internal_token_file": str(here.secret("internal_token")),
        "volumes": {volume: str(here.volume(volume)) for volume in VOLUMES},
        "config": [str(path) for path in (*_files(spec), here.root / "state.json", here.conf) if path.exists()],
        "pullable": here.settings.get("PULLABLE_MODELS", "").split(),
        "extra": [extra_place(spec, source) for source in ExtraSource.objects.filter(stack=spec.project)],
    }


def _files(spec: StackSpec) -> tuple[Path, ...]:
    # Where no containers run, overlays say nothing.
    return (spec.file, *spec.overlays)


def extra_place(spec: StackSpec, source: ExtraSource) -> Job:
    """A further source as the agent sees it; `own` servers of the stack are told by their addresses of today."""
    told = {"name": source.name, "kind": source.kind, **source.settings}
    if not told.pop("own", False):
        return told
    here = places.agent_location(spec)
    if source.kind == SourceKind.REDIS:
        return {**told, **_server(here, "redis")}
    return {**told, **_server(here, "postgres"), "user": "rag"}


def _server(here: Location, service: str) -> Job:
    secret = str(here.secret(f"{service}_password"))
    return {"host": here.host(service), "port": here.port(service), "password_file": secret}


def host_of(stack: Mapping[str, Any]) -> str:
    """The name under which the repository files the stack's sets."""
    return f"{stack['name']}-{stack['environment']}"


def repository_place(repository: Repository) -> Job:
    return {
        "id": repository.restic_id,
        "url": repository.url,
        "password_file": repository.password_file,
        "credentials_file": repository.credentials_file or None,
        "options": {**repository.options, "append_only": repository.append_only},
    }


def _tool(name: str) -> Path:
    found = places.runtime().paths.tool(name)
    if found is None:
        raise OperationFailed(f"The program {name} is not installed.", remedy="`python3 manage.py up` installs it.")
    return found
