"""The Django application `portal.watch`: looks at the services of every stack again and again, and remembers."""

from __future__ import annotations

from django.apps import AppConfig


class WatchConfig(AppConfig):
    name = "portal.watch"
