"""The agent's jobs that look after a repository: check, repair, forget, prune, copy, unlock, measure.

Each can be killed at any point and done again: restic leaves a repository usable, and what is done already is seen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backups import restic
from backups.job import Job, RepositoryPlace
from backups.journal import Context
from backups.maintenance import Maintenance
from backups.restic_upkeep import Findings

NAMED = 20
# So many snapshots are copied by one restic: its start costs a second, its end is where a resumed copy goes on.
COPIED_AT_ONCE = 20
ASIDE = ("index", "snapshots")


def check(job: Job, context: Context) -> dict[str, Any]:
    """Check the structure and slice `part` of `parts` of the data. Result: see `_told`."""
    options, repository = job.option_fields(), opened(job, context)
    part, parts = options.integer("part"), options.integer("parts")
    return _told(*_look(repository, context, part, parts), part=part, parts=parts)


def _look(
    repository: Maintenance, context: Context, part: int, parts: int, *, again: str = ""
) -> tuple[Maintenance, Findings, set[str]]:
    """`again` tells the steps of a second look apart from those of the first."""
    with context.step(f"check{again}", part=part, parts=parts) as told:
        findings = repository.check(part=part, parts=parts)
        told.update(errors=len(findings.errors), packs=len(findings.packs))
    if not findings.errors:
        return repository, findings, set()
    with context.step(f"affected{again}") as told:
        affected = repository.affected(findings)
        told["snapshots"] = len(affected)
    for line in findings.errors[:NAMED]:
        context.journal.log(line, "error")
    return repository, findings, affected


def _told(repository: Maintenance, findings: Findings, affected: set[str], **more: object) -> dict[str, Any]:
    """`errors`: the first of restic's sentences; `packs`: what is damaged; `affected`: snapshots that need it;
    `present`: the snapshot of each set that is there."""
    return {
        "state": "ok",
        "errors": list(findings.errors[:NAMED]),
        "error_count": len(findings.errors),
        "packs": list(findings.packs),
        "index_damaged": findings.index_damaged,
        "affected": sorted(affected),
        "present": {name: snapshot.id for name, snapshot in repository.sets().items()},
        **more,
    }


def repair(job: Job, context: Context) -> dict[str, Any]:
    """Mend what can be mended: the index, then the packs named in `packs`, then with `snapshots` the snapshots.

    Before that, index and snapshots of a local repository are copied aside. Result: as of `check`, for the state
    afterwards, with `aside` (a folder or null) and `replaced` (the new snapshot of each set that lost something).
    """
    options, repository = job.option_fields(), opened(job, context)
    part, parts = options.integer("part", 1), options.integer("parts", 1)
    kept = _copy_aside(job, context)
    with context.step("repair_index"):
        repository.repair_index()
    with context.step("repair_packs") as told:
        wanted, there = options.texts("packs", []), repository.pack_ids()
        told["packs"] = len(broken := [pack for pack in wanted if pack in there])
        repository.repair_packs(broken, keep=kept or job.work)
    findings, affected = _look(repository, context, part, parts)[1:]
    before = repository.sets()
    if affected and options.flag("snapshots", False):
        with context.step("repair_snapshots", snapshots=len(affected)):
            repository.repair_snapshots(sorted(affected))
            _mark_partial(repository, before)
        findings, affected = _look(repository, context, part, parts, again="_again")[1:]
    told_now = _told(repository, findings, affected, part=part, parts=parts, aside=str(kept) if kept else None)
    partial = {name: snapshot.id for name, snapshot in repository.sets().items() if snapshot.partial}
    return {**told_now, "replaced": partial}


def _mark_partial(repository: Maintenance, before: Mapping[str, restic.Snapshot]) -> None:
    """A snapshot that lost something must say so to whoever finds it without the portal."""
    for name, snapshot in repository.sets().items():
        if name in before and before[name].id != snapshot.id and not snapshot.partial:
            repository.tag(snapshot.id, restic.PARTIAL_TAG)


def _copy_aside(job: Job, context: Context) -> Path | None:
    """Copy what a repair rewrites; None for a repository behind a network, whose owner has done so."""
    folder = restic.local_folder(job.require_repository().url)
    if folder is None:
        return None
    aside = folder / "before-repair" / job.operation
    with context.step("copy_aside", folder=str(aside)):
        for name in ASIDE:
            _copy_folder(folder / name, aside / name)
    return aside


def _copy_folder(source: Path, target: Path) -> None:
    """Copy once and whole: a copy that was cut short lies under another name and is begun anew."""
    if target.is_dir():
        return
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished)
    unfinished.rename(target)


def forget(job: Job, context: Context) -> dict[str, Any]:
    """Remove the snapshots named in `snapshots`. Result: `gone`, those that are no longer there."""
    wanted, repository = job.option_fields().texts("snapshots"), opened(job, context)
    with context.step("forget", snapshots=len(wanted)):
        repository.forget(wanted)
    with context.step("look_again"):
        left = {snapshot.id for snapshot in repository.snapshots()}
    return {"state": "ok", "gone": [name for name in wanted if name not in left]}


def prune(job: Job, context: Context) -> dict[str, Any]:
    """Remove data that no snapshot needs. Options: `repack_bytes`, `recover` (see Maintenance.prune).

    Result: `bytes_before`, `bytes_after`: what a local repository occupies, null elsewhere.
    """
    options, repository = job.option_fields(), opened(job, context)
    limit = options.integer("repack_bytes") if options.has("repack_bytes") else None
    before = _occupied(job)
    with context.step("prune") as told:
        account = repository.prune(repack_bytes=limit, recover=options.flag("recover", False))
        told["bytes_after"] = _occupied(job)
    for line in account.splitlines()[-NAMED:]:
        context.journal.log(line)
    return {"state": "ok", "bytes_before": before, "bytes_after": told["bytes_after"]}


def unlock(job: Job, context: Context) -> dict[str, Any]:
    """Clear the locks if every owner is provably dead. Result: `cleared`, `held` (those of owners who may live)."""
    repository = Maintenance.of(job)
    with context.step("unlock") as told:
        cleared = repository.clear_dead_locks()
        held = repository.locks()
        told.update(cleared=len(cleared), held=len(held))
    return {"state": "ok", "cleared": _locks(cleared), "held": _locks(held)}


def _locks(locks: Iterable[restic.Lock]) -> list[dict[str, Any]]:
    return [{"host": lock.hostname, "pid": lock.pid, "since": lock.time.isoformat()} for lock in locks]


def copy(job: Job, context: Context) -> dict[str, Any]:
    """Copy `snapshots` (all without it) of the repository `from` into the job's one, which is made when it is new.

    Result: `id` of the target, `present`: the snapshot of each set that is there now, `partial`: those not whole.
    """
    options = job.option_fields()
    source, place = RepositoryPlace.read(options.section("from")), job.require_repository()
    target = Maintenance(place, job.tools.restic, job.cache, job.limits, source=source)
    with context.step("init"):
        known = target.init_from()
    for each in (target, Maintenance(source, job.tools.restic, job.cache, job.limits)):
        clear_locks(each, context)
    wanted = options.texts("snapshots") if options.has("snapshots") else _all(job, source)
    with context.step("copy", snapshots=len(wanted)):
        _copy_in_parts(target, wanted, context)
    there = target.sets()
    present = {name: snapshot.id for name, snapshot in there.items()}
    partial = [name for name, snapshot in there.items() if snapshot.partial]
    return {"state": "ok", "id": known, "present": present, "partial": partial}


def _copy_in_parts(target: Maintenance, wanted: Sequence[str], context: Context) -> None:
    for start in range(0, len(wanted), COPIED_AT_ONCE):
        context.fence.check()
        context.journal.progress("copy", start / len(wanted), {"snapshots": start})
        target.copy(wanted[start : start + COPIED_AT_ONCE])


def _all(job: Job, source: RepositoryPlace) -> list[str]:
    return [snapshot.id for snapshot in Maintenance(source, job.tools.restic, job.cache, job.limits).snapshots()]


def measure(job: Job, context: Context) -> dict[str, Any]:
    """What the repository occupies and holds. Result: `id`, `bytes` (of data in use), `occupied_bytes` and
    `free_bytes` (null where only the provider knows), `snapshots`: every one of them, ours or not."""
    repository = Maintenance.of(job)
    with context.step("measure"):
        known, found = repository.open(), repository.stats()
        listed = repository.snapshots()
    folder = restic.local_folder(job.require_repository().url)
    return {
        "state": "ok",
        "id": known,
        "bytes": int(found.get("total_size", 0)),
        "bytes_uncompressed": int(found.get("total_uncompressed_size", 0)),
        "occupied_bytes": _occupied(job),
        "free_bytes": shutil.disk_usage(folder).free if folder else None,
        "snapshots": [{**snapshot.as_dict(), "paths": list(snapshot.paths)} for snapshot in listed],
    }


def _occupied(job: Job) -> int | None:
    """Bytes of the files of a local repository."""
    folder = restic.local_folder(job.require_repository().url)
    if folder is None:
        return None
    sizes = (_size(Path(base) / name) for base, _, names in os.walk(folder) for name in names)
    return sum(sizes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # somebody else's lock, let go of
        return 0


def opened(job: Job, context: Context) -> Maintenance:
    """The job's repository: proven to be the known one, and free from locks.

    Raises:
        RepositoryOther, RepositoryLocked, and whatever opening it raises.
    """
    repository = Maintenance.of(job)
    with context.step("open"):
        repository.version()
        repository.open()
    clear_locks(repository, context)
    return repository


def clear_locks(repository: Maintenance, context: Context) -> None:
    """Clear what the dead left behind, and wait for the living; both are logged."""

    def waiting(locks: Sequence[restic.Lock]) -> None:
        first = locks[0]
        context.journal.log(f"waiting for process {first.pid} on {first.hostname}, which holds the repository")

    for lock in repository.free_from_locks(waiting=waiting):
        context.journal.log(f"cleared the lock of process {lock.pid} on {lock.hostname}, which is gone", "warning")


def clear_dead(job: Job, context: Context) -> None:
    """Before any job on a local repository, where looking costs nothing: clear what the dead left behind."""
    place = job.repository
    if place is None or restic.local_folder(place.url) is None:
        return
    repository = Maintenance.of(job)
    for lock in repository.clear_dead_locks():
        context.journal.log(f"cleared the lock of process {lock.pid} on {lock.hostname}, which is gone", "warning")
