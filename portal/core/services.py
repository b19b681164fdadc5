"""Writing the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

from portal.core.models import AuditEntry

SYSTEM = "ragkeep"


def audit(*, action: str, target: str = "", user: User | None = None, data: dict[str, Any] | None = None) -> AuditEntry:
    """Record a deed; call it inside the transaction that does it. Without a user the actor is Ragkeep itself."""
    name = user.get_username() if user else SYSTEM
    return AuditEntry.objects.create(actor=user, actor_name=name, action=action, target=target, data=data or {})
