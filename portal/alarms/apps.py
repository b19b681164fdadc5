"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class AlarmsConfig(AppConfig):
    """What an operator must hear of, and where it is told."""

    name = "portal.alarms"
    label = "alarms"
