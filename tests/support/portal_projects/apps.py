"""The stand-ins for a portal process of its own."""

from __future__ import annotations

from pathlib import Path

from django.apps import AppConfig
from django.conf import settings


class ProjectsConfig(AppConfig):
    name = "tests.support.portal_projects"

    def ready(self) -> None:
        from tests.support.portal_projects.engine import container, stand_in

        _, engine = stand_in(Path(settings.VAR_DIR), setattr)
        engine.running = [
            container("blog", "web"),
            container("blog", "database"),
            container("elsewhere", "web", file="/etc/compose.yaml"),
        ]
