"""How a repository is looked after: in how many slices it is checked, where its sets are copied, who may prune it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from backups.errors import BackupError
from backups.place import Address, parse_credentials
from backups.secret import write_secret
from portal.core.services import audit
from portal.operations.errors import OperationRefused
from portal.vaults.models import Repository

MOST_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Care:
    """What to change; None leaves it as it is.

    Attributes:
        copy_to: name of the second repository, empty for none.
        check_parts: in how many runs of the check everything is read.
        capacity_bytes: what the provider grants, 0 for unknown.
        prune_url: the address that an append-only repository is pruned at, empty for none.
        prune_credentials: NAME=VALUE lines for that address.
    """

    copy_to: str | None = None
    check_parts: int | None = None
    capacity_bytes: int | None = None
    prune_url: str | None = None
    prune_credentials: str | None = None


def repository_care(*, repository: Repository, care: Care, user: User | None = None) -> list[str]:
    """Change how a repository is looked after; returns the names of what changed.

    Raises:
        OperationRefused: a value makes no sense; nothing was changed then.
    """
    changes = _changes(repository, care)
    with transaction.atomic():
        row = Repository.objects.select_for_update().get(pk=repository.pk)
        changes = {name: value for name, value in changes.items() if getattr(row, name) != value}
        if changes:
            Repository.objects.filter(pk=row.pk).update(**changes)
            audit(action="repository.care", target=row.scope, user=user, data={"changed": sorted(changes)})
    repository.refresh_from_db()
    return sorted(name.removesuffix("_id") for name in changes)


def _changes(repository: Repository, care: Care) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if care.copy_to is not None:
        found["copy_to_id"] = _second(repository, care.copy_to)
    if care.check_parts is not None:
        if not 1 <= care.check_parts <= MOST_PARTS:
            raise OperationRefused(f"A check reads everything in 1 to {MOST_PARTS} runs.", code="parts_invalid")
        found |= {"check_parts": care.check_parts, "check_part": min(repository.check_part, care.check_parts)}
    if care.capacity_bytes is not None:
        found["capacity_bytes"] = care.capacity_bytes or None
    if care.prune_url is not None:
        found["prune_url"] = _address(care.prune_url)
    if care.prune_credentials is not None:
        found["prune_credentials_file"] = _stored(repository, care.prune_credentials)
    return found


def _second(repository: Repository, name: str) -> int | None:
    if not name:
        return None
    other = Repository.objects.filter(name=name, replaced_by=None).first()
    if other is None or other.pk == repository.pk:
        raise OperationRefused(
            f"Sets of {repository.name} cannot be copied to {name!r}.",
            code="copy_target_invalid",
            remedy="Name another repository that is in use; `python3 manage.py repositories` lists them.",
        )
    return other.pk


def _address(url: str) -> str:
    try:
        if url:
            Address.read(url)
    except BackupError as wrong:
        raise OperationRefused(wrong.message, code=wrong.code, remedy=wrong.remedy) from None
    return url


def _stored(repository: Repository, text: str) -> str:
    """Keep the credentials in a new file that only we read; the one before stays until nothing names it."""
    if not text:
        return ""
    try:
        parse_credentials(text, "the credentials")
    except BackupError as wrong:
        raise OperationRefused(wrong.message, code=wrong.code, remedy=wrong.remedy) from None
    name = f"{repository.name}.prune-{secrets.token_hex(3)}.env"
    path = Path(settings.VAR_DIR) / "control" / "secrets" / "repositories" / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret(path, text)
    return str(path)
