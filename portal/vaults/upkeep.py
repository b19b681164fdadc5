"""The operations that keep a repository healthy: check, repair, forget, prune, unlock, statistics.

Each is one job of the agent and one record of its outcome. A worker that takes over does the job again: what was done
already is seen there, and recording it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from portal.core.services import audit
from portal.operations.context import Context
from portal.operations.errors import OperationFailed, OperationRefused
from portal.operations.models import State
from portal.operations.registry import ClaimOn, Outcome, Params, alone, operation_kind, shared, unclaimed
from portal.vaults.agent import run_agent
from portal.vaults.damage import check_slice, damage_raise, damage_record
from portal.vaults.jobs import Job, agent_job, repository_place
from portal.vaults.measures import measure_record
from portal.vaults.models import BackupSet, Repository, SetCopy, SetState
from portal.vaults.sets import set_delete_obstacle
from portal.vaults.trees import trees_sweep

_PRUNE = "`python3 manage.py repositories prune {name}"
FULL_REMEDY = {
    "": f"Delete sets nobody needs, then {_PRUNE} --full-disk`, which writes no data anew.",
    "full_disk": f"{_PRUNE} --recover` needs the least space; let nothing interrupt it.",
    "recover": "Free a few MiB on that disk by other means, then prune again.",
}


def repository_at(target: str) -> Repository:
    """The repository that a target such as `repository:default` names.

    Raises:
        OperationRefused: there is none.
    """
    found = Repository.objects.filter(name=target.partition(":")[2]).first()
    if found is None:
        raise OperationRefused(f"There is no {target.replace(':', ' ')}.", code="no_repository")
    return found


def together(target: str, _params: Params) -> Sequence[ClaimOn]:
    return [shared(target)]


def _there(target: str, _params: Params) -> None:
    repository_at(target)


@operation_kind("repository.check", title="Check of the repository", claims=alone, check=_there)
def check(ctx: Context) -> Outcome:
    """Check the structure and the next slice of the data; damage fails the operation and names the sets."""
    repository = repository_at(ctx.operation.target)
    part, parts = check_slice(repository)
    found = run_agent(ctx, agent_job(ctx, "check", repository=repository, options={"part": part, "parts": parts}))
    damage_raise(damage_record(repository=repository, found=found))
    return Outcome({"repository": repository.name, "part": part, "parts": parts, "sets": len(found["present"])})


def _may_repair(target: str, params: Params) -> None:
    repository = repository_at(target)
    removing_place(repository)
    if not repository.is_local and not params.get("copied_aside"):
        raise OperationRefused(
            f"Index and snapshots of {repository.name} lie behind a network and must be copied aside first.",
            code="copy_aside_first",
            remedy="Copy its folders index and snapshots (docs/how-to/keep-repositories-healthy.md), then say so.",
        )


def _repair_joins(_target: str, params: Params) -> str:
    return "snapshots" if params.get("snapshots") else ""


@operation_kind(
    "repository.repair", title="Repair of the repository", claims=alone, check=_may_repair, joins=_repair_joins
)
def repair(ctx: Context) -> Outcome:
    """Mend index and packs; with `snapshots` also drop from damaged sets what is lost, which makes them partial."""
    repository = repository_at(ctx.operation.target)
    part, parts = check_slice(repository)
    job = agent_job(
        ctx,
        "repair",
        repository=repository,
        options={
            "part": part,
            "parts": parts,
            "packs": repository.check_error.get("packs", []),
            "snapshots": bool(ctx.params.get("snapshots")),
        },
    )
    found = run_agent(ctx, removing(job, repository))
    _record_replaced(repository, found["replaced"])
    damage_raise(damage_record(repository=repository, found=found))
    return Outcome({"repository": repository.name, "aside": found["aside"], "partial": sorted(found["replaced"])})


def _record_replaced(repository: Repository, replaced: dict[str, str]) -> None:
    with transaction.atomic():
        for row in BackupSet.objects.filter(repository=repository, pk__in=replaced, removed_at=None):
            if row.snapshot_id != replaced[row.pk]:
                row.snapshot_id, row.state = replaced[row.pk], SetState.PARTIAL
                row.save(update_fields=["snapshot_id", "state"])
                audit(action="set.lost_files", target=f"set:{row.pk}")
        # A copy that lost something is none any more.
        SetCopy.objects.filter(repository=repository, set_id__in=replaced).delete()


def _may_forget(target: str, params: Params) -> None:
    repository = repository_at(target)
    removing_place(repository)
    wanted = list(params.get("sets") or ())
    if not wanted:
        raise OperationRefused("No set was named.", code="no_set", remedy="Name the sets to remove.")
    known = {row.pk: row for row in BackupSet.objects.select_related("repository").filter(pk__in=wanted)}
    for name in wanted:
        if name not in known:
            raise OperationRefused(f"There is no backup set {name!r}.", code="no_set")
        if obstacle := _protected(repository, known[name]):
            raise obstacle


def _protected(repository: Repository, found: BackupSet) -> OperationRefused | None:
    if found.repository_id == repository.pk:
        return set_delete_obstacle(found)
    if found.copies.filter(repository=repository).exists():
        pinned = OperationRefused(f"The set {found.pk} is pinned.", code="set_pinned", remedy="Unpin it first.")
        return pinned if found.pinned else None
    return OperationRefused(f"The set {found.pk} is not in {repository.name}.", code="no_set")


def _forget_joins(_target: str, params: Params) -> str:
    return ",".join(sorted(params.get("sets") or ()))[:150]


@operation_kind("repository.forget", title="Removal of sets", claims=alone, check=_may_forget, joins=_forget_joins)
def forget(ctx: Context) -> Outcome:
    """Remove exactly the snapshots of the sets `sets`; one that was pinned or proven meanwhile stays."""
    repository = repository_at(ctx.operation.target)
    with ctx.step("choose", "Look which sets may go") as told:
        snapshots, told["kept"] = _removable(ctx, repository)
        told["sets"] = sorted(snapshots)
    gone: set[str] = set()
    if snapshots:
        job = agent_job(ctx, "forget", repository=repository, options={"snapshots": sorted(snapshots.values())})
        gone = set(run_agent(ctx, removing(job, repository))["gone"])
    removed = sorted(name for name, snapshot in snapshots.items() if snapshot in gone)
    if snapshots and not removed:
        raise OperationFailed(
            f"Nothing could be removed from {repository.name}.",
            code="not_removed",
            remedy="Its credential may not be allowed to: an append-only repository needs another one for this.",
        )
    _record_removed(repository, removed, str(ctx.params.get("why", "")))
    state = State.SUCCEEDED if len(removed) == len(snapshots) else State.PARTIAL
    return Outcome({"repository": repository.name, "removed": removed, "kept": told["kept"]}, state)


def _removable(ctx: Context, repository: Repository) -> tuple[dict[str, str], list[str]]:
    """Snapshot by set of those that may go, and the sets that must stay after all."""
    wanted, kept = dict[str, str](), list[str]()
    for found in BackupSet.objects.select_related("repository").filter(pk__in=ctx.params["sets"], removed_at=None):
        obstacle = _protected(repository, found)
        if obstacle:
            kept.append(found.pk)
            ctx.log(f"{found.pk} stays: {obstacle.message}", level="warning")
        elif found.repository_id == repository.pk:
            wanted[found.pk] = found.snapshot_id
        else:
            wanted[found.pk] = found.copies.get(repository=repository).snapshot_id
    return wanted, kept


def _record_removed(repository: Repository, removed: list[str], why: str) -> None:
    with transaction.atomic():
        BackupSet.objects.filter(repository=repository, pk__in=removed).update(removed_at=timezone.now())
        SetCopy.objects.filter(repository=repository, set_id__in=removed).delete()
        for name in removed:
            audit(action="set.removed", target=f"set:{name}", data={"repository": repository.name, "why": why})
    trees_sweep()


def _may_remove(target: str, _params: Params) -> None:
    removing_place(repository_at(target))


@operation_kind("repository.prune", title="Pruning of the repository", claims=alone, check=_may_remove)
def prune(ctx: Context) -> Outcome:
    """Remove data that no set needs. `full_disk`: without writing data anew; `recover`: with the least space."""
    repository = repository_at(ctx.operation.target)
    way = "recover" if ctx.params.get("recover") else "full_disk" if ctx.params.get("full_disk") else ""
    options: dict[str, Any] = {"recover": way == "recover", "repack_bytes": 0 if way else None}
    job = agent_job(ctx, "prune", repository=repository, options=options)
    try:
        found = run_agent(ctx, removing(job, repository))
    except OperationFailed as failed:
        if failed.code == "repository_full":
            failed.remedy = FULL_REMEDY[way].format(name=repository.name)
        raise
    Repository.objects.filter(pk=repository.pk).update(pruned_at=timezone.now())
    freed = found["bytes_before"] - found["bytes_after"] if found["bytes_before"] is not None else None
    return Outcome({"repository": repository.name, "freed_bytes": freed, "occupied_bytes": found["bytes_after"]})


@operation_kind("repository.unlock", title="Clearing of left-over locks", claims=together, check=_there)
def unlock(ctx: Context) -> Outcome:
    """Clear the locks of owners who are provably gone; a lock that may be alive is only named."""
    repository = repository_at(ctx.operation.target)
    found = run_agent(ctx, agent_job(ctx, "unlock", repository=repository))
    told = {"repository": repository.name, "cleared": found["cleared"], "held": found["held"]}
    return Outcome(told, State.PARTIAL if found["held"] else State.SUCCEEDED)


# It starts by itself after every set, and only reads, without a lock: nobody's own doing has to wait for it.
@operation_kind("repository.stats", title="Measurement of the repository", claims=unclaimed, check=_there)
def stats(ctx: Context) -> Outcome:
    """Size, snapshots and free space, and the snapshots that no operation of ours made."""
    repository = repository_at(ctx.operation.target)
    found = run_agent(ctx, agent_job(ctx, "measure", repository=repository))
    return Outcome({"repository": repository.name, **measure_record(repository=repository, found=found)})


def removing_place(repository: Repository) -> Job:
    """The repository as a job that removes something sees it: with an append-only one the other address and credential.

    Raises:
        OperationRefused: it is append-only and nobody has named them.
    """
    place = repository_place(repository)
    if not repository.append_only:
        return place
    if not repository.prune_url:
        raise OperationRefused(
            f"{repository.name} is append-only: the everyday credential removes nothing.",
            code="append_only",
            remedy="Give the repository the address and the credential for pruning.",
        )
    return {**place, "url": repository.prune_url, "credentials_file": repository.prune_credentials_file or None}


def removing(job: Job, repository: Repository) -> Job:
    """The job with the place it removes from."""
    return {**job, "repository": removing_place(repository)}
