"""What a restore would change, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portal.web.words import plain_name, rank


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


@dataclass(frozen=True, slots=True)
class Names:
    """Things of one kind that a restore would bring or take away; `count` may be larger than the names given, and is
    None when one side could not be read."""

    count: int | None
    names: list[str] = field(default_factory=list)

    @property
    def unnamed(self) -> int:
        return (self.count or 0) - len(self.names)


@dataclass(frozen=True, slots=True)
class Changes:
    """The agent's comparison of a set with the live stack, document by document."""

    rows: list[Row]
    documents_gained: Names
    documents_lost: Names
    models_gained: Names
    models_lost: Names
    users_gained: Names
    users_lost: Names
    deletions: Names
    damaged: Names
    returning: int


def changes(report: Mapping[str, Any]) -> Changes:
    """Read the `preview` of an agent's preflight (backups.restore.preview.compare)."""
    counts, documents, models = report["counts"], report["documents"], report["models"]
    users, deletions, damaged = report["users"], report["deletions"], report["damaged"]
    return Changes(
        rows=rows(
            {name: count["live"] for name, count in counts.items()},
            {name: count["set"] for name, count in sorted(counts.items(), key=lambda pair: rank(pair[0]))},
        ),
        documents_gained=Names(documents["gained_count"], documents["gained"]),
        documents_lost=Names(documents["lost_count"], documents["lost"]),
        models_gained=Names(len(models["gained"]), models["gained"]),
        models_lost=Names(len(models["lost"]), models["lost"]),
        users_gained=Names(users["gained_count"], users["gained"]),
        users_lost=Names(users["lost_count"], users["lost"]),
        deletions=Names(deletions["count"], deletions["names"]),
        damaged=Names(damaged["count"], damaged["names"]),
        returning=damaged["returning"],
    )
