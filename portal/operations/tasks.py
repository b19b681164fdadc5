"""Celery tasks; each translates and makes one call."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from portal.operations import asking, reaper, worker


@shared_task(name="portal.operations.execute")
def execute(operation_id: str) -> None:
    worker.execute(operation_id)


@shared_task(name="portal.operations.tick")
def tick() -> None:
    reaper.reap()


@shared_task(name=asking.TASK)
def answer(token: str, name: str, given: dict[str, Any]) -> None:
    asking.answer(token, name, given)
