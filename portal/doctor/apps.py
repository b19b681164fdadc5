"""The Django application `portal.doctor`."""

from __future__ import annotations

from django.apps import AppConfig


class DoctorConfig(AppConfig):
    name = "portal.doctor"
