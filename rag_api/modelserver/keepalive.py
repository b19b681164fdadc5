"""How long a model stays loaded: Go durations ("5m", "1h30m"), seconds, negative for ever."""

from __future__ import annotations

import math
import re

from rag_api.modelserver.errors import BadRequestError

DEFAULT_SECONDS = 300.0

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def keep_alive_seconds(value: str | float | None) -> float:
    """Seconds to stay loaded; infinity for negative values, 5 minutes for None.

    Raises:
        BadRequestError: not a duration.
    """
    if value is None:
        return DEFAULT_SECONDS
    seconds = float(value) if isinstance(value, (int, float)) else _parse(value)
    return math.inf if seconds < 0 else seconds


def _parse(text: str) -> float:
    digits = text.strip().removeprefix("-")
    sign = -1.0 if text.strip().startswith("-") else 1.0
    if re.fullmatch(r"\d+(\.\d+)?", digits):
        return sign * float(digits)
    parts = _PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise BadRequestError(f"keep_alive: {text!r} is not a duration such as 5m, 300 or -1")
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
