"""Celery tasks; each makes one call."""

from __future__ import annotations

from celery import shared_task
from celery.signals import worker_shutting_down

from portal.terminal import services, serving
from portal.terminal.models import End


@shared_task(name=services.TASK)
def serve(session_id: str) -> None:
    serving.serve(session_id)


@shared_task(name="portal.terminal.tidy")
def tidy() -> None:
    services.sessions_tidy()


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """A worker that is told to stop waits for its threads."""
    serving.end_all(End.WORKER)
