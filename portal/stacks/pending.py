"""Settings of a stack that were changed and wait for the next deploy.

They lie in a file for the portal's own account alone, because a setting may hold a password; the audit log and
everything else learn their names. Those of somebody else's project are for the worker alone. An empty value means the
default of the stack file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from portal.core.services import audit
from portal.runtime.compose.record import write_private
from portal.stacks.models import Project
from portal.stacks.projects.secretfiles import PENDING, secret_file


def pending_get(stack: str) -> dict[str, str]:
    """What the next deploy changes: value by name of the setting; empty when nothing waits."""
    try:
        found: dict[str, str] = json.loads(_file(stack).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def pending_change(*, stack: str, values: Mapping[str, str], user: User | None = None) -> None:
    """Have the next deploy set these as well; what waits already under other names stays."""
    with transaction.atomic():
        audit(action="stack.settings", target=f"stack:{stack}", user=user, data={"names": sorted(values)})
        write_private(_file(stack), json.dumps({**pending_get(stack), **values}))


def pending_drop(*, stack: str, names: Mapping[str, str] | None = None) -> None:
    """Forget what waits: all of it, or those of `names` that still have the value given there."""
    kept = {} if names is None else {n: value for n, value in pending_get(stack).items() if names.get(n) != value}
    if kept:
        write_private(_file(stack), json.dumps(kept))
    else:
        _file(stack).unlink(missing_ok=True)


def is_project(stack: str) -> bool:
    """Whether the stack is somebody else's project."""
    return Project.objects.filter(stack__name=stack).exists()


def _file(stack: str) -> Path:
    if is_project(stack):
        return secret_file(stack, PENDING)
    return Path(settings.VAR_DIR) / "control" / "pending" / f"{stack}.json"
