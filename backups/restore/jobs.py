"""The agent's restore jobs: each takes a job and a context and returns the data of the result line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from backups import fault
from backups.errors import JobInvalid
from backups.job import Job
from backups.journal import Context
from backups.repository import Repository
from backups.restore import canary, compare, preflight, revocations, sets, swap
from backups.restore.canary import Api
from backups.restore.database import Server
from backups.restore.errors import NothingStaged
from backups.restore.sets import FoundSet
from backups.restore.stage import STAGED_FILE, Stager, read_set_file, read_staged
from backups.restore.swap import Target
from backups.secret import Secret

JobFunction = Callable[[Job, Context], dict[str, Any]]


def preflight_job(job: Job, context: Context) -> dict[str, Any]:
    """Options: `allow_partial` (false), `preview` (true).

    Result: `set`, `versions`, `space` and, unless switched off, `preview`.
    """
    repository, found = _open(job, context)
    target = target_of(job)
    report = {"set": preflight.describe(found), **preflight.check_target(found.manifest, target, job.work, context)}
    if job.option_fields().flag("preview", True):
        report["preview"] = preflight.preview_restore(found, repository, target, job.work, job.tools.pg_bin, context)
    return _ok(context, **report)


def stage_job(job: Job, context: Context) -> dict[str, Any]:
    """Option: `allow_partial` (false). Result: `set` and the figures of the verification."""
    repository, found = _open(job, context)
    target = target_of(job)
    preflight.check_target(found.manifest, target, job.work, context)
    stager = Stager(found, repository, target, job.work, job.tools.pg_bin, context)
    return _ok(context, set=preflight.describe(found), **stager.stage())


def swap_job(job: Job, context: Context) -> dict[str, Any]:
    """Make the staged data live. The services that use it are stopped.

    Option: `revocations` (true); a drill has no live data that they could be read from. Result: `set_id`, `volumes` and
    `revocations`, how many keys and accounts of the set were revoked because they are in the live data.

    Raises:
        NothingStaged: no stage of this operation has ended well.
    """
    target = target_of(job)
    staged = read_staged(job.work)
    if staged is None and target.journal() is None:
        raise NothingStaged(f"operation {job.operation} has staged nothing that was verified to its end")
    set_id, restored = (staged["set_id"], staged["restored"]) if staged else ("", [])
    with context.step("swap", set=set_id) as outcome:
        if job.option_fields().flag("revocations", True):
            outcome["revocations"] = _carry_over(target, context)
        journal = swap.swap(target, set_id, restored, _checkpoint(context))
    return _ok(context, set_id=journal.set_id, volumes=sorted(journal.volumes), **outcome)


def unswap_job(job: Job, context: Context) -> dict[str, Any]:
    """Make the old data live again. Result: `undone`, false when no swap was ever begun."""
    with context.step("unswap"):
        undone = swap.unswap(target_of(job), _checkpoint(context))
    return _ok(context, undone=undone)


def discard_job(job: Job, context: Context) -> dict[str, Any]:
    """Remove what the restore kept and staged; live data stays."""
    with context.step("discard"):
        swap.discard(target_of(job), _checkpoint(context))
        (job.work / STAGED_FILE).unlink(missing_ok=True)
    return _ok(context)


def canary_job(job: Job, context: Context) -> dict[str, Any]:
    """Ask the restored service the set's questions.

    Option: `compare` (false) also compares every document, row count and vector count, and reports `passed` instead of
    raising CanaryFailed.
    """
    stack = job.require_stack()
    if stack.internal_token_file is None:
        raise JobInvalid("job.stack.internal_token_file: expected a path for a job of kind canary, got nothing")
    manifest = read_set_file(job.work)
    with Api.at(stack.api_url, Secret.from_file(stack.internal_token_file)) as api:
        if job.option_fields().flag("compare", False):
            with context.step("compare") as outcome:
                report = compare.report(target_of(job), manifest, api, stack.vectordb_url)
                outcome["passed"] = report["passed"]
        else:
            with context.step("canary") as outcome:
                report = canary.check(api, manifest)
                outcome.update(report)
    return _ok(context, set_id=manifest.set_id, **report)


JOBS: dict[str, JobFunction] = {
    "preflight": preflight_job,
    "stage": stage_job,
    "swap": swap_job,
    "unswap": unswap_job,
    "discard": discard_job,
    "canary": canary_job,
}


def target_of(job: Job) -> Target:
    """The job's stack as the place to restore into."""
    stack = job.require_stack()
    postgres = stack.postgres
    server = Server(postgres.host, postgres.port, postgres.user, postgres.password())
    volumes = {name: getattr(stack.volumes, name) for name in ("documents", "vectors", "models", "index")}
    return Target(volumes, server, postgres.database, job.operation, external_models=stack.has_external_models)


def _open(job: Job, context: Context) -> tuple[Repository, FoundSet]:
    with context.step("find_set") as outcome:
        repository = Repository(job.require_repository(), job.tools.restic, job.cache)
        repository.version()
        repository.open()
        allow_partial = job.option_fields().flag("allow_partial", False)
        found = sets.find_set(repository, job.require_set(), host=_host(job), allow_partial=allow_partial)
        outcome["set"] = found.manifest.set_id
        return repository, found


def _host(job: Job) -> str | None:
    """Whose latest set is meant: a drill restores another stack's set, so it names the host in its options."""
    return job.option_fields().text_or_none("host") or job.require_stack().host


def _carry_over(target: Target, context: Context) -> int:
    if target.server is None:
        return 0
    warn = partial(context.journal.log, level="warning")
    return revocations.carry_over(target.server, target.names, context.fence.check, warn)


def _checkpoint(context: Context) -> swap.Checkpoint:
    def checkpoint(point: str) -> None:
        context.fence.check()
        if point == swap.AFTER_VOLUME:
            fault.reach("swap")

    return checkpoint


def _ok(context: Context, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - the data of a result line is decoded JSON
    return {"state": "ok", "seconds": dict(context.seconds), **data}
