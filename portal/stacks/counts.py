"""What a stack holds now: asked of its API, which counts what belongs to its service."""

from __future__ import annotations

import httpx

from portal.core import places
from portal.operations.asking import by_worker
from portal.operations.errors import OperationFailed
from portal.runtime.errors import StackRuntimeError
from portal.stacks.models import Stack

PATIENCE_SECONDS = 3.0


def stack_counts(stack: Stack) -> dict[str, int] | None:
    """Documents, chunks, users and so on by name; None while the API does not answer."""
    try:
        return _counted(name=stack.name)
    except OperationFailed:
        return None


@by_worker(patience=PATIENCE_SECONDS + 2)
def _counted(*, name: str) -> dict[str, int] | None:
    try:
        here = places.location(places.stack_spec(name))
        token = here.secret("internal_token").read_text(encoding="utf-8").strip()
        answer = httpx.get(
            f"{here.url('api')}/internal/counts",
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_SECONDS,
        )
        counts = answer.raise_for_status().json()
    except (StackRuntimeError, httpx.HTTPError, OSError, KeyError, ValueError):
        return None
    return {str(name): int(value) for name, value in counts.items()}
