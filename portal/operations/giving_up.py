"""Why an operation gave up and went back, as its journal keeps it for whoever takes over on the way."""

from __future__ import annotations

from portal.operations.context import Context
from portal.operations.errors import Cancelled, OperationError, OperationFailed

STEP = "give_up"


def describe(error: Exception) -> dict[str, str]:
    """What the journal keeps of an error: code, message and remedy."""
    if isinstance(error, OperationError):
        return error.as_dict()
    return {"code": "internal", "message": f"Unexpected {type(error).__name__}.", "remedy": "See the worker's log."}


def first_failure(ctx: Context, *, otherwise: str) -> OperationFailed | Cancelled:
    """Why an earlier attempt began to go back; `otherwise` where it died before it could say so."""
    because = dict(ctx.recorded(STEP).get("because") or {})
    if because.get("code") == Cancelled.code:
        return Cancelled()
    return OperationFailed(
        because.get("message", otherwise), code=because.get("code", "failed"), remedy=because.get("remedy", "")
    )
