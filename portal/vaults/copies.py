"""Sets in a second repository, and the change of a repository's key."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.validators import validate_slug
from django.db import transaction
from django.utils import timezone

from backups.secret import write_secret
from portal.core.services import audit
from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.registry import ClaimOn, Outcome, Params, exclusive, operation_kind, shared
from portal.vaults.agent import run_agent
from portal.vaults.jobs import agent_job, repository_place
from portal.vaults.models import BackupSet, Plan, Repository, SetCopy, SetState
from portal.vaults.upkeep import repository_at


def copies_missing(repository: Repository) -> list[BackupSet]:
    """The whole sets of a repository that its second one does not have yet, oldest first."""
    whole = BackupSet.objects.filter(
        repository=repository, state=SetState.COMPLETE, removed_at=None, verify_error={}
    ).exclude(snapshot_id="")
    return list(whole.exclude(copies__repository=repository.copy_to).order_by("taken_at"))


def _second(target: str) -> tuple[Repository, Repository]:
    repository = repository_at(target)
    if repository.copy_to is None:
        raise OperationRefused(
            f"{repository.name} has no second repository.",
            code="no_copy_target",
            remedy="Name the repository that its sets are copied to.",
        )
    return repository, repository.copy_to


def _copy_claims(target: str, _params: Params) -> Sequence[ClaimOn]:
    return [shared(each.scope) for each in _second(target)]


def _copy_joins(_target: str, params: Params) -> str:
    return ",".join(sorted(params.get("sets") or ()))[:150]


@operation_kind("repository.copy", title="Copy to the second repository", claims=_copy_claims, joins=_copy_joins)
def copy(ctx: Context) -> Outcome:
    """Copy the sets `sets`, without it every whole one that is missing there. What a killed copy stored is used."""
    source, target = _second(ctx.operation.target)
    only = ctx.params.get("sets")
    missing = [row for row in copies_missing(source) if only is None or row.pk in only]
    present: Mapping[str, str] = {}
    if missing:
        job = _copy_job(ctx, source, target, snapshots=[row.snapshot_id for row in missing])
        found = run_agent(ctx, job)
        present = {name: found["present"][name] for name in found["present"] if name not in found["partial"]}
        _know(target, found["id"])
    copied = [row for row in missing if row.pk in present]
    with transaction.atomic():
        for row in copied:
            SetCopy.objects.get_or_create(set=row, repository=target, defaults={"snapshot_id": present[row.pk]})
            audit(action="set.copied", target=f"set:{row.pk}", data={"repository": target.name})
    return Outcome({"repository": source.name, "to": target.name, "copied": [row.pk for row in copied]})


def _copy_job(ctx: Context, source: Repository, target: Repository, **options: object) -> dict[str, Any]:
    return agent_job(ctx, "copy", repository=target, options={"from": repository_place(source), **options})


def _know(repository: Repository, restic_id: str) -> None:
    Repository.objects.filter(pk=repository.pk, restic_id="").update(restic_id=restic_id)


def _rekey_claims(target: str, params: Params) -> Sequence[ClaimOn]:
    return [exclusive(target), exclusive(f"repository:{_new_name(repository_at(target), params)}")]


def _new_name(old: Repository, params: Params) -> str:
    """The new repository's name: the one given, else the old one's with the next free number. What a change that
    failed left behind is taken up again."""
    if params.get("to"):
        return str(params["to"])
    taken = {row.name: row for row in Repository.objects.filter(name__startswith=old.name[:40])}
    names = (f"{old.name[:40]}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in names if name not in taken or _left_behind(taken[name], _new_url(old, name, params)))


def _new_url(old: Repository, name: str, params: Params) -> str:
    return str(params.get("url") or Path(old.url).with_name(name))


def _left_behind(row: Repository, url: str) -> bool:
    return row.url == url and not (row.sets.exists() or row.plans.exists() or row.copies.exists() or row.replaced_by_id)


def _may_rekey(target: str, params: Params) -> None:
    old = repository_at(target)
    if old.replaced_by:
        raise OperationRefused(f"{old.name} was replaced by {old.replaced_by.name} already.", code="replaced")
    if not params.get("url") and not old.is_local:
        raise OperationRefused(
            f"{old.name} lies behind a network.", code="no_address", remedy="Name the address of the new repository."
        )
    taken = Repository.objects.filter(name=params.get("to") or "").first()
    if taken and not _left_behind(taken, _new_url(old, taken.name, params)):
        raise OperationRefused(f"There is a repository {taken.name} already.", code="name_taken")
    if params.get("to"):
        validate_slug(params["to"])


@operation_kind("repository.rekey", title="Change of the repository's key", claims=_rekey_claims, check=_may_rekey)
def rekey(ctx: Context) -> Outcome:
    """Make a repository with a new key beside this one, copy everything, and let plans and sets use it from then on.

    The key of a restic repository cannot be changed: whoever had the old one could have kept what it unlocks.
    """
    old = repository_at(ctx.operation.target)
    new = _successor(ctx, old)
    if old.replaced_by_id != new.pk:
        found = run_agent(ctx, _copy_job(ctx, old, new))
        _know(new, found["id"])
        with ctx.step("cut_over", "Let plans and sets use the new repository"):
            _cut_over(old, new, found["present"])
    return Outcome({"repository": new.name, "replaces": old.name, "url": new.url, "sets": new.sets.count()})


def _successor(ctx: Context, old: Repository) -> Repository:
    """The new repository's row and password file, made once."""
    with ctx.step("prepare", "Make a new key") as told:
        name = ctx.recorded("prepare").get("name") or _new_name(old, ctx.params)
        ctx.note("prepare", {"name": name})
        told["name"] = name
        password = Path(settings.VAR_DIR) / "control" / "secrets" / "repositories" / f"{name}.password"
        password.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not password.exists():
            write_secret(password, secrets.token_urlsafe(32))
        with transaction.atomic():
            new, made = Repository.objects.get_or_create(
                name=name,
                defaults={
                    "url": _new_url(old, name, ctx.params),
                    "password_file": str(password),
                    "credentials_file": old.credentials_file,
                    "options": old.options,
                    "check_parts": old.check_parts,
                    "capacity_bytes": old.capacity_bytes,
                },
            )
            if made:
                audit(action="repository.created", target=new.scope, data={"replaces": old.name})
    return new


def _cut_over(old: Repository, new: Repository, present: Mapping[str, str]) -> None:
    """Everything that used `old` uses `new`, at once; the old one stays readable."""
    with transaction.atomic():
        for row in BackupSet.objects.select_for_update().filter(repository=old, removed_at=None, pk__in=present):
            SetCopy.objects.get_or_create(set=row, repository=old, defaults={"snapshot_id": row.snapshot_id})
            SetCopy.objects.filter(set=row, repository=new).delete()
            BackupSet.objects.filter(pk=row.pk).update(repository=new, snapshot_id=present[row.pk])
        for copied in SetCopy.objects.filter(repository=old, set_id__in=present).exclude(set__repository=new):
            SetCopy.objects.get_or_create(
                set=copied.set, repository=new, defaults={"snapshot_id": present[copied.set_id]}
            )
        Plan.objects.filter(repository=old).update(repository=new)
        Repository.objects.filter(copy_to=old).update(copy_to=new)
        Repository.objects.filter(pk=new.pk).update(copy_to=old.copy_to, checked_at=timezone.now())
        Repository.objects.filter(pk=old.pk).update(replaced_by=new, copy_to=None)
        audit(action="repository.replaced", target=old.scope, data={"by": new.name, "sets": len(present)})
