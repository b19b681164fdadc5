"""The Django application `portal.terminal`: shells in services, in the browser."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out


class TerminalConfig(AppConfig):
    name = "portal.terminal"

    def ready(self) -> None:
        from portal.terminal.services import sessions_of_leaver_end

        user_logged_out.connect(sessions_of_leaver_end)
