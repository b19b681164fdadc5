"""Redeploying on push: a server of Git repositories tells the portal, with a secret, that there is something new."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from backups.secret import Secret
from portal.core.models import AuditEntry
from portal.core.services import audit
from portal.operations.asking import by_worker
from portal.operations.errors import OperationFailed, OperationRefused
from portal.operations.models import Operation
from portal.operations.services import operation_start
from portal.stacks.models import Project
from portal.stacks.projects.secretfiles import HOOK, PATIENCE_SECONDS, secret_file, secret_keep

WINDOW = timedelta(minutes=15)
WRONG, CALLED, RENEWED = "project.hook_refused", "project.hook", "project.hook_renewed"
# Guesses from one address, and calls for one stack, in that time.
MOST_WRONG, MOST_CALLS = 10, 30
TOKEN_BYTES = 32


class HookRefused(OperationRefused):
    """The call is answered with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message, code="hook_refused")
        self.status = status


def hook_renew(*, project: Project, user: User | None = None) -> Secret:
    """Make a new secret; the one before opens nothing any more. It is shown once.

    Raises:
        OperationFailed: the worker did not take it; the one before goes on.
    """
    fresh = secrets.token_urlsafe(TOKEN_BYTES)
    with transaction.atomic():
        audit(action=RENEWED, target=project.stack.target, user=user)
        secret_keep(stack=project.stack.name, kind=HOOK, text=fresh + "\n")
    return Secret(fresh)


@dataclass(frozen=True, slots=True)
class HookUse:
    """When the secret was made, when somebody last called with it, and with a wrong one; None: never."""

    made: datetime | None
    called: datetime | None
    refused: datetime | None


def hook_use(project: Project) -> HookUse:
    """What became of a project's webhook, as the audit log has it."""
    rows = AuditEntry.objects.filter(target=project.stack.target, at__gte=project.stack.created_at).order_by("-at")
    found = [rows.filter(action=action).values_list("at", flat=True).first() for action in (RENEWED, CALLED, WRONG)]
    return HookUse(*found)


def hook_called(*, name: str, address: str, token: str, signature: str, body: bytes) -> Operation | None:
    """Fetch and deploy the project, when the call knows its secret.

    Args:
        address: the caller's, for counting wrong ones.
        token: as given in a header, empty when the body is signed instead.
        signature: `sha256=` and the keyed digest of the body in hex, as GitHub and Gitea send it.

    Returns:
        None when the push was to another branch.

    Raises:
        HookRefused: with the status to answer.
        OperationRefused: it cannot start now.
    """
    since = timezone.now() - WINDOW
    wrong = AuditEntry.objects.filter(action=WRONG, at__gte=since, data__address=address).count()
    if wrong >= MOST_WRONG:
        raise HookRefused(429, "Too many wrong calls from this address. Wait 15 minutes.")
    project = Project.objects.select_related("stack").filter(stack__name=name).first()
    if not _knows(name if project else "", token, signature, body) or project is None:
        audit(action=WRONG, target=f"stack:{name[:60]}", data={"address": address})
        raise HookRefused(403, "The secret is not right.")
    target = project.stack.target
    if AuditEntry.objects.filter(action=CALLED, target=target, at__gte=since).count() >= MOST_CALLS:
        raise HookRefused(429, "Too many calls for this stack. Wait 15 minutes.")
    audit(action=CALLED, target=target, data={"address": address})
    if not _concerns(project, body):
        return None
    return operation_start(kind="project.fetch", target=target, params={"deploy": True})


def _knows(stack: str, token: str, signature: str, body: bytes) -> bool:
    """Whether the call knows the secret, which the worker alone does; a token goes to it as a digest."""
    told = base64.b64encode(body).decode() if signature else ""
    digest = hashlib.sha256(token.encode()).hexdigest()
    try:
        return _proven(stack=stack, token=digest, signature=signature, body=told)
    except OperationFailed as failed:
        raise HookRefused(503, failed.message) from None


@by_worker(patience=PATIENCE_SECONDS)
def _proven(*, stack: str, token: str, signature: str, body: str) -> bool:
    """Compared in the same time however much of it is right, and whether there is such a stack or not."""
    try:
        known = Secret.from_file(secret_file(stack, HOOK)).reveal() if stack else ""
    except (OSError, ValueError):
        known = ""
    expected = known or secrets.token_urlsafe(TOKEN_BYTES)
    digest = "sha256=" + hmac.new(expected.encode(), base64.b64decode(body), hashlib.sha256).hexdigest()
    by_token = hmac.compare_digest(token, hashlib.sha256(expected.encode()).hexdigest())
    by_signature = bool(signature) and hmac.compare_digest(signature.encode(), digest.encode())
    return bool(known) and (by_token or by_signature)


def _concerns(project: Project, body: bytes) -> bool:
    """Whether the push was to the project's branch, as far as the call tells."""
    try:
        told: Any = json.loads(body or b"{}")
    except ValueError:
        return True
    ref = str(told.get("ref") or "") if isinstance(told, dict) else ""
    return not (ref and project.branch) or ref in (project.branch, f"refs/heads/{project.branch}")
