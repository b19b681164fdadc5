"""Celery tasks; each makes one call."""

from __future__ import annotations

from celery import shared_task

from portal.watch import services


@shared_task(name="portal.watch.look")
def look() -> None:
    services.stacks_watch()
