"""Whether a stack that was just changed serves: every service healthy and staying so, and a question answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from portal.core import places
from portal.operations.errors import OperationFailed
from portal.runtime.errors import StackRuntimeError
from portal.runtime.protocol import ServiceStatus, State
from portal.runtime.spec import StackSpec

# A service that starts, answers and crashes soon after shows itself within this time.
SETTLE_SECONDS = 1.0
HEALTHY_SECONDS = 60.0
POLL_SECONDS = 0.5
QUESTION = "What is written about this?"
HITS = 3
ASK_SECONDS = 20.0
TIMEOUT = httpx.Timeout(15, connect=3)
API = "api"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service found for the canary question: passages, and documents that it could have found."""

    hits: int
    documents: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def demand_healthy(spec: StackSpec, look: Callable[[], None]) -> None:
    """Wait until every service is healthy, and has been for a moment.

    Args:
        look: called at each round; what it raises ends the wait.

    Raises:
        OperationFailed: one is not healthy in time, or falls ill again.
    """
    end, since = time.monotonic() + HEALTHY_SECONDS, None
    while True:
        look()
        ill = [status for status in _statuses(spec) if status.state is not State.HEALTHY]
        now = time.monotonic()
        since = None if ill else since or now
        if since is not None and now - since >= SETTLE_SECONDS:
            return
        if ill and now > end:
            raise OperationFailed(
                _sentence(ill), code="unhealthy", remedy=f"Read its log: `python3 manage.py logs {ill[0].service}`."
            )
        time.sleep(POLL_SECONDS)


def _statuses(spec: StackSpec) -> tuple[ServiceStatus, ...]:
    return places.runtime().status(spec)


def _sentence(ill: list[ServiceStatus]) -> str:
    told = [f"{status.service} is {status.state}{f' ({status.detail})' if status.detail else ''}" for status in ill]
    return f"Not healthy after the deploy: {', '.join(told)}."


def ask(spec: StackSpec, *, seconds: float | None = None) -> Answer:
    """Ask the stack's service the canary question as the portal itself; again for a while when it does not answer.

    Args:
        seconds: how long; ASK_SECONDS unless told.

    Raises:
        OperationFailed: it gave no answer that can be used.
    """
    end = time.monotonic() + (ASK_SECONDS if seconds is None else seconds)
    while True:
        try:
            return _ask(spec)
        except (httpx.HTTPError, OSError, KeyError, TypeError, ValueError, StackRuntimeError) as error:
            if time.monotonic() >= end:
                raise OperationFailed(
                    f"The service did not answer the canary question: {_reason(error)}.",
                    code="canary_failed",
                    remedy=f"Read its log: `python3 manage.py logs {API}`.",
                ) from None
        time.sleep(POLL_SECONDS)


def _ask(spec: StackSpec) -> Answer:
    with client(spec) as http:
        found = http.post("/internal/search", json={"question": QUESTION, "k": HITS}).raise_for_status().json()
        counted = http.get("/internal/counts").raise_for_status().json()
    return Answer(len(found["hits"]), int(counted["documents"]))


def schema_of(spec: StackSpec) -> dict[str, Any]:
    """What the service says of its schema: `code`, `database`, `oldest`; empty when it cannot tell."""
    try:
        with client(spec) as http:
            found: dict[str, Any] = http.get("/internal/schema").raise_for_status().json()
    except (httpx.HTTPError, OSError, ValueError, StackRuntimeError):
        return {}
    return found


def client(spec: StackSpec) -> httpx.Client:
    """A client of the internal side of the stack's service.

    Raises:
        OSError, ValueError: its token cannot be read.
        KeyError: the stack has no such service.
    """
    here = places.location(spec)
    token = here.secret("internal_token").read_text(encoding="utf-8").strip()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=here.url(API), headers=headers, timeout=TIMEOUT, trust_env=False)


def demand_no_worse(before: Answer | None, after: Answer) -> None:
    """
    Raises:
        OperationFailed: nothing is found any more where something was found before.
    """
    if before is not None and before.hits and not after.hits:
        raise OperationFailed(
            f"The service finds nothing any more: {before.hits} passages before the deploy, none after it, "
            f"of {after.documents} documents.",
            code="canary_failed",
            remedy="Look at the settings of the models and at the log of the service.",
        )


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error.request.url.path} answered {error.response.status_code}"
    if isinstance(error, httpx.HTTPError):
        return str(error) or type(error).__name__
    return f"an answer that cannot be understood ({type(error).__name__})"
