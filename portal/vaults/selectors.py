"""Reading repositories, plans, sets, drills and restores."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet

from portal.core import places
from portal.vaults.models import BackupSet, Drill, Plan, Repository, Restore, RestoreState, SetState


def set_get(set_id: str) -> BackupSet:
    """One set.

    Raises:
        BackupSet.DoesNotExist: there is none with this id.
    """
    return BackupSet.objects.select_related("repository").get(pk=set_id)


def set_last_good(*, stack: str | None = None) -> BackupSet | None:
    """The newest complete set of all sources; a partial, failed or damaged one is never good."""
    sets = _whole().filter(state=SetState.COMPLETE, removed_at=None, verify_error={})
    return (sets.filter(stack=stack) if stack else sets).first()


def _whole() -> QuerySet[BackupSet]:
    """Sets that were not restricted to some of the sources."""
    return BackupSet.objects.select_related("repository").exclude(detail__has_key="sources")


def set_latest(*, stack: str | None = None) -> BackupSet | None:
    """What `--set latest` means: the newest complete set that is not a safety set. Those hold what a restore was to
    get rid of, so a second restore of the latest set must not bring it back."""
    sets = _whole().filter(state=SetState.COMPLETE, removed_at=None, verify_error={})
    sets = sets.exclude(operation__parent__kind="restore")
    return (sets.filter(stack=stack) if stack else sets).first()


def set_last_proven(*, stack: str | None = None) -> BackupSet | None:
    """The set that most recently was shown to come back, and was not found damaged since."""
    sets = BackupSet.objects.filter(removed_at=None, verify_error={}).exclude(proven_at=None).order_by("-proven_at")
    return (sets.filter(stack=stack) if stack else sets).first()


def set_source(found: BackupSet) -> tuple[Repository, str]:
    """Where a set is best read from, and its snapshot there: its own repository, or a copy when that one is gone or
    the set is damaged in it."""
    copy = found.copies.select_related("repository").order_by("created_at").first()
    if copy and (found.verify_error or found.removed_at or _gone(found.repository)):
        return copy.repository, copy.snapshot_id
    return found.repository, found.snapshot_id


def _gone(repository: Repository) -> bool:
    return repository.is_local and not (Path(repository.url) / "config").is_file()


def restore_kept(*, stack: str | None = None) -> Restore | None:
    """The restore that can still be undone or confirmed, if any."""
    kept = Restore.objects.select_related("set", "operation").filter(state=RestoreState.KEPT)
    return (kept.filter(operation__target=f"stack:{stack}") if stack else kept).first()


def drill_last(*, stack: str | None = None) -> Drill | None:
    """The newest drill, passed or failed."""
    drills = Drill.objects.select_related("set", "operation")
    return (drills.filter(set__stack=stack) if stack else drills).first()


def drill_seconds_expected(*, stack: str | None = None) -> float | None:
    """How long bringing a set back took the last time it was tried successfully."""
    drills = Drill.objects.filter(state="passed")
    last = (drills.filter(set__stack=stack) if stack else drills).first()
    return last.seconds if last else None


def repository_get_default() -> Repository:
    """The repository that `up` made, or the one that took its place.

    Raises:
        Repository.DoesNotExist: nothing was set up yet.
    """
    return Repository.objects.filter(replaced_by=None).earliest("created_at")


def plan_default() -> Plan | None:
    """The plan that `up` made, or None before that."""
    return Plan.objects.select_related("repository").order_by("pk").first()


def repositories_in_use() -> list[Repository]:
    """Those that are still written to: a key change leaves the old one for reading only."""
    return list(Repository.objects.filter(replaced_by=None).order_by("name"))


def repositories_gone() -> list[Repository]:
    """Local repositories whose folder is not there."""
    return [row for row in repositories_in_use() if row.is_local and not _is_there(Path(row.url))]


def _is_there(folder: Path) -> bool:
    # In containers only agents are given folders beyond our own; what these find, they say.
    seen = not places.in_containers() or folder.is_relative_to(settings.VAR_DIR)
    return folder.is_dir() if seen else True


def repositories_on_data_disk() -> bool:
    """Whether every repository is there and lies on the disk of the data."""
    rows = repositories_in_use()
    return bool(rows) and not repositories_gone() and all(_on_data_disk(row) for row in rows)


def repository_warnings() -> list[str]:
    """Sentences an operator should read about where the sets are kept; empty when all is well."""
    rows = repositories_in_use()
    if not rows:
        return ["No repository: nothing is backed up. Run `python3 manage.py up` to make the default one."]
    found = [
        f"The repository folder {row.url} of {row.name} is gone. Mount it again, or set up another repository."
        for row in repositories_gone()
    ]
    if repositories_on_data_disk():
        found.append(
            "Every repository is on the same disk as the data: a broken disk takes both. "
            "Add a repository on another disk or machine, and have sets copied there."
        )
    return found


def _on_data_disk(repository: Repository) -> bool:
    if not repository.is_local or not Path(repository.url).is_dir():
        return False
    return os.stat(repository.url).st_dev == os.stat(settings.VAR_DIR).st_dev  # noqa: PTH116 - reads as one comparison
