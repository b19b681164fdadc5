"""The Django application `portal.cleanup`."""

from __future__ import annotations

from django.apps import AppConfig


class CleanupConfig(AppConfig):
    name = "portal.cleanup"

    def ready(self) -> None:
        from portal.cleanup import kinds  # noqa: F401 - registers the kind of operation
