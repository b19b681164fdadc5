"""Which sets a plan keeps: properties that hold for every history, and the cases that people ask about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.vaults.retention import COUNTS, Candidate, KeepInvalidError, Policy, Within, keep, policy_words

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")

histories = st.lists(
    st.tuples(st.integers(0, 60 * 24 * 800), st.booleans(), st.booleans()),
    max_size=40,
    unique_by=lambda found: found[0],
).map(
    lambda found: [
        Candidate(f"set-{n:02}", NOW - timedelta(minutes=minutes), complete, ("pinned",) if pinned else ())
        for n, (minutes, complete, pinned) in enumerate(found)
    ]
)
policies = st.builds(
    Policy,
    st.dictionaries(st.sampled_from(COUNTS), st.integers(1, 12)),
    st.none() | st.builds(Within, st.integers(0, 2), st.integers(0, 14), st.integers(1, 60), st.integers(0, 48)),
    st.sampled_from([UTC, BERLIN]),
)
fast = settings(max_examples=150, deadline=None)


@fast
@given(histories, policies)
def test_every_set_is_either_kept_for_a_reason_or_removed(sets: list[Candidate], policy: Policy) -> None:
    decision = keep(sets, policy, NOW)
    assert set(decision.kept) | set(decision.removed) == {found.id for found in sets}
    assert not set(decision.kept) & set(decision.removed)
    assert all(decision.kept.values())


@fast
@given(histories, policies)
def test_the_newest_complete_set_and_what_is_needed_always_stay(sets: list[Candidate], policy: Policy) -> None:
    kept = keep(sets, policy, NOW).kept
    whole = sorted((found for found in sets if found.complete), key=lambda found: found.taken_at)
    assert all(found.id in kept for found in sets if found.needed)
    assert not whole or whole[-1].id in kept


@fast
@given(histories, policies)
def test_incomplete_sets_use_up_no_generation(sets: list[Candidate], policy: Policy) -> None:
    whole = [found for found in sets if found.complete]
    with_others = keep(sets, policy, NOW).kept
    assert {name: with_others[name] for name in keep(whole, policy, NOW).kept} == keep(whole, policy, NOW).kept
    assert {found.id for found in whole} & set(with_others) == set(keep(whole, policy, NOW).kept)


@fast
@given(histories, policies)
def test_an_incomplete_set_goes_only_when_a_complete_one_is_newer(sets: list[Candidate], policy: Policy) -> None:
    newest = max((found.taken_at for found in sets if found.complete), default=None)
    removed = set(keep(sets, policy, NOW).removed)
    for found in sets:
        if not found.complete and not found.needed and not policy.is_empty:
            assert (found.id in removed) == (newest is not None and found.taken_at <= newest)


@fast
@given(histories, policies, st.sampled_from(COUNTS))
def test_keeping_more_generations_never_removes_more(sets: list[Candidate], policy: Policy, name: str) -> None:
    more = Policy({**policy.counts, name: policy.counts.get(name, 0) + 1}, policy.within, policy.zone)
    if not policy.is_empty:
        assert set(keep(sets, policy, NOW).kept) <= set(keep(sets, more, NOW).kept)


def daily(count: int, *, start: datetime = NOW) -> list[Candidate]:
    """One complete set a day, the newest first."""
    return [Candidate(f"day-{n}", start - timedelta(days=n)) for n in range(count)]


def test_a_policy_without_rules_keeps_everything() -> None:
    sets = [*daily(3), Candidate("partial", NOW - timedelta(days=9), complete=False)]
    assert keep(sets, Policy(), NOW).removed == []


def test_days_are_those_of_the_plans_zone() -> None:
    # 23:30 and 00:30 in Berlin are one day in UTC and two days there.
    late, early = datetime(2026, 1, 9, 22, 30, tzinfo=UTC), datetime(2026, 1, 9, 23, 30, tzinfo=UTC)
    older = Candidate("older", late - timedelta(days=3))
    sets = [Candidate("early", early), Candidate("late", late), older]
    assert keep(sets, Policy({"daily": 2}, None, BERLIN), NOW).removed == ["older"]
    assert keep(sets, Policy({"daily": 2}, None, UTC), NOW).removed == ["late"]


def test_a_day_of_25_hours_is_one_day() -> None:
    # 25 October 2026: 02:30 comes twice in Berlin.
    twice = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (1, 0)]
    sets = [Candidate(str(at), at) for at in twice] + [Candidate("before", twice[0] - timedelta(days=1))]
    assert keep(sets, Policy({"daily": 2}, None, BERLIN), NOW).removed == [str(twice[1])]


def test_of_the_hour_that_comes_twice_the_second_is_the_newer() -> None:
    first, second = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC).astimezone(BERLIN) for hour in (0, 1))
    sets = [Candidate("z-first", first), Candidate("a-second", second), Candidate("old", first - timedelta(hours=9))]
    assert keep(sets, Policy({"last": 1}, None, BERLIN), NOW).removed == ["z-first", "old"]


def test_within_counts_from_the_newest_set_so_that_a_halt_removes_nothing() -> None:
    sets = daily(10, start=NOW - timedelta(days=400))
    assert keep(sets, Policy({}, Within(days=4)), NOW).removed == [f"day-{n}" for n in range(4, 10)]


def test_a_set_from_the_future_does_not_push_others_out() -> None:
    sets = [Candidate("forged", NOW + timedelta(days=3650)), *daily(3)]
    assert keep(sets, Policy({}, Within(days=30)), NOW).removed == []


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("1m", "2026-03-31T12:00:00", "2026-03-03T12:00:00"),
        ("1y", "2024-02-29T12:00:00", "2023-03-01T12:00:00"),
        ("1y2m3d4h", "2026-06-10T12:00:00", "2025-04-07T08:00:00"),
        ("36h", "2026-06-10T12:00:00", "2026-06-09T00:00:00"),
        ("9000y", "2026-06-10T12:00:00", "0001-01-01T00:00:00"),
    ],
)
def test_spans_of_the_calendar(text: str, at: str, expected: str) -> None:
    found = Within.read(text).before(datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_span_over_the_change_to_summer_time_is_one_of_the_calendar() -> None:
    noon = datetime(2026, 3, 29, 12, tzinfo=BERLIN)
    assert Within.read("1d").before(noon) == datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    assert Within.read("24h").before(noon) == datetime(2026, 3, 28, 11, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"dayly": 7}, "dayly", "there is no such rule; known are last, hourly"),
        ({"daily": -1}, "daily", "a whole number from 0 to 100000, got -1"),
        ({"daily": "many"}, "daily", "got 'many'"),
        ({"daily": True}, "daily", "got True"),
        ({"daily": 10**30}, "daily", "a whole number"),
        ({"within": "month"}, "within", "a span like 30d, 1y6m or 36h, got 'month'"),
        ({"within": "0d"}, "within", "a span like"),
    ],
)
def test_what_nobody_understands_names_its_part(values: dict[str, object], field: str, sentence: str) -> None:
    with pytest.raises(KeepInvalidError, match=sentence) as raised:
        Policy.read(values)
    assert raised.value.field == field


def test_a_policy_reads_what_it_writes_and_says_it_in_words() -> None:
    policy = Policy.read({"last": "3", "daily": 7, "weekly": 0, "yearly": "", "within": "1m2d"})
    assert policy.as_dict() == {"last": 3, "daily": 7, "within": "1m2d"}
    assert Policy.read(policy.as_dict()) == policy
    assert policy_words(policy) == "the last 3, 7 daily, all within 1 month 2 days"
    assert policy_words(Policy()) == "everything"
    assert policy.append_only().as_dict() == {"within": "1m2d"}
