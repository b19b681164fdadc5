"""When a plan runs: cron in a time zone, and some seconds late. Pure arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

# Among so many runs in a row the shortest pause between two is looked for.
SAMPLE = 60


class ScheduleInvalidError(ValueError):
    """A cron expression or a time zone that nobody understands."""


def next_run(cron: str, time_zone: str, after: datetime) -> datetime:
    """The first run strictly after the moment `after`, in UTC.

    A time that the change to summer time skips runs right after the gap; one that comes twice runs once.

    Raises:
        ScheduleInvalidError: with a sentence about the expression or the zone.
    """
    return next(_runs(cron, time_zone, after))


def next_runs(cron: str, time_zone: str, after: datetime, count: int) -> list[datetime]:
    """The next `count` runs, in the plan's own zone, for people to read; fewer when there are no more.

    Raises:
        ScheduleInvalidError
    """
    zone = zone_of(time_zone)
    return [at.astimezone(zone) for at in islice(_runs(cron, time_zone, after), count)]


def zone_of(name: str) -> ZoneInfo:
    """The time zone called `name`.

    Raises:
        ScheduleInvalidError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleInvalidError(f"There is no time zone {name!r}.") from error


def cron_words(cron: str) -> str:
    """A cron expression as a sentence: `At 02:30 every day`.

    Raises:
        ScheduleInvalidError
    """
    try:
        told: str = CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)).explain()
    except CronSimError as error:
        raise ScheduleInvalidError(f"{cron!r} is no cron expression: {error}.") from None
    return told


def late_by(key: str, base: datetime, jitter_seconds: int) -> timedelta:
    """How late the run that cron puts at `base` starts: 0 to `jitter_seconds`, always the same for the same run.

    Whoever computes it again, after a restart or a change of the plan, comes to the same moment.
    """
    if not jitter_seconds:
        return timedelta()
    digest = hashlib.sha256(f"{key} {base.astimezone(UTC):%Y-%m-%dT%H:%M:%S}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8]) % (jitter_seconds + 1))


def next_start(cron: str, time_zone: str, after: datetime, *, jitter_seconds: int = 0, key: str = "") -> datetime:
    """The first moment strictly after `after` at which a run starts, its lateness included; in UTC.

    Raises:
        ScheduleInvalidError
    """
    return next(_starts(cron, time_zone, after, jitter_seconds, key))


def start_after_clock_change(
    planned: datetime, cron: str, time_zone: str, now: datetime, *, jitter_seconds: int = 0, key: str = ""
) -> datetime | None:
    """Where a run that is planned too far ahead belongs, None when it is where it should be.

    A clock that was wrong for a while and went back leaves the next run beyond several others. One that lies between
    is taken to have run already, as it has when the clock went back a little; with two or more nothing ran for them.

    Raises:
        ScheduleInvalidError
    """
    starts = _starts(cron, time_zone, now, jitter_seconds, key)
    first, second = next(starts), next(starts, planned)
    return first if planned > second else None


def shortest_pause(cron: str, time_zone: str, after: datetime) -> timedelta | None:
    """The shortest time between two of the next runs; None when there is at most one more.

    Raises:
        ScheduleInvalidError
    """
    runs = islice(_runs(cron, time_zone, after), SAMPLE)
    return min((later - earlier for earlier, later in pairwise(runs)), default=None)


def _starts(cron: str, time_zone: str, after: datetime, jitter_seconds: int, key: str) -> Iterator[datetime]:
    # A run may already lie behind by cron and still be to come, being late.
    for base in _runs(cron, time_zone, after - timedelta(seconds=jitter_seconds)):
        start = base + late_by(key, base, jitter_seconds)
        if start > after:
            yield start


def _runs(cron: str, time_zone: str, after: datetime) -> Iterator[datetime]:
    """Runs strictly after `after`, in UTC, at least one.

    Raises:
        ScheduleInvalidError
    """
    zone = zone_of(time_zone)
    try:
        found = CronSim(cron, after.astimezone(zone))
        yield _first(found, cron).astimezone(UTC)
    except CronSimError as error:
        raise ScheduleInvalidError(f"{cron!r} is no cron expression: {error}.") from None
    for at in found:
        yield at.astimezone(UTC)


def _first(found: CronSim, cron: str) -> datetime:
    try:
        first: datetime = next(found)
    except StopIteration:
        raise ScheduleInvalidError(f"{cron!r} never comes.") from None
    return first
