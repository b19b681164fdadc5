"""Containers as the engine tells of them, and what was deployed as them, for unit tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from portal.runtime.compose.containers import Container
from portal.runtime.compose.record import Kept

NOW = 1_000_000.0
UP = Container("1", "a", "sha256:i", "h", "", "running", started=NOW - 60, pid=7)


def kept(**changes: Any) -> Kept:  # noqa: ANN401 - any field
    """What was deployed as `UP`."""
    return replace(Kept({"image": "i"}, "h", "h", {}), **changes)
