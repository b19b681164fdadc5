"""Changing repositories, plans and kept restores outside of an operation's handler."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from backups.secret import write_secret
from portal.core.services import audit
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation
from portal.operations.services import operation_start
from portal.vaults.bare import repository_init
from portal.vaults.models import Plan, Repository, Restore, RestoreState
from portal.vaults.plans import plan_reschedule

log = logging.getLogger(__name__)
DEFAULT = "default"
DEFAULT_CRON = "30 2 * * *"


def setup_defaults(*, stack: str = "rag") -> Plan:
    """Make sure of the default repository under `var` and the daily plan; what exists is left as it is.

    Raises:
        OperationFailed: the repository could not be made, or another password opens it.
    """
    repository = _default_repository()
    plan, made = Plan.objects.get_or_create(
        name=DEFAULT,
        defaults={
            "stack": stack,
            "repository": repository,
            "cron": DEFAULT_CRON,
            "time_zone": settings.LOCAL_TIME_ZONE,
        },
    )
    if made:
        plan_reschedule(plan)
        audit(action="plan.created", target=f"plan:{plan.name}")
    return plan


def _default_repository() -> Repository:
    known = Repository.objects.filter(name=DEFAULT).first()
    if known:
        return known
    var = Path(settings.VAR_DIR)
    password, folder = var / "control" / "secrets" / "repository_password", var / "repositories" / DEFAULT
    password.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not password.exists():
        write_secret(password, secrets.token_urlsafe(32))
    repository = Repository(name=DEFAULT, url=str(folder), password_file=str(password))
    repository.restic_id = repository_init(repository)
    repository.save()
    audit(action="repository.created", target=repository.scope)
    return repository


def kept_expired() -> list[Operation]:
    """Confirm the restores whose time to undo has run out, newest first: only the newest can be confirmed."""
    expired = Restore.objects.select_related("operation").filter(state=RestoreState.KEPT, kept_until__lt=timezone.now())
    return [operation for row in expired if (operation := _confirm(row))]


def _confirm(row: Restore) -> Operation | None:
    try:
        return operation_start(
            kind="restore.confirm",
            target=row.operation.target,
            params={"restore": str(row.operation_id)},
        )
    except OperationRefused as refused:
        log.info("what restore %s kept stays for now: %s", row.operation_id, refused.message)
        return None
