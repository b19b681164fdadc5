"""A portal that came back on another machine: what differs there, what died with the old one, and who may write now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from backups.job import RepositoryPlace
from backups.restore.sets import FoundSet
from portal.core.services import audit
from portal.operations.errors import OperationRefused
from portal.operations.models import ACTIVE, Claim, Operation, State
from portal.vaults.models import HELD, BackupSet, Plan, Repository, Restore, RestoreState, SetState
from portal.vaults.plans import plan_reschedule
from portal.vaults.portalsource import files_moved
from portal.vaults.services import DEFAULT

GONE = {
    "code": "machine_gone",
    "message": "The machine that ran this operation is gone.",
    "remedy": "Start it again here once this machine has taken over.",
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """What was brought to this machine.

    Attributes:
        found: the set that everything comes from.
        place: the repository as the command line reached it, with the id it turned out to have and the files that the
            portal keeps for it.
        old_var: state folder of the old machine, empty when the portal is new.
        files: path a secret had -> path it has now.
    """

    found: FoundSet
    place: RepositoryPlace
    old_var: str
    files: Mapping[str, str]


def schema_update() -> None:
    """Bring the restored database to this program's schema.

    Raises:
        OperationRefused: it was written by a newer Ragkeep.
    """
    loader = MigrationLoader(connection)
    unknown = sorted(f"{app}.{name}" for app, name in loader.applied_migrations if (app, name) not in _on_disk(loader))
    if unknown:
        raise OperationRefused(
            f"The portal in this set was written by a newer Ragkeep ({unknown[-1]} is not known here).",
            code="portal_too_new",
            remedy="Use the version of Ragkeep that ran on the old machine, or a later one.",
        )
    call_command("migrate", interactive=False, verbosity=0)


def _on_disk(loader: MigrationLoader) -> set[tuple[str, str]]:
    replaced = {key for migration in loader.disk_migrations.values() for key in migration.replaces}
    return {*loader.disk_migrations, *replaced}


def portal_settle(*, arrival: Arrival) -> dict[str, Any]:
    """Make the restored rows true on this machine, in one transaction; repeated, it changes nothing more.

    Returns:
        `repository` (name), `operations_lost`, `plans_held`, `accounts`, `sets`, `unreachable` (names of repositories).
    """
    with transaction.atomic():
        Session.objects.all().delete()
        lost = _close_operations(arrival.found)
        # What a restore kept beside the live data was on the old machine's disk.
        Restore.objects.filter(state=RestoreState.KEPT).update(state=RestoreState.CONFIRMED, kept_until=None)
        files_moved(_placing(arrival))
        _move_folders(arrival)
        repository = _settle_repository(arrival)
        _record_set(arrival, repository)
        held = plans_hold()
        facts = {"set": arrival.found.manifest.set_id, "operations_lost": lost, "plans_held": held}
        audit(action="portal.recovered", target=repository.scope, data=facts)
    return {
        "repository": repository.name,
        "operations_lost": lost,
        "plans_held": held,
        "accounts": User.objects.count(),
        "sets": BackupSet.objects.filter(removed_at=None).count(),
        "unreachable": [r.name for r in Repository.objects.all() if r.is_local and not Path(r.url).is_dir()],
    }


def plans_hold() -> int:
    """Keep every plan from starting anything; returns how many are held."""
    Plan.objects.exclude(paused_until=HELD).update(paused_until=HELD)
    return Plan.objects.filter(paused_until=HELD).count()


def plans_held() -> list[Plan]:
    """The plans that wait until this machine takes over."""
    return list(Plan.objects.filter(paused_until=HELD).order_by("name"))


def plans_take_over(*, user: User | None = None) -> list[Plan]:
    """The old machine is gone: let the held plans run again, at their next time. Returns them."""
    with transaction.atomic():
        held = list(Plan.objects.select_for_update().filter(paused_until=HELD).order_by("name"))
        for plan in held:
            plan.paused_until = None
            plan.save(update_fields=["paused_until"])
            plan_reschedule(plan)
        if held:
            audit(action="portal.taken-over", user=user, data={"plans": [plan.name for plan in held]})
    return held


def recovery_proven(*, set_id: str, seconds: float) -> None:
    """Record that the set came back as a whole installation, and how long that took."""
    with transaction.atomic():
        BackupSet.objects.filter(pk=set_id).update(proven_at=timezone.now())
        audit(action="portal.recovery.proven", target=f"set:{set_id}", data={"seconds": seconds})


def _close_operations(found: FoundSet) -> int:
    """End what was at work when the set was taken; the backup that made it did succeed. Returns how many were lost."""
    now = timezone.now()
    active = Operation.objects.filter(state__in=ACTIVE)
    own = active.filter(pk__in=_ids(found.manifest.operation))
    own.update(state=State.SUCCEEDED, finished_at=now, error={})
    Claim.objects.all().delete()
    return active.update(state=State.LOST, finished_at=now, error=GONE)


def _ids(operation: str) -> list[UUID]:
    """The id of the operation that made a set; none for a set that was made without a portal."""
    try:
        return [UUID(operation)]
    except ValueError:
        return []


def _placing(arrival: Arrival) -> Callable[[str], str]:
    """Where a file that a row names is on this machine."""
    now_here = {*arrival.files.values()}

    def place(path: str) -> str:
        if path in now_here:
            return path
        return arrival.files.get(path) or _under_new_var(path, arrival.old_var)

    return place


def _under_new_var(path: str, old_var: str) -> str:
    here = str(settings.VAR_DIR)
    if not old_var or not path.startswith(f"{old_var}/") or path.startswith(f"{here}/"):
        return path
    return here + path.removeprefix(old_var)


def _move_folders(arrival: Arrival) -> None:
    """Repositories in the old state folder are meant to lie in the new one; what was in them is there or gone."""
    for row in Repository.objects.all():
        moved = _under_new_var(row.url, arrival.old_var)
        if moved != row.url:
            Repository.objects.filter(pk=row.pk).update(url=moved)


def _settle_repository(arrival: Arrival) -> Repository:
    """The row of the repository that everything came from, reached as the command line did: that was seen to work."""
    place = arrival.place
    row = Repository.objects.filter(restic_id=place.id).order_by("created_at").first()
    if row is None:
        row = Repository(name=_free_name(), restic_id=place.id)
    row.url, row.password_file, row.options = place.url, str(place.password_file), place.options.to_json()
    if place.credentials_file is not None:
        row.credentials_file = str(place.credentials_file)
    row.save()
    return row


def repository_name(restic_id: str) -> str:
    """What the repository with this id is called here, or would be."""
    row = Repository.objects.filter(restic_id=restic_id).order_by("created_at").first()
    return row.name if row else _free_name()


def _free_name() -> str:
    return "recovered" if Repository.objects.filter(name=DEFAULT).exists() else DEFAULT


def _record_set(arrival: Arrival, repository: Repository) -> BackupSet:
    """The set itself: it was not in the database yet when that was dumped."""
    manifest, snapshot = arrival.found.manifest, arrival.found.snapshot
    row, _ = BackupSet.objects.get_or_create(
        pk=manifest.set_id,
        defaults={
            "stack": manifest.stack,
            "environment": manifest.environment,
            "repository": repository,
            "operation": Operation.objects.filter(pk__in=_ids(manifest.operation)).first(),
            "state": SetState.COMPLETE if arrival.found.state == "complete" else SetState.PARTIAL,
            "taken_at": manifest.taken_at,
            "freeze_ms": manifest.freeze_ms,
            "bytes_total": snapshot.bytes_total,
            "bytes_added": snapshot.bytes_added,
            "counts": manifest.counts,
            "sources": {
                name: {"files": part.files, "bytes": part.bytes, **part.details}
                for name, part in manifest.sources.items()
            },
            "snapshot_id": snapshot.id,
            "detail": {"versions": manifest.versions},
        },
    )
    return row
