"""Celery tasks; each makes one call."""

from __future__ import annotations

from celery import shared_task

from portal.alarms import channels, deadman, services


@shared_task(name="portal.alarms.evaluate")
def evaluate() -> None:
    services.alarms_evaluate()


@shared_task(name="portal.alarms.send")
def send() -> None:
    channels.notices_send()


@shared_task(name="portal.alarms.ping")
def ping() -> None:
    deadman.pings_send()
