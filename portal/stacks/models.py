"""Stacks."""

from __future__ import annotations

from django.db import models


class StackState(models.TextChoices):
    """What an operator wants of a stack; what its services do is asked of the runtime."""

    RUNNING = "running"
    STOPPED = "stopped"


class Stack(models.Model):
    """One deployed set of services in one environment."""

    name = models.SlugField(unique=True)
    environment = models.CharField(max_length=40, default="production")
    runtime = models.CharField(max_length=20, default="embedded")
    state = models.CharField(max_length=8, choices=StackState.choices, default=StackState.RUNNING)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> str:
        """How operations and claims name it."""
        return f"stack:{self.name}"
