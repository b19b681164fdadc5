"""The Django application `portal.vaults`."""

from __future__ import annotations

from django.apps import AppConfig


class VaultsConfig(AppConfig):
    name = "portal.vaults"
