"""Short jobs for an agent outside of any operation, carried out by the worker where this process may start none."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from kombu.exceptions import OperationalError

from portal.operations.errors import OperationError, OperationFailed
from portal.operations.queue import send
from portal.vaults.agents import agent_opened

TASK = "portal.vaults.errand"
# Trying out a place that answers slowly takes its time; nobody looks at a page for longer.
PATIENCE_SECONDS = 120
KEPT_SECONDS = 60
Answer = dict[str, Any]


def errand(job: Mapping[str, Any]) -> Answer:
    """Have an agent do the job: its last line, and under `stderr` the end of what it wrote there.

    Raises:
        OperationFailed: no agent could be started, or nobody did the job in time.
    """
    return _sent(job) if settings.AGENTS_ELSEWHERE else done_here(job)


def done_here(job: Mapping[str, Any]) -> Answer:
    """Start an agent of our own for it; the folder of its work is gone afterwards."""
    work = Path(job["work"])
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with agent_opened(job) as agent:
            agent.send(json.dumps(dict(job)) + "\n")
            last = [line for line in agent.lines() if line.startswith("{")][-1:]
            agent.wait()
            found: Answer = json.loads(last[0]) if last else {}
            return {**found, "stderr": agent.stderr[-500:]}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def errand_answered(token: str, job: Mapping[str, Any]) -> None:
    """The worker's part: do it and leave the answer where the other one waits."""
    try:
        answer = done_here(job)
    except OperationError as failed:
        answer = {"type": "error", **failed.as_dict()}
    with _queue() as queue:
        queue.rpush(_key(token), json.dumps(answer))
        queue.expire(_key(token), KEPT_SECONDS)


def _sent(job: Mapping[str, Any]) -> Answer:
    token = str(uuid.uuid4())
    try:
        send(TASK, token, dict(job), expires=PATIENCE_SECONDS)
        with _queue() as queue:
            answer = queue.blpop([_key(token)], timeout=PATIENCE_SECONDS)
    except (redis.RedisError, OperationalError, OSError):
        answer = None
    if not answer:
        raise OperationFailed(
            "The worker did not answer.",
            code="worker_silent",
            remedy="`python3 manage.py status` shows whether it runs.",
        )
    found: Answer = json.loads(answer[1])
    return found


def _key(token: str) -> str:
    return f"ragkeep:errand:{token}"


def _queue() -> redis.Redis:
    return redis.Redis.from_url(settings.VALKEY_URL, socket_connect_timeout=5, socket_timeout=PATIENCE_SECONDS + 5)
