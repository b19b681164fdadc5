"""The Celery application: carries operation ids to the worker and ticks the housekeeping.

The database is the truth of every operation, so there is no result backend and messages are acknowledged early:
a lost message is noticed by the reaper, a repeated one is refused by the row's state.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery, signals

from config import env

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.run")

app = Celery("ragkeep")


def _configuration() -> dict[str, Any]:
    from django.conf import settings

    return {
        "broker_url": settings.VALKEY_URL,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {"socket_keepalive": True, "health_check_interval": 20},
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
        "timezone": "UTC",
        "beat_schedule_filename": str(settings.VAR_DIR / "control" / "beat-schedule"),
        # A tick that nobody fetched before the next one is due is of no use any more.
        "beat_schedule": {
            "reap": {"task": "portal.operations.tick", "schedule": 4.0, "options": {"expires": 8}},
            "plans": {"task": "portal.vaults.plans_due", "schedule": 20.0, "options": {"expires": 30}},
            "arenas": {"task": "portal.vaults.drills_abandoned", "schedule": 60.0, "options": {"expires": 60}},
            "alarms": {"task": "portal.alarms.evaluate", "schedule": 20.0, "options": {"expires": 30}},
            "watch": {"task": "portal.watch.look", "schedule": 20.0, "options": {"expires": 20}},
            "instances": {"task": "portal.stacks.reconcile", "schedule": 10.0, "options": {"expires": 10}},
            "updates": {"task": "portal.stacks.updates_due", "schedule": 300.0, "options": {"expires": 300}},
            "notices": {"task": "portal.alarms.send", "schedule": 10.0, "options": {"expires": 20}},
            "switches": {"task": "portal.alarms.ping", "schedule": 10.0, "options": {"expires": 20}},
            "measures": {"task": "portal.vaults.measures_due", "schedule": 60.0, "options": {"expires": 60}},
            "terminals": {"task": "portal.terminal.tidy", "schedule": 10.0, "options": {"expires": 10}},
            "kept": {"task": "portal.vaults.kept_expired", "schedule": 300.0, "options": {"expires": 300}},
        },
    }


def _touch(**_: object) -> None:
    """Tell whoever looks after the container that this worker still turns around."""
    if file := env.alive_file():
        Path(file).touch()


signals.worker_ready.connect(_touch)
signals.heartbeat_sent.connect(_touch)
app.add_defaults(_configuration)
app.autodiscover_tasks()
