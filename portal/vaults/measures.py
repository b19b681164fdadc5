"""What repositories occupy and hold, measured; and the snapshots in them that no operation of ours made."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from portal.operations.errors import OperationRefused
from portal.operations.models import Claim, Mode, Operation, State
from portal.operations.services import operation_start
from portal.vaults.models import BackupSet, ForeignSnapshot, Repository, SetCopy

log = logging.getLogger(__name__)
FRESH_FOR = timedelta(hours=24)
PATIENCE = timedelta(hours=1)
OURS = "ragkeep"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A snapshot nobody here made. `forged`: it claims to be a set of ours."""

    snapshot: ForeignSnapshot
    forged: bool


def measures_due(now: datetime | None = None) -> list[Operation]:
    """Measure every repository that got a set since it was last measured, or was not measured for a day."""
    moment = now or timezone.now()
    rows = Repository.objects.filter(replaced_by=None).annotate(newest=Max("sets__operation__finished_at"))
    due = [row for row in rows if _due(row, row.newest, moment) and not _failed_lately(row, moment)]
    return [operation for row in due if (operation := _start(row))]


def _due(repository: Repository, newest: datetime | None, now: datetime) -> bool:
    at = repository.stats_at
    return at is None or at < now - FRESH_FOR or (newest is not None and newest > at)


def _failed_lately(repository: Repository, now: datetime) -> bool:
    """Whether trying again so soon would only fill the list of operations."""
    ended_badly = Operation.objects.filter(kind="repository.stats", state__in=(State.FAILED, State.LOST))
    return ended_badly.filter(target=repository.scope, created_at__gt=now - PATIENCE).exists()


def _start(repository: Repository) -> Operation | None:
    if Claim.objects.filter(scope=repository.scope, mode=Mode.EXCLUSIVE).exists():
        return None  # what it would see is about to change
    try:
        return operation_start(kind="repository.stats", target=repository.scope)
    except OperationRefused as refused:
        log.info("measuring %s waits: %s", repository.name, refused.message)
        return None


def measure_record(*, repository: Repository, found: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what the agent measured; returns what `Repository.stats` holds: {total_size, total_uncompressed_size,
    occupied_bytes, free_bytes, snapshots_count, foreign_count}, null for what nobody knows."""
    foreign = foreign_record(repository=repository, listed=found["snapshots"])
    used = found["occupied_bytes"] if found["occupied_bytes"] is not None else found["bytes"]
    free = found["free_bytes"]
    if free is None and repository.capacity_bytes:
        free = max(0, repository.capacity_bytes - used)
    told = {
        "total_size": found["bytes"],
        "total_uncompressed_size": found["bytes_uncompressed"],
        "occupied_bytes": found["occupied_bytes"],
        "free_bytes": free,
        "snapshots_count": len(found["snapshots"]),
        "foreign_count": foreign,
    }
    Repository.objects.filter(pk=repository.pk).update(stats=told, stats_at=timezone.now())
    return told


def foreign_record(*, repository: Repository, listed: Iterable[Mapping[str, Any]]) -> int:
    """Keep those of `listed` that no operation of ours made, and forget those that are gone; returns how many."""
    known = _known_snapshots(repository)
    strange = [one for one in listed if one["id"] not in known and not _made_here(repository, one)]
    with transaction.atomic():
        rows = ForeignSnapshot.objects.filter(repository=repository)
        rows.exclude(snapshot_id__in=[one["id"] for one in strange]).delete()
        for one in strange:
            ForeignSnapshot.objects.get_or_create(
                repository=repository,
                snapshot_id=one["id"],
                defaults={
                    "taken_at": datetime.fromisoformat(one["time"]),
                    "host": one["host"],
                    "tags": one["tags"],
                    "paths": one["paths"],
                    "bytes_total": one["bytes_total"],
                },
            )
    return len(strange)


def _known_snapshots(repository: Repository) -> set[str]:
    sets = BackupSet.objects.filter(repository=repository).values_list("snapshot_id", flat=True)
    return set(sets) | set(SetCopy.objects.filter(repository=repository).values_list("snapshot_id", flat=True))


def _made_here(repository: Repository, one: Mapping[str, Any]) -> bool:
    """Whether an operation of ours made it that has not recorded it yet: a copy, or a backup, whose set's id ends with
    the operation's."""
    name = str(one.get("set") or "")
    found = BackupSet.objects.filter(pk=name).first()
    if found is not None:
        return found.repository_id != repository.pk and not found.copies.filter(repository=repository).exists()
    taken, _, short = name.rpartition("-")
    if len(short) != 6:
        return False
    mine = Operation.objects.filter(kind="backup", id__startswith=short)
    return any(f"{operation.created_at:%Y%m%dT%H%M%SZ}" == taken for operation in mine)


def foreign_or_forged(repository: Repository) -> list[Suspect]:
    """Snapshots that appeared without an operation of ours, newest first: somebody else's, or forged ones that are to
    push real sets out of a retention that counts."""
    rows = ForeignSnapshot.objects.filter(repository=repository)
    return [Suspect(row, OURS in row.tags) for row in rows]


def forged_counts(repositories: Iterable[Repository]) -> dict[int, int]:
    """How many of those in each of these claim to be sets of ours, by the repository's id; those with none are
    left out."""
    rows = ForeignSnapshot.objects.filter(repository__in=[row.pk for row in repositories])
    return Counter(where for where, tags in rows.values_list("repository", "tags") if OURS in tags)
