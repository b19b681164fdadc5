"""Reading repositories: how each is, in figures that the database has; restic is never asked."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, QuerySet

from backups.errors import AddressInvalid
from backups.place import Address
from portal.vaults.models import BackupSet, ForeignSnapshot, Repository, SetCopy

OTHER = "other"


@dataclass(frozen=True, slots=True)
class RepositoryView:
    """A repository as lists show it.

    `state`: ready, unseen (nobody has looked since it was added), missing (its folder is gone), damaged (the last
    check found something) or replaced;
    `bytes`: what it occupies, `free`: what is left for it; None while nobody has measured it.
    """

    row: Repository
    kind: str
    state: str
    sets: int
    foreign: int
    copies: int
    newest: datetime | None
    bytes: int | None
    free: int | None
    total: int | None

    @property
    def used_share(self) -> float | None:
        """How full the disk, or what is granted, is: 0 to 1."""
        return None if not self.total or self.free is None else 1 - self.free / self.total


def repository_list() -> list[RepositoryView]:
    """Every repository by name."""
    rows = list(Repository.objects.select_related("copy_to", "replaced_by").order_by("name"))
    held = _held(rows)
    return [_view(row, held[row.pk]) for row in rows]


def repository_get(name: str) -> RepositoryView:
    """One repository.

    Raises:
        Repository.DoesNotExist
    """
    row = Repository.objects.select_related("copy_to", "replaced_by").get(name=name)
    return _view(row, _held([row])[row.pk])


def repository_summaries() -> list[dict[str, Any]]:
    """Every repository as `--json` prints it."""
    return [repository_summary(found) for found in repository_list()]


def repository_summary(found: RepositoryView) -> dict[str, Any]:
    """One repository as `--json` prints it; no secret is among it, only the paths of files."""
    row = found.row
    return {
        "name": row.name,
        "kind": found.kind,
        "url": row.url,
        "id": row.restic_id,
        "state": found.state,
        "sets": found.sets,
        "foreign_snapshots": found.foreign,
        "copies": found.copies,
        "bytes": found.bytes,
        "free_bytes": found.free,
        "append_only": row.append_only,
        "copy_to": row.copy_to.name if row.copy_to else None,
        "checked_at": row.checked_at.isoformat() if row.checked_at else None,
        "check_error": row.check_error,
        "password_file": row.password_file,
    }


def kind_of(row: Repository) -> str:
    """local, s3, sftp, rest, or other for what only restic knows."""
    try:
        return Address.read(row.url).kind
    except AddressInvalid:
        return OTHER


@dataclass(frozen=True, slots=True)
class Held:
    """What lies in a repository, as numbers; `newest` is when its newest set was taken."""

    sets: int
    foreign: int
    copies: int
    newest: datetime | None


def _held(rows: Sequence[Repository]) -> dict[int, Held]:
    """The same number of queries for however many repositories; by their ids."""
    wanted = [row.pk for row in rows]
    sets = BackupSet.objects.filter(repository__in=wanted, removed_at=None)
    newest = dict(sets.order_by().values_list("repository").annotate(Max("taken_at")))
    counts = _counted(sets)
    foreign = _counted(ForeignSnapshot.objects.filter(repository__in=wanted))
    copies = _counted(SetCopy.objects.filter(repository__in=wanted, set__removed_at=None))
    return {pk: Held(counts.get(pk, 0), foreign.get(pk, 0), copies.get(pk, 0), newest.get(pk)) for pk in wanted}


def _counted(rows: QuerySet[Any]) -> dict[int, int]:
    return dict(rows.order_by().values_list("repository").annotate(Count("pk")))


def _view(row: Repository, held: Held) -> RepositoryView:
    free, total = _space(row)
    size = row.stats.get("total_size", row.stats.get("bytes"))
    return RepositoryView(
        row=row,
        kind=kind_of(row),
        state=_state(row),
        sets=held.sets,
        foreign=held.foreign,
        copies=held.copies,
        newest=held.newest,
        bytes=size,
        free=free if free is not None else _granted(row, size),
        total=total or row.capacity_bytes,
    )


def _state(row: Repository) -> str:
    if row.replaced_by_id:
        return "replaced"
    if row.is_local and _space(row) == (None, None):
        return "missing"
    if row.check_error:
        return "damaged"
    return "ready" if row.is_local or row.stats_at or row.checked_at else "unseen"


def _space(row: Repository) -> tuple[int | None, int | None]:
    """Free and whole bytes of its disk now, or as last measured where it lies behind a network."""
    if not row.is_local:
        return row.stats.get("free_bytes"), row.stats.get("total_bytes")
    try:
        usage = shutil.disk_usage(row.url)
    except OSError:
        return None, None
    return usage.free, usage.total


def _granted(row: Repository, size: int | None) -> int | None:
    return max(0, row.capacity_bytes - size) if row.capacity_bytes and size is not None else None
