"""The Django application `portal.web`."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "portal.web"
