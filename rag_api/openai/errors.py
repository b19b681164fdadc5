"""Errors as OpenAI's clients read them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag_api.errors import ApiError

PREFIX = "/v1/"

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class RequestRefusedError(ApiError):
    """A request that cannot be served as it is; `param` names the part, as `messages[0].content`."""

    def __init__(self, param: str, message: str, *, status: int = 400, code: str = "invalid_request") -> None:
        super().__init__(status, code, message)
        self.param = param


def unsupported(param: str, message: str) -> RequestRefusedError:
    """Something that OpenAI's service does and this one does not; silence would pass for consent."""
    return RequestRefusedError(param, message, code="unsupported")


def too_long(param: str, message: str) -> RequestRefusedError:
    """More than the model reads at once."""
    return RequestRefusedError(param, message, code="context_length_exceeded")


def error_body(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """The one format of every error below /v1/."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def param_of(place: Sequence[str | int]) -> str:
    """Where in a request's body a value is wrong, as a program would write it: `messages[0].role`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place if step != "body")
    return "".join(steps).removeprefix(".") or "body"
