"""Slowing down whoever guesses passwords.

Failures are counted in the audit log, which is there anyway, survives a restart and is shared by all processes.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from portal.core.models import AuditEntry
from portal.core.services import audit

ACTION = "sign-in.failed"
WINDOW = timedelta(minutes=15)
PER_NAME_AND_ADDRESS = 8
PER_ADDRESS = 40
# From anywhere: stops a botnet, yet is too much for a colleague's typing errors.
PER_NAME = 100


def address_of(request: HttpRequest) -> str:
    """The client's address; uvicorn has already taken it from nginx's header where nginx is in front."""
    return str(request.META.get("REMOTE_ADDR", ""))


def check(*, name: str, address: str) -> None:
    """Refuse before the password is looked at.

    Raises:
        ValidationError: too many failures of this account or from this address in the last 15 minutes.
    """
    recent = AuditEntry.objects.filter(action=ACTION, at__gte=timezone.now() - WINDOW)
    here, this = Q(data__address=address), Q(target=_key(name))
    limits = ((here & this, PER_NAME_AND_ADDRESS), (here, PER_ADDRESS), (this, PER_NAME))
    if any(recent.filter(which).count() >= most for which, most in limits):
        raise ValidationError("Too many failed attempts to sign in. Wait 15 minutes and try again.", code="throttled")


def failed(*, name: str, address: str) -> None:
    """Count one failure."""
    audit(action=ACTION, target=_key(name), data={"address": address})


def _key(name: str) -> str:
    return name.strip().lower()[:200]
