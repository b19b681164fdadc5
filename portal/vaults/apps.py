"""The Django application `portal.vaults`."""

from __future__ import annotations

from django.apps import AppConfig


class VaultsConfig(AppConfig):
    name = "portal.vaults"

    def ready(self) -> None:
        from portal.vaults import kinds  # noqa: F401 - registers the kinds of operations
