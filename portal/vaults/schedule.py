"""When a plan runs: cron in a time zone. Pure arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


class ScheduleInvalidError(ValueError):
    """A cron expression or a time zone that nobody understands."""


def next_run(cron: str, time_zone: str, after: datetime) -> datetime:
    """The first run strictly after the moment `after`, in UTC.

    A time that the change to summer time skips runs right after the gap; one that comes twice runs once.

    Raises:
        ScheduleInvalidError: with a sentence about the expression or the zone.
    """
    try:
        local = after.astimezone(ZoneInfo(time_zone))
        found: datetime = next(CronSim(cron, local))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleInvalidError(f"There is no time zone {time_zone!r}.") from error
    except CronSimError as error:
        raise ScheduleInvalidError(f"{cron!r} is no cron expression: {error}.") from None
    except StopIteration:
        raise ScheduleInvalidError(f"{cron!r} never comes.") from None
    return found.astimezone(UTC)
