"""The agent's restore jobs: each takes a job and a context and returns the data of the result line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from backups import fault
from backups.errors import JobInvalid
from backups.fields import Fields
from backups.job import Job
from backups.journal import Context
from backups.manifest import Golden, Manifest
from backups.preflight import restic_version
from backups.repository import Repository
from backups.restore import aside, canary, compare, deletions, folders, merge, preflight, revocations, sets, swap
from backups.restore.canary import Api
from backups.restore.database import Server
from backups.restore.errors import NothingStaged
from backups.restore.scope import Scope, scope_of
from backups.restore.sets import FoundSet
from backups.restore.stage import STAGED_FILE, Stager, read_set_file, read_staged, staged_of
from backups.restore.swap import Target
from backups.secret import Secret

JobFunction = Callable[[Job, Context], dict[str, Any]]


def preflight_job(job: Job, context: Context) -> dict[str, Any]:
    """Options: `allow_partial` (false), `preview` (true), `sources` (all), `merge` (false).

    Result: `set`, `sources`, `stops` (services), `versions`, `space` and, unless switched off, `preview`.
    """
    repository, found = _open(job, context)
    target, scope = target_of(job), _scope(job, found)
    checked = preflight.check_target(found.manifest, target, job.work, context, scope=scope)
    if job.option_fields().flag("merge", False):
        _require_mergeable(target)
    report = {"set": preflight.describe(found), "sources": scope.to_json(), "stops": list(scope.users), **checked}
    if job.option_fields().flag("preview", True):
        report["preview"] = preflight.preview_restore(
            found, repository, target, job.work, job.tools.pg_bin, context, job.require_stack().vectordb_url
        )
    return _ok(context, **report)


def stage_job(job: Job, context: Context) -> dict[str, Any]:
    """Options: `allow_partial` (false), `sources` (all). Result: `set` and the figures of the verification."""
    repository, found = _open(job, context)
    target, scope = target_of(job), _scope(job, found)
    preflight.check_target(found.manifest, target, job.work, context, scope=scope)
    stager = Stager(found, repository, target, job.work, job.tools.pg_bin, context, scope)
    return _ok(context, set=preflight.describe(found), **stager.stage())


def swap_job(job: Job, context: Context) -> dict[str, Any]:
    """Make the staged data live. The services that use it are stopped.

    Options: `revocations` (true); a drill has no live data that they could be read from. `keep_deleted` (false):
    documents deleted after the set stay deleted. `merge` (false): what was added since joins the set.

    Result: `set_id`, `volumes`, `revocations` (how many keys and accounts of the set were revoked because they are in
    the live data), `deletions` (how many documents likewise) and `merged` (see merge.Merged).

    Raises:
        NothingStaged: no stage of this operation has ended well.
        NotCarried: what was added since cannot be kept.
    """
    target, options = target_of(job), job.option_fields()
    figures = read_staged(job.work)
    if figures is None and target.journal() is None:
        raise NothingStaged(f"operation {job.operation} has staged nothing that was verified to its end")
    staged = staged_of(figures) if figures else None
    with context.step("swap", set=staged.set_id if staged else "") as outcome:
        if staged is None or staged.database:
            outcome.update(_carry_over(target, options, context))
        journal = swap.swap(target, staged, _checkpoint(context))
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

    Options: `compare` (false) also compares every document, row count and vector count, asks `golden`, the operator's
    questions [{question, documents}], and reports `passed` instead of raising CanaryFailed. `carried` (false):
    documents were added or deleted on the way, so only what the set and the service have in common is compared.
    """
    stack = job.require_stack()
    if stack.internal_token_file is None:
        raise JobInvalid("job.stack.internal_token_file: expected a path for a job of kind canary, got nothing")
    manifest = read_set_file(job.work)
    with Api.at(stack.api_url, Secret.from_file(stack.internal_token_file)) as api:
        if job.option_fields().flag("compare", False):
            with context.step("compare") as outcome:
                report = compare.report(target_of(job), manifest, api, stack.vectordb_url, _golden(job))
                outcome["passed"] = report["passed"]
        else:
            with context.step("canary") as outcome:
                report = _asked(job, api, manifest)
                outcome.update(report)
    return _ok(context, set_id=manifest.set_id, **report)


