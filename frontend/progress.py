"""How far a document is, in words and numbers for people. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

Row = dict[str, Any]
# How much of the way lies behind a document in this state.
PROGRESS: Final = {
    "received": 0.05, "stored": 0.1, "parsed": 0.35, "chunked": 0.5, "embedded": 0.8, "indexed": 0.95, "deleting": 0.5,
}  # fmt: skip
_LABELS: Final = {
    "received": "waiting",
    "stored": "waiting",
    "parsed": "reading",
    "chunked": "understanding",
    "embedded": "indexing",
    "indexed": "almost ready",
    "ready": "ready",
    "failed": "failed",
    "deleting": "being deleted",
}
FILTERS: Final[dict[str, str | None]] = {"All states": None, "Ready": "ready", "Failed": "failed"}


def label(state: str) -> str:
    """The state in a word or two; one that is new to this version as it is."""
    return _LABELS.get(state, state)


def busy(counts: dict[str, int]) -> dict[str, int]:
    """Those of `counts` (documents by state) that will change by themselves."""
    return {state: number for state, number in counts.items() if number and state in PROGRESS}


def summary(counts: dict[str, int]) -> str:
    """One line about all documents."""
    waiting = sum(busy(counts).values())
    parts = [f"{counts.get('ready', 0):,} ready"]
    parts += [f"{waiting:,} on their way"] if waiting else []
    parts += [f"{counts['failed']:,} failed"] if counts.get("failed") else []
    return " · ".join(parts)


def page_count(counts: dict[str, int], state: str | None, size: int) -> int:
    """How many pages of `size` the documents in `state` (None: in any) fill, at least one."""
    number = sum(counts.values()) if state is None else counts.get(state, 0)
    return max(1, -(-number // size))


def shown_state(item: Row) -> str:
    return label(item["state"]).capitalize()


def row(item: Row) -> Row:
    """A document as a row of the table."""
    return {
        "Name": item["name"],
        "State": shown_state(item),
        "Pages": item.get("pages"),
        "Size": item["bytes"],
        "Added": datetime.fromisoformat(item["created_at"]),
    }


def human_bytes(number: int) -> str:
    """`number` in KB or MB as people write it, rounded."""
    return f"{number / 1024**2:.4g} MB" if number >= 1024**2 else f"{max(1, round(number / 1024))} KB"
