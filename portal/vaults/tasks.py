"""Celery tasks; each makes one call."""

from __future__ import annotations

from celery import shared_task

from portal.vaults import drill, due, measures, services


@shared_task(name="portal.vaults.plans_due")
def plans_due() -> None:
    due.plans_due()


@shared_task(name="portal.vaults.kept_expired")
def kept_expired() -> None:
    services.kept_expired()


@shared_task(name="portal.vaults.drills_abandoned")
def drills_abandoned() -> None:
    drill.drills_abandoned()


@shared_task(name="portal.vaults.measures_due")
def measures_due() -> None:
    measures.measures_due()