def _golden(job: Job) -> list[Golden]:
    fields = job.option_fields()
    return [Golden.read(part) for part in fields.sections("golden")] if fields.has("golden") else []


def _asked(job: Job, api: Api, manifest: Manifest) -> dict[str, Any]:
    target = target_of(job)
    if target.server is None or not job.option_fields().flag("carried", False):
        return canary.check(api, manifest)
    with target.server.connect(target.database) as connection:
        served = {str(chunk) for (chunk,) in connection.execute("SELECT chunk_id FROM backup_chunks").fetchall()}
    return canary.check_among_others(api, manifest, served)


def kept_job(job: Job, context: Context) -> dict[str, Any]:
    """What the data from before a restore occupies. Result: `bytes` in all."""
    target = target_of(job)
    with context.step("measure_kept") as outcome:
        sizes = [folders.size(target.folders(name).kept) for name in target.volumes]
        outcome["bytes"] = sum(sizes) + (target.server.size(target.names.kept) if target.server else 0)
    return _ok(context, **outcome)


def extract_job(job: Job, context: Context) -> dict[str, Any]:
    """Bring a set, sources of it or single documents to a folder; see aside.to_folder."""
    repository, found = _open(job, context)
    return _ok(context, set=preflight.describe(found), **aside.to_folder(job, context, repository, found))


def readmit_job(job: Job, context: Context) -> dict[str, Any]:
    """Bring single documents, or lost files, back into the running stack; see aside.readmit."""
    repository, found = _open(job, context)
    report = aside.readmit(job, context, repository, found, target_of(job))
    return _ok(context, set=preflight.describe(found), **report)


JOBS: dict[str, JobFunction] = {
    "extract": extract_job,
    "readmit": readmit_job,
    "kept": kept_job,
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
        repository = Repository.of(job)
        restic_version(repository, job.tools.restic, job.cache)
        allow_partial = job.option_fields().flag("allow_partial", False)
        found = sets.find_set_beside(repository, job.require_set(), host=_host(job), allow_partial=allow_partial)
        outcome["set"] = found.manifest.set_id
        return repository, found


def _host(job: Job) -> str | None:
    """Whose latest set is meant: a drill restores another stack's set, so it names the host in its options."""
    return job.option_fields().text_or_none("host") or job.require_stack().host


def _scope(job: Job, found: FoundSet) -> Scope:
    wanted = job.option_fields().texts("sources", []) if job.option_fields().has("sources") else None
    return scope_of(wanted, found.manifest.sources)


def _require_mergeable(target: Target) -> None:
    if target.server is not None:
        merge.require_readable(target.server, target.database)


def _carry_over(target: Target, options: Fields, context: Context) -> dict[str, Any]:
    """What is so today and shall be so afterwards; deletions first: a deleted document makes room for its heir."""
    if target.server is None:
        return {}
    warn, outcome = partial(context.journal.log, level="warning"), dict[str, Any]()
    sides = (target.server, target.names)
    if options.flag("keep_deleted", False):
        outcome["deletions"] = deletions.carry_over(*sides, context.fence.check, warn)
    # Once the exchange has begun, what joined the set is in it: then the folders are no longer told apart by name.
    if options.flag("merge", False) and target.journal() is None:
        documents = target.folders("documents")
        merged = merge.Merger(*sides, documents.live, documents.staging, context.fence.check).merge()
        outcome["merged"] = merged.to_json()
        for name in merged.lost[:20]:
            warn(f"The file of {name}, added since the set, is not there any more; the document was left out.")
    if options.flag("revocations", True):
        outcome["revocations"] = revocations.carry_over(*sides, context.fence.check, warn)
    return outcome


def _checkpoint(context: Context) -> swap.Checkpoint:
    def checkpoint(point: str) -> None:
        context.fence.check()
        if point == swap.AFTER_VOLUME:
            fault.reach("swap")

    return checkpoint


def _ok(context: Context, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - the data of a result line is decoded JSON
    return {"state": "ok", "seconds": dict(context.seconds), **data}
