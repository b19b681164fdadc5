"""The operations `restore.folder` and `restore.documents`: they bring something back and stop nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backups.errors import BackupError
from backups.restore.scope import choose_for_folder
from portal.core import places
from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.registry import ClaimOn, Outcome, Params, operation_kind, shared
from portal.vaults.agent import run_agent
from portal.vaults.jobs import agent_job, host_of, stack_place
from portal.vaults.restore_choice import STACK, held_sources, refusal, set_of

_MANY = 1000


def _folder_check(_target: str, params: Params) -> None:
    found, folder = set_of(params), str(params.get("folder", ""))
    if not Path(folder).is_absolute():
        raise OperationRefused(f"{folder!r} is no absolute path.", remedy="Name a folder from / on.", code="bad_folder")
    if params.get("documents") and params.get("sources"):
        raise OperationRefused("Choose sources or single documents, not both.", code="scope_refused")
    try:
        choose_for_folder(params.get("sources"), held_sources(found))
    except BackupError as refused:
        raise refusal(refused) from None


def _folder_claims(_target: str, params: Params) -> Sequence[ClaimOn]:
    return [shared(set_of(params).repository.scope)]


def _folder_joins(_target: str, params: Params) -> str:
    return f"{params.get('set')} {params.get('folder')}"


@operation_kind(
    "restore.folder", title="Restore to a folder", claims=_folder_claims, joins=_folder_joins, check=_folder_check
)
def restore_folder(ctx: Context) -> Outcome:
    """Bring a set to a folder: params `set`, `folder`, and `sources` or `documents` (names) of it instead of all."""
    options = {"target": ctx.params["folder"], **_given(ctx.params, "sources", "documents")}
    result = _run(ctx, "extract", options)
    told = {name: result[name] for name in ("target", "files", "documents", "named") if result.get(name) is not None}
    return Outcome({"set_id": ctx.params["set"], **told})


def _documents_check(target: str, params: Params) -> None:
    found, names = set_of(params), params.get("documents") or []
    if bool(names) == bool(params.get("lost")):
        raise OperationRefused("Name documents, or ask for the lost files.", code="scope_refused")
    if len(names) > _MANY:
        raise OperationRefused(
            f"{len(names):,} documents are too many by name; {_MANY:,} are taken at a time.",
            remedy="Restore the set, merged with what was added since.",
            code="scope_refused",
        )
    if not places.stack_exists(target.removeprefix(STACK)):
        raise OperationRefused(f"There is no {target.replace(':', ' ')} here.", code="no_stack")
    if not {"documents", "postgres"} <= set(held_sources(found)):
        raise OperationRefused("The set does not hold documents and database.", remedy="Choose another set.")


def _documents_claims(target: str, params: Params) -> Sequence[ClaimOn]:
    return [shared(target), shared(set_of(params).repository.scope)]


def _documents_joins(_target: str, params: Params) -> str:
    return f"{params.get('set')} {'lost' if params.get('lost') else sorted(params.get('documents') or [])}"


@operation_kind(
    "restore.documents",
    title="Return of documents",
    claims=_documents_claims,
    joins=_documents_joins,
    check=_documents_check,
)
def restore_documents(ctx: Context) -> Outcome:
    """Give documents of a set back to the running stack: params `set`, and `documents` (names, paths or ids) or
    `lost` (true): every file that the database lists and the folder lacks."""
    result = _run(ctx, "readmit", _given(ctx.params, "documents", "lost"))
    told: dict[str, Any] = {name: result[name] for name in ("outcome", "names", "files", "bytes") if name in result}
    return Outcome({"set_id": ctx.params["set"], **told})


def _run(ctx: Context, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Have the agent do it unless an earlier attempt saw it done."""
    done = ctx.done(f"{kind}.result")
    if done is not None:
        return done
    found, stack = set_of(ctx.params), stack_place(places.stack_spec(ctx.operation.stack_name))
    options |= {"host": host_of(stack)}
    job = agent_job(ctx, kind, stack=stack, repository=found.repository, set_id=found.pk, options=options)
    result = run_agent(ctx, job)
    with ctx.step(f"{kind}.result", "It is there", undoing=True) as data:
        data.update({key: value for key, value in result.items() if key != "seconds"})
    return result


def _given(params: Params, *names: str) -> dict[str, Any]:
    return {name: params[name] for name in names if params.get(name)}
