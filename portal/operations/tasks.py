"""Celery tasks; each translates and makes one call."""

from __future__ import annotations

from celery import shared_task

from portal.operations import reaper, worker


@shared_task(name="portal.operations.execute")
def execute(operation_id: str) -> None:
    worker.execute(operation_id)


@shared_task(name="portal.operations.tick")
def tick() -> None:
    reaper.reap()
