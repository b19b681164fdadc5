"""Celery tasks; each makes one call."""

from __future__ import annotations

from celery import shared_task

from portal.stacks import reconciling
from portal.stacks.updates import services


@shared_task(name="portal.stacks.reconcile")
def reconcile() -> None:
    reconciling.stacks_reconcile()


@shared_task(name="portal.stacks.updates_due")
def updates_due() -> None:
    services.updates_due()
