"""What a restore would change, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portal.web.words import plain_name


@dataclass(frozen=True, slots=True)
class Row:
    """How many of something there are now, and how many the set holds."""

    title: str
    now: int
    then: int

    @property
    def change(self) -> int:
        return self.then - self.now

    @property
    def lost(self) -> int:
        return max(0, -self.change)


def rows(now: Mapping[str, object], then: Mapping[str, object]) -> list[Row]:
    """One row for each thing that both sides counted, in the order of the set."""
    return [
        Row(plain_name(name).capitalize(), value, there)
        for name, there in then.items()
        if isinstance(there, int) and isinstance(value := now.get(name), int)
    ]
