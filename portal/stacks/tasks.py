"""Celery tasks; each makes one call."""

from __future__ import annotations

from celery import shared_task

from portal.stacks import reconciling


@shared_task(name="portal.stacks.reconcile")
def reconcile() -> None:
    reconciling.stacks_reconcile()
