"""The Django application `portal.stacks`."""

from __future__ import annotations

from django.apps import AppConfig


class StacksConfig(AppConfig):
    name = "portal.stacks"

    def ready(self) -> None:
        from portal.stacks import kinds  # noqa: F401 - registers the kinds of operations
