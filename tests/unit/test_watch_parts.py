"""What happened between two looks at a service, and what it used over time."""

from __future__ import annotations

import pytest

from portal.runtime.protocol import Happened, Happening, ServiceStatus, State
from portal.watch.changes import Seen, changes, settled
from portal.watch.models import EventKind
from portal.watch.series import Point, Reading, peaks, points

NOW = 1000.0


def status(state: State, since: float | None = None, detail: str = "") -> ServiceStatus:
    return ServiceStatus("api", "RAG service", state, detail, since=since)


def kinds(before: Seen | None, now: ServiceStatus, *happened: Happening, starved: bool = False) -> list[EventKind]:
    return [change.kind for change in changes(before, now, happened, now=NOW, starved=starved)]


def ended(at: float, detail: str = "exit status 1") -> Happening:
    return Happening("api", at, Happened.ENDED, detail)


WELL = Seen("healthy", "healthy", 10.0)
ILL = Seen("unhealthy", "unhealthy", 10.0)
DOWN = Seen("stopped", "stopped", 10.0)
COMING = Seen("starting", "", 10.0)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (WELL, status(State.HEALTHY, 10.0), []),
        (None, status(State.HEALTHY, 10.0), []),
        (None, status(State.FAILED), [EventKind.GAVE_UP]),
        (WELL, status(State.UNHEALTHY, 10.0), [EventKind.UNHEALTHY]),
        (ILL, status(State.UNHEALTHY, 10.0), []),
        (ILL, status(State.HEALTHY, 10.0), [EventKind.RECOVERED]),
        (WELL, status(State.STOPPED), [EventKind.STOPPED]),
        (DOWN, status(State.STOPPED), []),
        (DOWN, status(State.STARTING, 990.0), [EventKind.STARTED]),
        (COMING, status(State.HEALTHY, 10.0), []),
        (WELL, status(State.HEALTHY, 990.0), [EventKind.RESTARTED]),
        (WELL, status(State.STARTING, 990.0), [EventKind.RESTARTED]),
        (WELL, status(State.FAILED, detail="ended again and again"), [EventKind.GAVE_UP]),
    ],
)
def test_a_move_from_one_condition_to_another(before: Seen, now: ServiceStatus, expected: list[EventKind]) -> None:
    assert kinds(before, now) == expected


def test_an_end_by_itself_is_told_instead_of_a_restart() -> None:
    assert kinds(WELL, status(State.HEALTHY, 990.0), ended(989.0)) == [EventKind.CRASHED]
    assert kinds(WELL, status(State.FAILED), ended(980.0), ended(985.0)) == [
        EventKind.CRASHED,
        EventKind.CRASHED,
        EventKind.GAVE_UP,
    ]


def test_the_end_of_one_that_ran_out_of_memory_is_told_once() -> None:
    short = Happening("api", 980.0, Happened.OUT_OF_MEMORY, "used more than its limit")
    assert kinds(WELL, status(State.HEALTHY, 982.0), short, ended(980.1, "terminated by SIGKILL")) == [
        EventKind.OUT_OF_MEMORY
    ]


def test_a_killed_process_was_out_of_memory_only_where_the_kernel_counted_one() -> None:
    killed = ended(989.0, "terminated by SIGKILL")
    assert kinds(WELL, status(State.HEALTHY, 990.0), killed, starved=True) == [EventKind.OUT_OF_MEMORY]
    assert kinds(WELL, status(State.HEALTHY, 990.0), killed) == [EventKind.CRASHED]
    assert kinds(WELL, status(State.HEALTHY, 990.0), ended(989.0), starved=True) == [EventKind.CRASHED]


def test_starting_is_on_the_way_and_no_condition_of_its_own() -> None:
    assert settled(ILL, State.STARTING) == "unhealthy"
    assert settled(DOWN, State.STARTING) == ""
    assert settled(None, State.HEALTHY) == "healthy"


def test_use_is_the_difference_of_two_samples() -> None:
    found = points([Reading(0, 100, 5.0, 1000, None), Reading(60, 200, 35.0, 7000, None)])
    assert found == [Point(0, None, 100, None, None), Point(60, 0.5, 200, 100.0, None)]


def test_a_service_that_began_anew_has_used_what_it_counts_now() -> None:
    assert points([Reading(0, 1, 500.0), Reading(60, 1, 6.0)])[1].processors == pytest.approx(0.1)


def test_a_gap_has_no_use() -> None:
    assert points([Reading(0, 1, 0.0), Reading(7200, 1, 60.0)])[1].processors is None


def test_peaks_stay_when_a_curve_is_drawn_with_fewer_points() -> None:
    curve = [(float(at), 100.0 if at == 501 else 1.0) for at in range(1000)]
    drawn = peaks(curve, begin=0, end=1000, most=50)
    assert len(drawn) == 50
    assert (501.0, 100.0) in drawn
