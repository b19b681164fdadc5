"""How long each source of a set took, over all steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class SourceSeconds:
    """Adds up the time spent on each source."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}

    @contextmanager
    def of(self, source: str) -> Iterator[None]:
        """Count the block for `source`, also when it fails."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent[source] = self._spent.get(source, 0.0) + time.monotonic() - began

    def __getitem__(self, source: str) -> float:
        """Seconds so far, rounded to milliseconds."""
        return round(self._spent.get(source, 0.0), 3)
