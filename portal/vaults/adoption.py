"""The operation `repository.adopt`: what lies in a repository becomes rows, without anything being changed there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from portal.operations.context import Context
from portal.operations.registry import Outcome, Params, operation_kind
from portal.vaults.agent import run_agent
from portal.vaults.jobs import agent_job
from portal.vaults.models import BackupSet, ForeignSnapshot, Repository, SetCopy, SetState
from portal.vaults.upkeep import repository_at, together

# One agent's share: what a crash makes it read again, and how often progress shows.
BATCH = 20
Listed = Mapping[str, Any]


def _check(target: str, _params: Params) -> None:
    repository_at(target)


@operation_kind("repository.adopt", title="Read a repository", claims=together, check=_check)
def adopt(ctx: Context) -> Outcome:
    """List all snapshots, bring the rows in line, and read the set.json of the sets that are new here.

    Can be repeated at any time: what has been read is not read again, so whoever takes over goes on where it stopped.
    """
    repository = repository_at(ctx.operation.target)
    # Listed now: a set that is stored while we read the repository must not look as if it had vanished from it.
    before = set(BackupSet.objects.filter(repository=repository).values_list("pk", flat=True))
    copies = set(repository.copies.values_list("set_id", flat=True))
    result = run_agent(ctx, agent_job(ctx, "adopt", repository=repository))
    _remember_id(repository, str(result["id"]))
    sets = {found["set"]: found for found in result["snapshots"] if found["set"]}
    with ctx.step("adopt.compare", "Compare with what is known") as told:
        told.update(foreign=_foreign(repository, [found for found in result["snapshots"] if not found["set"]]))
        told.update(removed=_vanished(ctx, repository, before - sets.keys()), **_known(repository, sets))
        repository.copies.filter(set_id__in=copies - sets.keys()).delete()
    unread = _unread(repository, sets)
    for done in range(0, len(unread), BATCH):
        ctx.checkpoint()
        ctx.progress("read_sets", done / len(unread), {"sets": done})
        _read(ctx, repository, [sets[name] for name in unread[done : done + BATCH]])
    failed = repository.sets.filter(removed_at=None, state=SetState.FAILED, detail__has_key="error").count()
    return Outcome({**told, "sets": len(sets), "new": len(unread), "unreadable": failed})


def _remember_id(repository: Repository, found: str) -> None:
    """A row whose repository nobody had opened yet learns its id; the agent has refused another one than the known."""
    if repository.restic_id != found:
        Repository.objects.filter(pk=repository.pk).update(restic_id=found)


def _foreign(repository: Repository, listed: list[Listed]) -> int:
    """Bring the rows of foreign snapshots in line; returns how many there are."""
    rows = [
        ForeignSnapshot(
            repository=repository,
            snapshot_id=found["id"],
            taken_at=datetime.fromisoformat(found["time"]),
            host=found["host"][:255],
            tags=found["tags"],
            paths=found["paths"],
            bytes_total=found["bytes_total"],
        )
        for found in listed
    ]
    with transaction.atomic():
        repository.foreign_snapshots.exclude(snapshot_id__in=[row.snapshot_id for row in rows]).delete()
        ForeignSnapshot.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    return len(rows)


def _vanished(ctx: Context, repository: Repository, gone: Collection[str]) -> int:
    """Mark the sets whose snapshot is no longer in the repository, and say so; returns how many are new to that."""
    rows = repository.sets.filter(pk__in=gone, removed_at=None)
    names = sorted(rows.values_list("pk", flat=True))
    if names:
        rows.update(removed_at=timezone.now())
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        ctx.log(f"No longer in the repository: {listed}.", level="warning")
    return len(names)


def _known(repository: Repository, sets: Mapping[str, Listed]) -> dict[str, int]:
    """Bring the rows of known sets in line: one that came back, another snapshot id, copies of another repository's."""
    back = repository.sets.filter(pk__in=sets.keys()).exclude(removed_at=None).update(removed_at=None)
    rows = repository.sets.filter(pk__in=sets.keys()).only("pk", "snapshot_id", "state")
    changed = [row for row in rows if row.snapshot_id != sets[row.pk]["id"]]
    for row in changed:
        row.snapshot_id = sets[row.pk]["id"]
        row.state = SetState.PARTIAL if sets[row.pk]["partial"] and row.state == SetState.COMPLETE else row.state
    BackupSet.objects.bulk_update(changed, ["snapshot_id", "state"], batch_size=500)
    return {"back": back, "copies": _copies(repository, sets)}


def _copies(repository: Repository, sets: Mapping[str, Listed]) -> int:
    """Sets whose rows belong to another repository are copies here; returns how many there are."""
    elsewhere = BackupSet.objects.filter(pk__in=sets.keys()).exclude(repository=repository).values_list("pk", flat=True)
    copies = [SetCopy(set_id=name, repository=repository, snapshot_id=sets[name]["id"]) for name in elsewhere]
    SetCopy.objects.bulk_create(
        copies,
        update_conflicts=True,
        unique_fields=["set", "repository"],
        update_fields=["snapshot_id"],
        batch_size=500,
    )
    return len(copies)


def _unread(repository: Repository, sets: Mapping[str, Listed]) -> list[str]:
    """Sets without a row, and those that could not be read the last time, oldest first."""
    read = BackupSet.objects.filter(pk__in=sets.keys())
    failed = Q(repository=repository, state=SetState.FAILED, detail__has_key="error")
    known = set(read.exclude(failed).values_list("pk", flat=True))
    return sorted(sets.keys() - known)


def _read(ctx: Context, repository: Repository, batch: Sequence[Listed]) -> None:
    """Read set.json of some sets and make their rows."""
    wanted = [found["id"] for found in batch]
    job = agent_job(ctx, "describe", repository=repository, options={"snapshots": wanted})
    described = run_agent(ctx, job)["described"]
    for listed in batch:
        said = described[listed["id"]]
        if error := said.get("error"):
            ctx.log(f"Set {listed['set']}: {error['message']}", level="warning")
        BackupSet.objects.update_or_create(
            id=listed["set"],
            defaults={
                "repository": repository,
                "snapshot_id": listed["id"],
                "bytes_total": listed["bytes_total"],
                "bytes_added": listed["bytes_added"],
                **(_unreadable(listed, error) if error else _described(listed, said)),
            },
        )


def _described(listed: Listed, said: Mapping[str, Any]) -> dict[str, Any]:
    complete = said["state"] == SetState.COMPLETE and not listed["partial"]
    return {
        "stack": said["stack"],
        "environment": said["environment"],
        "state": SetState.COMPLETE if complete else SetState.PARTIAL,
        "taken_at": datetime.fromisoformat(said["taken_at"]),
        "freeze_ms": said["freeze_ms"],
        "counts": said["counts"],
        "sources": said["sources"],
        "anomalies": said["anomalies"],
        "detail": said["detail"],
    }


def _unreadable(listed: Listed, error: Mapping[str, Any]) -> dict[str, Any]:
    """A set that this version cannot read, e.g. a later one's: shown, never restored, read again the next time."""
    stack = next((tag.removeprefix("stack:") for tag in listed["tags"] if tag.startswith("stack:")), listed["host"])
    return {
        "stack": stack[:50],
        "state": SetState.FAILED,
        "taken_at": datetime.fromisoformat(listed["time"]),
        "detail": {"error": dict(error)},
    }
