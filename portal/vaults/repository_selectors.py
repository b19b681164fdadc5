"""Reading repositories: how each is, in figures that the database has; restic is never asked."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Max, Q

from backups.errors import AddressInvalid
from backups.place import Address
from portal.vaults.models import BackupSet, ForeignSnapshot, Repository

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
    newest: Any
    bytes: int | None
    free: int | None
    total: int | None

    @property
    def used_share(self) -> float | None:
        """How full the disk, or what is granted, is: 0 to 1."""
        return None if not self.total or self.free is None else 1 - self.free / self.total


def repository_list() -> list[RepositoryView]:
    """Every repository by name."""
    rows = Repository.objects.select_related("copy_to", "replaced_by").order_by("name")
    sets = _counts(BackupSet.objects.filter(removed_at=None))
    foreign = _counts(ForeignSnapshot.objects.all())
    return [_view(row, sets.get(row.pk, (0, None)), foreign.get(row.pk, (0, None))[0]) for row in rows]


def repository_get(name: str) -> RepositoryView:
    """One repository.

    Raises:
        Repository.DoesNotExist
    """
    row = Repository.objects.select_related("copy_to", "replaced_by").get(name=name)
    held = row.sets.filter(removed_at=None).aggregate(Count("pk"), Max("taken_at"))
    return _view(row, (held["pk__count"], held["taken_at__max"]), row.foreign_snapshots.count())


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


def _counts(rows: Any) -> dict[int, tuple[int, Any]]:  # noqa: ANN401 - sets and foreign snapshots alike
    grouped = rows.values("repository").annotate(n=Count("pk"), newest=Max("taken_at")).order_by()
    return {found["repository"]: (found["n"], found["newest"]) for found in grouped}


def _view(row: Repository, sets: tuple[int, Any], foreign: int) -> RepositoryView:
    free, total = _space(row)
    size = row.stats.get("total_size", row.stats.get("bytes"))
    return RepositoryView(
        row=row,
        kind=kind_of(row),
        state=_state(row),
        sets=sets[0],
        foreign=foreign,
        copies=row.copies.filter(Q(set__removed_at=None)).count(),
        newest=sets[1],
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
