"""Whether terminals may be opened, and which were."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from portal.stacks.models import Stack


class TerminalPolicy(models.Model):
    """The only row says whether terminals may be opened, and after how long without a key they end."""

    enabled = models.BooleanField(default=False)
    idle_minutes = models.PositiveSmallIntegerField(default=15)

    def __str__(self) -> str:
        return "on" if self.enabled else "off"


class End(models.TextChoices):
    """Why a terminal ended."""

    EXIT = "exit", "the shell ended"
    CLOSED = "closed", "closed"
    IDLE = "idle", "nothing was typed for too long"
    AWAY = "away", "its page was left"
    SWITCHED_OFF = "switched_off", "terminals were switched off"
    RESTORE = "restore", "a restore began"
    ACCOUNT = "account", "its account signed out or lost its rights"
    WORKER = "worker", "the worker stopped"
    LOST = "lost", "the worker or its queue went away"
    FAILED = "failed", "it could not be opened"


class TerminalSession(models.Model):
    """A shell in a service that somebody opened. What was typed and shown is kept nowhere."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    stack = models.ForeignKey(Stack, on_delete=models.CASCADE, related_name="+")
    service = models.CharField(max_length=63)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    # The name survives the account.
    user_name = models.CharField(max_length=254)
    opened_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=12, choices=End.choices, blank=True)
    # A short sentence where the reason does not say it all.
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-opened_at"]

    def __str__(self) -> str:
        return f"{self.user_name} in {self.service}"

    @property
    def mark(self) -> str:
        """What the runtime finds it by."""
        return self.id.hex

    @property
    def lasted(self) -> timedelta:
        """Until its end, or so far."""
        return (self.ended_at or timezone.now()) - self.opened_at
