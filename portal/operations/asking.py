"""Having the worker do what this process may not: start an agent, read a stack's secret, speak to the Docker Engine.

Where the portal runs in containers, the process that shows pages may do none of that. A question goes to the worker as
a task, the answer comes back on a list of its own; whoever asks waits for it.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import redis
from django.conf import settings
from kombu.exceptions import OperationalError

from portal.operations.errors import OperationError, OperationFailed
from portal.operations.faults import runtime_faults
from portal.operations.queue import send

log = logging.getLogger(__name__)

TASK = "portal.operations.answer"
KEPT_SECONDS = 60

P = ParamSpec("P")
R = TypeVar("R")


class WorkerSilent(OperationFailed):
    code = "worker_silent"


_asked: dict[str, Callable[..., Any]] = {}


def by_worker(*, patience: float) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that the worker carries out where this process may not. It takes keywords, and takes and returns what
    JSON can hold.

    Args:
        patience: seconds to wait for the answer.

    Raises of the decorated function:
        WorkerSilent: there was none; OperationFailed for every error of an operation.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = f"{function.__module__}:{function.__qualname__}"
        _asked[name] = function

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not settings.AGENTS_ELSEWHERE:
                return function(*args, **kwargs)
            found: R = _ask(name, kwargs, patience)
            return found

        return call

    return decorate


def answer(token: str, name: str, given: Mapping[str, Any]) -> None:
    """The worker's part: carry it out, and leave the answer where the other one waits."""
    importlib.import_module(name.partition(":")[0])
    try:
        with runtime_faults():
            told = {"value": _asked[name](**given)}
    except OperationError as failed:
        told = {"error": {**failed.as_dict(), "data": failed.data}}
    except Exception as error:  # whoever asked must not wait for what will not come
        log.exception("%s could not be answered", name)
        message = f"The worker could not do it: {type(error).__name__}."
        told = {"error": {"code": "unexpected", "message": message, "remedy": "Its log says why."}}
    with _queue(KEPT_SECONDS) as queue:
        queue.rpush(_key(token), json.dumps(told))
        queue.expire(_key(token), KEPT_SECONDS)


def _ask(name: str, given: Mapping[str, Any], patience: float) -> Any:  # noqa: ANN401 - what JSON can hold
    token = str(uuid.uuid4())
    try:
        send(TASK, token, name, dict(given), expires=patience)
        with _queue(patience) as queue:
            told = queue.blpop([_key(token)], timeout=patience)
    except (redis.RedisError, OperationalError, OSError):
        told = None
    if not told:
        raise WorkerSilent("The worker did not answer.", remedy="`python3 manage.py status` shows whether it runs.")
    found = json.loads(told[1])
    if error := found.get("error"):
        raise OperationFailed(
            error["message"], code=error["code"], remedy=error.get("remedy", ""), data=error.get("data") or {}
        )
    return found["value"]


def _key(token: str) -> str:
    return f"ragkeep:answer:{token}"


def _queue(patience: float) -> redis.Redis:
    return redis.Redis.from_url(settings.VALKEY_URL, socket_connect_timeout=5, socket_timeout=patience + 5)
