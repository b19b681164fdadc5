"""What can go wrong with an operation.

OperationError
├── OperationRefused    it may not start now
│   └── InputInvalid    what was given makes no sense; `fields` says what of it
├── OperationFailed     a handler found out that it cannot succeed
├── Cancelled           somebody asked it to stop
└── Fenced              another worker owns it; whoever gets this touches nothing any more
"""

# ruff: noqa: N818 - the names say what is wrong; the tree above says that they are errors
from __future__ import annotations

from typing import Any


class OperationError(Exception):
    """Carries a code for programs, a sentence and a remedy for people."""

    code = "error"

    def __init__(
        self, message: str, *, code: str | None = None, remedy: str = "", data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.message = message
        self.remedy = remedy
        self.data = data or {}

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "remedy": self.remedy}


class OperationRefused(OperationError):
    code = "refused"


class InputInvalid(OperationRefused):
    """Input that nobody can use, each wrong field with a sentence of its own."""

    code = "invalid"

    def __init__(self, fields: dict[str, str], *, remedy: str = "") -> None:
        told = " ".join(f"{name}: {sentence}" for name, sentence in fields.items())
        super().__init__(told, remedy=remedy, data={"fields": fields})
        self.fields = fields


class OperationFailed(OperationError):
    code = "failed"


class Cancelled(OperationError):
    code = "cancelled"

    def __init__(self) -> None:
        super().__init__("The operation was cancelled.")


class Fenced(OperationError):
    code = "fenced"

    def __init__(self) -> None:
        super().__init__("Another worker has taken this operation over.")
