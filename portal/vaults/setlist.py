"""The list of sets and its calendar, read from the portal's database alone: restic is never asked for them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.db.models import BooleanField, Count, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone

from portal.operations.models import Operation, State
from portal.vaults.models import BackupSet, Plan, Repository, SetState

WEEKS = 12
# Columns of a page of the list would carry them along although it shows none of them.
_WIDE = ("detail", "sources", "verify_error")


@dataclass(frozen=True, slots=True)
class SetFilter:
    """Which sets are wanted; what is empty does not narrow. `removed`: the history instead of what can be had."""

    stack: str = ""
    repository: str = ""
    plan: str = ""
    state: str = ""
    tag: str = ""
    text: str = ""
    pinned: bool = False
    removed: bool = False
    day: date | None = None

    def where(self) -> Q:
        """The condition on BackupSet."""
        wanted = Q(removed_at__isnull=not self.removed)
        for name in ("stack", "state"):
            wanted &= Q(**{name: getattr(self, name)}) if getattr(self, name) else Q()
        for name in ("repository", "plan"):
            wanted &= Q(**{f"{name}__name": getattr(self, name)}) if getattr(self, name) else Q()
        wanted &= Q(tags__contains=[self.tag]) if self.tag else Q()
        wanted &= Q(note__icontains=self.text) | Q(id__icontains=self.text) if self.text else Q()
        wanted &= Q(pinned=True) if self.pinned else Q()
        return wanted & _on(self.day)


def sets_filtered(wanted: SetFilter) -> QuerySet[BackupSet]:
    """The sets of a filter, newest first, cheap to count and to slice; `damaged`: its last verification failed."""
    damaged = ExpressionWrapper(~Q(verify_error={}), output_field=BooleanField())
    sets = BackupSet.objects.filter(wanted.where()).annotate(damaged=damaged)
    return sets.defer(*_WIDE).order_by("-taken_at", "-id")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the list can be narrowed to."""

    stacks: list[str]
    repositories: list[str]
    plans: list[str]
    tags: list[str]


def set_choices() -> Choices:
    """Names of everything that sets carry."""
    return Choices(
        stacks=sorted(BackupSet.objects.order_by().values_list("stack", flat=True).distinct()),
        repositories=list(Repository.objects.order_by("name").values_list("name", flat=True)),
        plans=list(Plan.objects.order_by("name").values_list("name", flat=True)),
        tags=set_tags_known(),
    )


def set_tags_known() -> list[str]:
    """Every tag that a set in a repository has, sorted."""
    table = BackupSet._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT jsonb_array_elements_text(tags) AS tag FROM {table}"  # noqa: S608 - our own table
            " WHERE tags <> '[]' AND removed_at IS NULL ORDER BY tag"
        )
        return [str(row[0]) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Day:
    """What a day left behind. `removed`: sets that were taken then and are gone from their repository."""

    date: date
    complete: int = 0
    partial: int = 0
    failed: int = 0
    removed: int = 0

    @property
    def state(self) -> str:
        """The best of the day: complete, partial, failed, removed or none."""
        return next((name for name in ("complete", "partial", "failed", "removed") if getattr(self, name)), "none")

    @property
    def iso(self) -> str:
        return self.date.isoformat()

    @property
    def title(self) -> str:
        """`3 November: 2 complete, 1 failed`."""
        return f"{self.date.day} {self.date:%B}: {self.text}"

    @property
    def trouble(self) -> bool:
        """Whether something went wrong although a set of that day is complete."""
        return bool(self.complete and (self.partial or self.failed))

    @property
    def text(self) -> str:
        """`2 complete, 1 failed`; `no backup`."""
        found = [f"{getattr(self, name)} {name}" for name in ("complete", "partial", "failed") if getattr(self, name)]
        found += [f"{self.removed} removed since"] if self.removed else []
        return ", ".join(found) or "no backup"


@dataclass(frozen=True, slots=True)
class Timeline:
    """The last weeks day by day, oldest week first, each from Monday; days to come are None."""

    weeks: list[list[Day | None]] = field(default_factory=list)

    @property
    def weekdays(self) -> list[tuple[str, list[Day | None]]]:
        """A row for every day of the week, as a table is written."""
        names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
        return [(name, [week[number] for week in self.weeks]) for number, name in enumerate(names)]

    @property
    def starts(self) -> list[date]:
        """The Monday of each week."""
        return [week[0].date for week in self.weeks if week[0]]

    @property
    def covered(self) -> tuple[int, int]:
        """Days with a complete set that can be had, and all days since the first one that left anything."""
        states = [day.state for week in self.weeks for day in week if day]
        states = list(itertools.dropwhile(lambda state: state == "none", states))
        return states.count("complete"), len(states)


def set_timeline(*, stack: str = "", now: datetime | None = None, weeks: int = WEEKS) -> Timeline:
    """What each day of the last weeks left behind; days begin at midnight of this machine's time zone."""
    today = (now or timezone.now()).astimezone(_zone()).date()
    first = today - timedelta(days=today.weekday(), weeks=weeks - 1)
    found = _days(stack, first)
    dates = [first + timedelta(days=number) for number in range(7 * weeks)]
    days = [Day(at, **found.get(at, {})) if at <= today else None for at in dates]
    return Timeline([days[start : start + 7] for start in range(0, len(days), 7)])


def _days(stack: str, first: date) -> dict[date, dict[str, int]]:
    """Date -> how many of each kind."""
    found: dict[date, Counter[str]] = {}
    for at, name, count in (*_sets_by_day(stack, first), *_failures_by_day(stack, first)):
        found.setdefault(at, Counter())[name] += count
    return {at: dict(counts) for at, counts in found.items()}


def _sets_by_day(stack: str, first: date) -> Iterable[tuple[date, str, int]]:
    sets = BackupSet.objects.filter(taken_at__gte=_midnight(first), **({"stack": stack} if stack else {}))
    gone = ExpressionWrapper(Q(removed_at__isnull=False), output_field=BooleanField())
    grouped = sets.annotate(day=TruncDate("taken_at", tzinfo=_zone()), gone=gone).order_by()
    for row in grouped.values("day", "state", "gone").annotate(number=Count("pk")):
        yield row["day"], "removed" if row["gone"] else str(row["state"]), row["number"]


def _failures_by_day(stack: str, first: date) -> Iterable[tuple[date, str, int]]:
    """Backups that left no set at all; a failed set, where there is one, was counted."""
    failed = Operation.objects.filter(kind="backup", state__in=(State.FAILED, State.LOST), backup_sets=None)
    failed = failed.filter(created_at__gte=_midnight(first), **({"target": f"stack:{stack}"} if stack else {}))
    grouped = failed.annotate(day=TruncDate("created_at", tzinfo=_zone())).order_by()
    for row in grouped.values("day").annotate(number=Count("pk")):
        yield row["day"], str(SetState.FAILED), row["number"]


def _on(day: date | None) -> Q:
    if day is None:
        return Q()
    return Q(taken_at__gte=_midnight(day), taken_at__lt=_midnight(day + timedelta(days=1)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), _zone()).astimezone(UTC)


def _zone() -> ZoneInfo:
    return ZoneInfo(settings.LOCAL_TIME_ZONE)
