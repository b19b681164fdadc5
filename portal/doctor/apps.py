"""The Django application `portal.doctor`."""

from __future__ import annotations

from django.apps import AppConfig


class DoctorConfig(AppConfig):
    name = "portal.doctor"

    def ready(self) -> None:
        from portal.doctor import kinds  # noqa: F401 - registers the kind of operation
