"""Repositories that are gone, damaged, nearly full, in the wrong place, or whose key nobody was asked for."""

from __future__ import annotations

import shutil
from datetime import datetime

from portal.alarms.conditions import Condition
from portal.alarms.models import Severity
from portal.vaults.measures import forged_counts
from portal.vaults.models import Repository
from portal.vaults.selectors import repositories_gone, repositories_in_use, repositories_on_data_disk

# A share of what the place can hold.
WARN_AT = 0.9
BAD_AT = 0.97


def gone(_now: datetime) -> list[Condition]:
    """The folder of a local repository is not there."""
    return [
        Condition(
            f"repository.gone {row.scope}",
            Severity.BAD,
            f"The repository folder {row.url} of {row.name} is gone",
            "Mount it again, or set up another repository.",
        )
        for row in repositories_gone()
    ]


def damaged(_now: datetime) -> list[Condition]:
    """The last check found damage; the sets it touches are named."""
    return [_damage(row) for row in repositories_in_use() if row.check_error]


def _damage(row: Repository) -> Condition:
    error = row.check_error
    sets = [str(name) for name in error.get("sets", [])]
    touched = f" Sets affected: {', '.join(sets[:5])}{' and more' if len(sets) > 5 else ''}." if sets else ""
    title = f"The repository {row.name} is damaged.{touched}"
    remedy = str(error.get("remedy", "")) or "Repair it, then take a new set."
    return Condition(f"repository.damaged {row.scope}", Severity.BAD, title, remedy)


def forged(_now: datetime) -> list[Condition]:
    """Snapshots claim to be sets of ours, and no operation of ours made them."""
    rows = repositories_in_use()
    counts = forged_counts(rows)
    return [_forgery(row, counts[row.pk]) for row in rows if row.pk in counts]


def _forgery(row: Repository, count: int) -> Condition:
    many = (
        f"{count} snapshots in {row.name} claim to be sets"
        if count > 1
        else f"A snapshot in {row.name} claims to be a set"
    )
    return Condition(
        f"repository.forged {row.scope}",
        Severity.BAD,
        f"{many}, and no operation of this portal made {'them' if count > 1 else 'it'}",
        "Change the everyday credential and look who had it. If another portal writes there, adopt its sets.",
    )


def nearly_full(_now: datetime) -> list[Condition]:
    """Little room is left where a repository lies."""
    found = []
    for row in repositories_in_use():
        share = _share_used(row)
        if share is not None and share >= WARN_AT:
            severity = Severity.BAD if share >= BAD_AT else Severity.WARNING
            title = f"The repository {row.name} is nearly full: {share:.0%} of its room is used"
            remedy = "Make room there, keep fewer sets in the plan, or prune the repository."
            found.append(Condition(f"repository.full {row.scope}", severity, title, remedy))
    return found


def _share_used(row: Repository) -> float | None:
    """The share that is used: of what an object store grants us, or of a local disk by anybody; None if unknown."""
    if row.capacity_bytes:
        return float(row.stats.get("total_size", 0)) / row.capacity_bytes
    if not row.is_local:
        return None
    try:
        disk = shutil.disk_usage(row.url)
    except OSError:
        return None
    return 1 - disk.free / (disk.used + disk.free)


def on_one_disk(_now: datetime) -> list[Condition]:
    """A broken disk would take the data and every copy of it."""
    if not repositories_on_data_disk():
        return []
    title = "Every repository is on the same disk as the data: a broken disk takes both"
    remedy = "Add a repository on another disk or machine, and have sets copied there."
    return [Condition("repository.one_disk", Severity.WARNING, title, remedy)]
