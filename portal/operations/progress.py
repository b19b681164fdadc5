"""Progress arithmetic: pure, no clock and no database of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is; `fraction` is 0 to 1, or None while nobody can tell."""

    stage: str
    fraction: float | None = None
    counts: Mapping[str, int | float] = field(default_factory=dict)
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Throttle:
    """Lets one report a second through, and every change of stage; the latest one held back is kept."""

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._last: float | None = None
        self._stage = ""
        self._held: Progress | None = None

    def offer(self, progress: Progress, now: float) -> Progress | None:
        """The report to publish at monotonic time `now`, or None when it has to wait."""
        due = self._last is None or now - self._last >= self._interval or progress.stage != self._stage
        if not due:
            self._held = progress
            return None
        self._last, self._stage, self._held = now, progress.stage, None
        return progress

    def flush(self) -> Progress | None:
        """What was held back last, once."""
        held, self._held = self._held, None
        return held
