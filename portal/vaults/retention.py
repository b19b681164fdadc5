"""Which sets a plan keeps: pure arithmetic with restic's rules, applied to the sets of the database.

The rules are those of `restic forget` (internal/data/snapshot_policy.go): sets are looked at from the newest to the
oldest, each rule keeps the newest set of a period as long as it has counts left, a rule with counts left also keeps
the oldest set, and `within` is measured from the newest set, not from now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
# More than anybody keeps; a typing mistake is caught.
MOST = 100_000
_WITHIN = re.compile(r"(?:(\d+)y)?(?:(\d+)m)?(?:(\d+)d)?(?:(\d+)h)?")


class KeepInvalidError(ValueError):
    """A retention that nobody understands; `field` is the part of it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Within:
    """A span of the calendar, as restic writes it: `1y6m30d12h`."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    @classmethod
    def read(cls, text: str) -> Within:
        """Read `30d`, `1y6m`, `36h`.

        Raises:
            KeepInvalidError
        """
        found = _WITHIN.fullmatch(text.strip())
        parts = [int(part or 0) for part in found.groups()] if found else []
        if not any(parts) or max(parts) > MOST:
            raise KeepInvalidError("within", f"expected a span like 30d, 1y6m or 36h, got {text!r}")
        return cls(*parts)

    def before(self, at: datetime) -> datetime:
        """The moment this span before `at`, counted on the calendar of its zone; days that a month lacks run over."""
        months = at.year * 12 + (at.month - 1) - 12 * self.years - self.months
        if months < 12:
            return datetime.min.replace(tzinfo=UTC)
        first = at.replace(year=months // 12, month=months % 12 + 1, day=1)
        try:
            day = first + timedelta(days=at.day - 1 - self.days)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
        return day.astimezone(UTC) - timedelta(hours=self.hours)

    def __str__(self) -> str:
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{count}{unit}" for count, unit in parts if count)


@dataclass(frozen=True, slots=True)
class Policy:
    """What to keep. `counts`: of last, hourly, daily, weekly, monthly, yearly those above 0; `zone`: whose calendar."""

    counts: Mapping[str, int] = field(default_factory=dict)
    within: Within | None = None
    zone: tzinfo = UTC

    @classmethod
    def read(cls, values: Mapping[str, Any], zone: tzinfo = UTC) -> Policy:
        """Read `{"daily": 7, "within": "30d"}`; names that are missing or 0 keep nothing of their own.

        Raises:
            KeepInvalidError: with the name of the part that is wrong.
        """
        unknown = sorted(set(values) - {*COUNTS, "within"})
        if unknown:
            raise KeepInvalidError(unknown[0], f"there is no such rule; known are {', '.join((*COUNTS, 'within'))}")
        counts = {name: _count(name, values[name]) for name in COUNTS if values.get(name) not in (None, "")}
        within = str(values.get("within") or "")
        return cls({n: c for n, c in counts.items() if c}, Within.read(within) if within else None, zone)

    @property
    def is_empty(self) -> bool:
        return not self.counts and self.within is None

    def append_only(self) -> Policy:
        """What of it is safe where somebody may add forged sets: counting can be defeated, `within` cannot."""
        return Policy({}, self.within, self.zone)

    def as_dict(self) -> dict[str, int | str]:
        """As a plan stores it."""
        return {**self.counts, **({"within": str(self.within)} if self.within else {})}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set as retention sees it. `complete`: it may count as a generation; `needed`: reasons to keep it anyway."""

    id: str
    taken_at: datetime
    complete: bool = True
    needed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What stays and why, and what goes; `removed` from the newest to the oldest."""

    kept: dict[str, list[str]]
    removed: list[str]


def keep(sets: Iterable[Candidate], policy: Policy, now: datetime) -> Decision:
    """Decide about every set.

    Sets that are not complete never count as a generation; they go once a newer complete set exists. A policy
    without rules keeps everything. `now` bounds what `within` is measured from: a set from the future does not move it.
    """
    # Python compares times of one zone by the clock on the wall, which shows one hour twice a year.
    utc = [replace(found, taken_at=found.taken_at.astimezone(UTC)) for found in sets]
    ordered = sorted(utc, key=lambda found: (found.taken_at, found.id), reverse=True)
    if policy.is_empty:
        return Decision({found.id: ["everything is kept"] for found in ordered}, [])
    reasons = {found.id: list(found.needed) for found in ordered}
    whole = [found for found in ordered if found.complete]
    for found, told in _generations(whole, policy, now):
        reasons[found.id] += told
    newest = whole[0].taken_at if whole else None
    for found in ordered:
        if not found.complete and (newest is None or found.taken_at > newest):
            reasons[found.id].append("no complete set is newer")
    kept = {name: told for name, told in reasons.items() if told}
    return Decision(kept, [found.id for found in ordered if found.id not in kept])


class _Rule:
    """One counting rule at work: keeps the newest set of each of its periods while counts are left."""

    def __init__(self, name: str, count: int) -> None:
        self._name, self._left, self._period = name, count, PERIODS[name]
        self._seen: object = None

    def offer(self, local: datetime, number: int, *, oldest: bool) -> str | None:
        """The reason to keep the set of this local time, or None."""
        if not self._left:
            return None
        period = self._period(local, number)
        if period == self._seen and not oldest:
            return None
        again, self._seen = period == self._seen, period
        self._left -= 1
        return f"oldest {self._name}" if again else self._name


PERIODS: dict[str, Callable[[datetime, int], object]] = {
    "last": lambda _at, number: number,
    "hourly": lambda at, _: (at.year, at.month, at.day, at.hour),
    "daily": lambda at, _: (at.year, at.month, at.day),
    "weekly": lambda at, _: at.isocalendar()[:2],
    "monthly": lambda at, _: (at.year, at.month),
    "yearly": lambda at, _: at.year,
}


def _generations(whole: list[Candidate], policy: Policy, now: datetime) -> Iterable[tuple[Candidate, list[str]]]:
    """Each complete set, newest first, with the rules that keep it."""
    rules = [_Rule(name, policy.counts[name]) for name in COUNTS if name in policy.counts]
    since = _since(whole, policy, now)
    for number, found in enumerate(whole):
        local, oldest = found.taken_at.astimezone(policy.zone), number == len(whole) - 1
        told = [f"within {policy.within}"] if since is not None and found.taken_at > since else []
        offered = (rule.offer(local, number, oldest=oldest) for rule in rules)
        yield found, told + [reason for reason in offered if reason]


def _since(whole: list[Candidate], policy: Policy, now: datetime) -> datetime | None:
    past = [found.taken_at for found in whole if found.taken_at <= now]
    if policy.within is None or not past:
        return None
    return policy.within.before(max(past).astimezone(policy.zone))


def _count(name: str, value: object) -> int:
    text = value.strip() if isinstance(value, str) else value
    number = int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}", text) else text
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST:
        raise KeepInvalidError(name, f"expected a whole number from 0 to {MOST}, got {value!r:.40}")
    return number


_UNITS = (("years", "year"), ("months", "month"), ("days", "day"), ("hours", "hour"))


def policy_words(policy: Policy) -> str:
    """A policy as a phrase: `the last 3, 7 daily, 4 weekly, all within 30 days`."""
    if policy.is_empty:
        return "everything"
    told = [f"the last {count}" if name == "last" else f"{count} {name}" for name, count in policy.counts.items()]
    return ", ".join([*told, *([f"all within {_span(policy.within)}"] if policy.within else [])])


def _span(within: Within) -> str:
    parts = [(getattr(within, many), one) for many, one in _UNITS]
    return " ".join(f"{count} {one}{'' if count == 1 else 's'}" for count, one in parts if count)
