"""The Django application `portal.stacks`."""

from __future__ import annotations

from django.apps import AppConfig


class StacksConfig(AppConfig):
    name = "portal.stacks"

    def ready(self) -> None:
        from portal.stacks import deploy, kinds, rollback, rotation  # noqa: F401 - register the kinds of operations
        from portal.stacks.projects import kinds as of_projects  # noqa: F401 - likewise
        from portal.stacks.updates import kinds as of_updates  # noqa: F401 - likewise
