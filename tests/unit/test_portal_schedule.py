"""When plans run: time zones, the changes of daylight saving time, and what nobody understands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from portal.vaults.schedule import (
    ScheduleInvalidError,
    cron_words,
    late_by,
    next_run,
    next_runs,
    next_start,
    shortest_pause,
    start_after_clock_change,
)

DAILY = "30 2 * * *"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "after", "expected"),
    [
        ("UTC", "2026-01-10T02:29:59", "2026-01-10T02:30:00"),
        ("UTC", "2026-01-10T02:30:00", "2026-01-11T02:30:00"),
        ("Europe/Berlin", "2026-01-10T00:00:00", "2026-01-10T01:30:00"),
        ("Europe/Berlin", "2026-07-10T00:00:00", "2026-07-10T00:30:00"),
        ("Asia/Kolkata", "2026-01-10T00:00:00", "2026-01-10T21:00:00"),
    ],
)
def test_daily_run_in_its_zone(zone: str, after: str, expected: str) -> None:
    assert next_run(DAILY, zone, at(after)) == at(expected)


def test_time_that_the_change_to_summer_time_skips_still_runs_that_night() -> None:
    # 29 March 2026: at 02:00 clocks in Berlin go to 03:00, so there is no 02:30.
    found = next_run(DAILY, "Europe/Berlin", at("2026-03-28T12:00:00"))
    assert at("2026-03-29T01:00:00") <= found <= at("2026-03-29T02:00:00")


def test_time_that_comes_twice_runs_once() -> None:
    # 25 October 2026: 02:30 comes twice in Berlin, at 00:30 and 01:30 UTC.
    first = next_run(DAILY, "Europe/Berlin", at("2026-10-24T12:00:00"))
    assert first.date() == at("2026-10-25T00:00:00").date()
    assert next_run(DAILY, "Europe/Berlin", first) == at("2026-10-26T01:30:00")


@pytest.mark.parametrize(
    ("cron", "zone", "sentence"),
    [
        ("whenever", "UTC", "'whenever' is no cron expression"),
        ("61 2 * * *", "UTC", "is no cron expression"),
        (DAILY, "Mars/Olympus", "no time zone 'Mars/Olympus'"),
        ("0 0 30 2 *", "UTC", "never comes|is no cron expression"),
    ],
)
def test_what_nobody_understands_is_said(cron: str, zone: str, sentence: str) -> None:
    with pytest.raises(ScheduleInvalidError, match=sentence):
        next_run(cron, zone, at("2026-01-01T00:00:00"))


def test_jitter_is_stable_bounded_and_different_for_different_runs() -> None:
    bases = [at("2026-01-10T02:30:00") + timedelta(days=day) for day in range(50)]
    late = [late_by("nightly", base, 600).total_seconds() for base in bases]
    assert late == [late_by("nightly", base, 600).total_seconds() for base in bases]
    assert all(0 <= seconds <= 600 for seconds in late)
    assert len(set(late)) > 30
    assert late_by("other", bases[0], 600) != late_by("nightly", bases[0], 600)
    assert late_by("nightly", bases[0], 0) == timedelta()


def test_a_late_start_is_found_from_every_moment_before_it() -> None:
    base = at("2026-01-10T02:30:00")
    start = base + late_by("nightly", base, 3600)
    for minutes in range(-600, int((start - base).total_seconds() // 60)):
        now = base + timedelta(minutes=minutes)
        assert next_start(DAILY, "UTC", now, jitter_seconds=3600, key="nightly") == start
    assert next_start(DAILY, "UTC", start, jitter_seconds=3600, key="nightly") > start


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        ("2026-01-10T02:30:00", None),
        ("2026-01-11T02:30:00", None),
        ("2026-01-12T02:30:00", "2026-01-10T02:30:00"),
        ("2031-01-11T02:30:00", "2026-01-10T02:30:00"),
    ],
)
def test_a_run_beyond_several_others_is_brought_back(planned: str, expected: str | None) -> None:
    found = start_after_clock_change(at(planned), DAILY, "UTC", at("2026-01-10T01:00:00"))
    assert found == (at(expected) if expected else None)


def test_runs_and_words_for_people() -> None:
    assert cron_words("15 3 * * SUN") == "At 03:15 on Sunday"
    runs = next_runs(DAILY, "Europe/Berlin", at("2026-03-28T12:00:00"), 2)
    assert [f"{run:%d %H:%M %Z}" for run in runs] == ["29 03:00 CEST", "30 02:30 CEST"]
    assert shortest_pause("0,20 * * * *", "UTC", at("2026-01-10T01:00:00")) == timedelta(minutes=20)
