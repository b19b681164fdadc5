"""What is suspicious about a set beside the one before it: sources and counts that shrank, emptied or went away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from portal.vaults.models import BackupSet, Plan, SetState

DEFAULT_PERCENT = 30
# Less than this is noise: a database is vacuumed, a log of the configuration is cut.
NOTICEABLE_BYTES = 64 << 10
# These counts may fall only when somebody removes what users put in; others, as conversations, are cleared on purpose.
WATCHED = {"documents": "documents", "chunks": "vectors", "users": "postgres"}

Anomaly = dict[str, str]
Figures = Mapping[str, Mapping[str, Any]]


def compared(
    *, before: BackupSet, sources: Figures, counts: Mapping[str, int], percent: int, stack: list[str]
) -> list[Anomaly]:
    """Compare a new set with the complete one before it.

    Args:
        percent: a source may shrink by this much.
        stack: the sources that the new set was to hold.
    """
    return [*_of_sources(before.sources, sources, percent, stack), *_of_counts(before.counts, counts, percent)]


def set_before(*, stack: str, plan: Plan | None, but: str, chosen: list[str] | None) -> BackupSet | None:
    """The newest complete set of the plan, else of the stack, that holds the same sources as set `but`."""
    sets = BackupSet.objects.filter(stack=stack, state=SetState.COMPLETE, removed_at=None).exclude(pk=but)
    sets = sets.filter(detail__sources=chosen) if chosen else sets.exclude(detail__has_key="sources")
    own = sets.filter(plan=plan).first() if plan else None
    return own or sets.first()


def _of_sources(before: Figures, after: Figures, percent: int, stack: list[str]) -> Iterator[Anomaly]:
    for name, told in before.items():
        was = int(told.get("bytes", 0))
        if name not in after:
            if name not in stack:
                yield _anomaly("gone", name, f"{name}, {_size(was)} in the set before, is no source any more")
            continue
        now = int(after[name].get("bytes", 0))
        if was and not now:
            yield _anomaly("empty", name, f"{name} is empty; the set before held {_size(was)} of it")
        elif _shrank(was, now, percent) and was - now > NOTICEABLE_BYTES:
            yield _anomaly(
                "shrunk", name, f"{name} shrank by {_percent(was, now)} %, from {_size(was)} to {_size(now)}"
            )


def _of_counts(before: Mapping[str, int], after: Mapping[str, int], percent: int) -> Iterator[Anomaly]:
    for name, source in WATCHED.items():
        was, now = before.get(name, 0), after.get(name, 0)
        if was and not now:
            yield _anomaly("empty", source, f"there are no {name} any more; the set before had {was:,}")
        elif _shrank(was, now, percent):
            yield _anomaly("shrunk", source, f"{name} fell by {_percent(was, now)} %, from {was:,} to {now:,}")


def _anomaly(code: str, source: str, message: str) -> Anomaly:
    return {"code": code, "source": source, "message": message[:1].upper() + message[1:] + "."}


def _shrank(was: int, now: int, percent: int) -> bool:
    return now * 100 < was * (100 - percent)


def _percent(was: int, now: int) -> int:
    return round((was - now) * 100 / was)


def _size(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"
