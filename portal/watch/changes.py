"""What happened to a service between two looks at it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portal.runtime.protocol import Happened, Happening, ServiceStatus, State
from portal.watch.models import EventKind

# Starts that lie closer together are one start, told twice.
SAME_START_SECONDS = 1.5
# An end is the doing of the kernel when it was told so this close to it.
SAME_END_SECONDS = 10.0
KILLED = "SIGKILL"


@dataclass(frozen=True, slots=True)
class Seen:
    """A service as it was last seen; see portal.watch.models.Watched."""

    state: str
    settled: str
    since: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """One event; `at` is a Unix time."""

    kind: EventKind
    at: float
    detail: str = ""


def changes(
    before: Seen | None, status: ServiceStatus, happened: Sequence[Happening], *, now: float, starved: bool = False
) -> list[Change]:
    """What happened since `before` (None: never looked), in the order of time.

    Args:
        happened: what the runtime remembers of this service since then.
        starved: the kernel killed some process of this machine for want of memory meanwhile.
    """
    ended = [_of_its_own(item, starved) for item in happened]
    ends = [change for change in ended if not _told_already(change, ended)]
    found = ends + ([] if before is None and not _is_bad(status.state) else _moved(before, status, ends, now))
    return sorted(found, key=lambda change: change.at)


def _of_its_own(item: Happening, starved: bool) -> Change:
    short = item.what is Happened.OUT_OF_MEMORY or (starved and KILLED in item.detail)
    return Change(EventKind.OUT_OF_MEMORY if short else EventKind.CRASHED, item.at, item.detail)


def _told_already(change: Change, ended: Sequence[Change]) -> bool:
    """Whether this end is that of a service that ran out of memory, which says more."""
    shortages = [other.at for other in ended if other.kind is EventKind.OUT_OF_MEMORY]
    return change.kind is EventKind.CRASHED and any(abs(at - change.at) < SAME_END_SECONDS for at in shortages)


def _moved(before: Seen | None, status: ServiceStatus, ends: Sequence[Change], now: float) -> list[Change]:
    was, state = before.settled if before else "", status.state
    if state in (State.UNHEALTHY, State.FAILED) and was != state:
        kind = EventKind.UNHEALTHY if state is State.UNHEALTHY else EventKind.GAVE_UP
        return [Change(kind, now, status.detail)]
    if state is State.STOPPED:
        return [] if was == State.STOPPED else [Change(EventKind.STOPPED, now)]
    if was == State.STOPPED:
        return [Change(EventKind.STARTED, status.since or now)]
    if was in (State.UNHEALTHY, State.FAILED) and state is State.HEALTHY:
        return [Change(EventKind.RECOVERED, now)]
    if _restarted(before, status) and not ends:
        return [Change(EventKind.RESTARTED, status.since or now)]
    return []


def _restarted(before: Seen | None, status: ServiceStatus) -> bool:
    if before is None or before.since is None or status.since is None:
        return False
    return abs(status.since - before.since) > SAME_START_SECONDS


def _is_bad(state: State) -> bool:
    return state in (State.UNHEALTHY, State.FAILED)


def settled(before: Seen | None, state: State) -> str:
    """The last condition other than starting; a service that was stopped and starts has been started."""
    if state is not State.STARTING:
        return str(state)
    return "" if before is None or before.settled == State.STOPPED else before.settled
