"""What happened to services by themselves, as the supervisor's log and the engine's events tell it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from portal.runtime import happenings as local
from portal.runtime import starts
from portal.runtime.compose import happenings as containers
from portal.runtime.compose.containers import ONE_OFF, SERVICE
from portal.runtime.protocol import Happened

NOON = datetime(2026, 11, 22, 12, 0, 0).timestamp()


def line(second: int, text: str) -> str:
    return f"2026-11-22 12:00:{second:02d},000 INFO {text}"


LOG = [
    line(1, "spawned: 'api' with pid 11"),
    line(2, "success: api entered RUNNING state, process has stayed up for > than 1 seconds (startsecs)"),
    line(5, "exited: api (terminated by SIGKILL; not expected)"),
    line(6, "spawned: 'api' with pid 12"),
    line(9, "stopped: redis (exit status 0)"),
    line(10, "exited: postgres (exit status 1; not expected)"),
    line(11, "spawned: 'postgres' with pid 77"),
]


def test_a_process_that_ended_by_itself_is_told_with_how_it_ended() -> None:
    found = local.happenings(LOG, {"api": True, "redis": False}, {"api": {11, 12}}, since=NOON)
    assert [(item.service, item.at - NOON, item.what, item.detail) for item in found] == [
        ("api", 5.0, Happened.ENDED, "terminated by SIGKILL")
    ]


def test_what_was_told_before_is_not_told_again() -> None:
    assert local.happenings(LOG, {"api": True}, {"api": {11, 12}}, since=NOON + 5) == ()


def test_an_end_of_the_same_name_in_another_group_is_not_ours() -> None:
    assert local.happenings(LOG, {"postgres": True}, {"postgres": {78}}, since=NOON) == ()
    assert len(local.happenings(LOG, {"postgres": True}, {"postgres": {77}}, since=NOON)) == 1


def test_an_end_is_remembered_across_starts_that_somebody_asked_for() -> None:
    later = [*LOG, line(20, "stopped: api (terminated by SIGTERM)"), line(21, "spawned: 'api' with pid 13")]
    assert len(local.happenings(later, {"api": True}, {"api": {11, 12, 13}}, since=NOON)) == 1


def test_one_that_gave_up_has_all_its_ends() -> None:
    log = [
        text
        for second in (1, 3, 6)
        for text in (
            line(second, f"spawned: 'api' with pid {second}"),
            line(second + 1, "exited: api (exit status 1; not expected)"),
        )
    ]
    assert len(local.happenings(log, {"api": False}, {"api": {1, 3, 6}}, since=NOON)) == 3


def test_the_last_starts_are_kept_and_no_more(tmp_path: Path) -> None:
    assert starts.known(tmp_path, "api") == frozenset()
    for pid in range(starts.KEPT + 5):
        starts.note(tmp_path, "api", pid)
    assert starts.known(tmp_path, "api") == frozenset(range(5, starts.KEPT + 5))


def event(action: str, second: float, container: str = "c1", **marks: str) -> dict[str, Any]:
    return {
        "Action": action,
        "timeNano": int((NOON + second) * 1e9),
        "Actor": {"ID": container, "Attributes": {SERVICE: "api", **marks}},
    }


def test_a_container_that_was_told_to_stop_did_not_end_by_itself() -> None:
    events = [event("kill", 1, signal="15"), event("die", 9, exitCode="0"), event("die", 20, "c2", exitCode="1")]
    found = containers.happenings(events, since=NOON)
    assert [(item.at - NOON, item.what, item.detail) for item in found] == [(20.0, Happened.ENDED, "exit status 1")]


def test_a_container_out_of_memory_is_told_as_such() -> None:
    events = [event("oom", 3), event("die", 3.1, exitCode="137")]
    found = containers.happenings(events, since=NOON)
    assert [item.what for item in found] == [Happened.OUT_OF_MEMORY, Happened.ENDED]
    assert found[1].detail == "terminated by SIGKILL"


def test_what_ran_once_by_hand_and_what_is_no_service_is_left_out() -> None:
    once = event("die", 1, exitCode="1", **{ONE_OFF: "True"})
    assert containers.happenings([once, event("die", 2, exitCode="1", **{SERVICE: ""})], since=NOON) == ()
