"""Registers the kinds when Django starts."""

from __future__ import annotations

from django.apps import AppConfig


class PortalKindsConfig(AppConfig):
    name = "tests.support.portal_kinds"

    def ready(self) -> None:
        from tests.support.portal_kinds import kinds  # noqa: F401
