"""The Django application `portal.stacks`."""

from __future__ import annotations

from django.apps import AppConfig


class StacksConfig(AppConfig):
    name = "portal.stacks"
